#!/usr/bin/env bash
# Makes the package's two files of redis.conf.example: the configuration of the server, whose users stand in a file of
# their own, and the template of that, in which each installation has passwords of its own.
# Usage: users.sh EXAMPLE DIR
set -euo pipefail

grep '^user ' "$1" >"$2/users.acl"
awk '
    /^# Change before use/ {
        print "# Change what you like, then: systemctl restart redis-aggregator"
        print "# For reporters and pollers elsewhere: bind."
        print ""
        skip = 1
    }
    /^# ---- The server/ { skip = 0 }
    /^# ---- Users/ {
        print
        print "#"
        print "# Each kind of program has one, with a password that was made for this installation: this machine (under its"
        print "# name), poller, admin, and replica for the link to a primary. ACL LOAD reads a changed file, without a restart."
        print ""
        print "aclfile /etc/redis-aggregator/users.acl"
        print ""
        skip = 1
    }
    /^# ---- Memory/ { skip = 0 }
    skip { next }
    /^# An active-passive pair:/ { print "# An active-passive pair: copy users.acl of the one to the other, too, so that programs find the same passwords on"; print "# both. masterauth is the password of the user replica there. The passive one also has these lines. The module has to be"; next }
    /^# masterauth / { print "# masterauth PASSWORD-OF-replica"; next }
    /^dir / { print "dir /var/lib/redis-aggregator"; next }
    { print }
' "$1" >"$2/aggregator.conf"
