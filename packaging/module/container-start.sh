#!/bin/sh
# The ENTRYPOINT of the server's image: creates the server's users from passwords, and starts the server. Without
# passwords it starts the server as given.
#
#   container-start.sh redis-server /etc/aggregator/aggregator.conf
#
#   REPORTER_PASSWORD   reporter: reports for every node, reads nothing
#   POLLER_PASSWORD     poller: drains and reads every node, cannot report; registers in the list of a fleet of pollers
#   ADMIN_PASSWORD      admin: everything; optional
#
# REPORTER_PASSWORD_FILE and so on name files with the passwords instead. The users are those of redis.conf.example, except
# that one reporter serves all nodes, and that the poller may do what `members-from` of a fleet needs. AGG_USERS
# (/tmp/users.acl) is the file that they are written to, with hashes of the passwords. It is written at each start, so ACL
# SAVE does not last.
set -eu

users=${AGG_USERS:-/tmp/users.acl}

fail() {
    echo "container-start.sh: $*" >&2
    exit 1
}

# Prints the line of a user, nothing without a password. A line break at the end of a file is not part of the password.
user() { # NAME PASSWORD FILE RULES...
    name=$1 password=$2 file=$3
    shift 3
    [ -n "$password$file" ] || return 0
    if [ -z "$password" ]; then
        password=$(cat "$file") || fail "cannot read the password of $name"
        [ -n "$password" ] || fail "$file is empty: it should have the password of $name"
    fi
    hash=$(printf %s "$password" | sha256sum)
    echo "user $name on #${hash%% *} $*"
}

reporter=$(user reporter "${REPORTER_PASSWORD-}" "${REPORTER_PASSWORD_FILE-}" resetchannels '%W~*' -@all \
    +agg.stat +agg.mstat +agg.hist +agg.log +agg.error +agg.reality +agg.forget +ping +time)
poller=$(user poller "${POLLER_PASSWORD-}" "${POLLER_PASSWORD_FILE-}" resetchannels '~*' -@all \
    +agg.pop +agg.fetch +agg.ack +agg.nack +agg.extend +agg.requeue +agg.peek +agg.get +agg.range +agg.scan +agg.info \
    +agg.help +scan +info +ping +command \
    '(~agg:fleet:* -@all +eval +time +zadd +zremrangebyscore +zrevrange +zrem +pexpire)')
admin=$(user admin "${ADMIN_PASSWORD-}" "${ADMIN_PASSWORD_FILE-}" allchannels '~*' +@all)
unset REPORTER_PASSWORD POLLER_PASSWORD ADMIN_PASSWORD

if [ -n "$reporter$poller$admin" ]; then
    umask 077
    printf '%s\n' "user default off" "$reporter" "$poller" "$admin" >"$users"
    set -- "$@" --aclfile "$users"
fi

exec "$@"
