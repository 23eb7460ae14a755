#!/usr/bin/env bash
# Derives two files of the package from redis.conf.example: the configuration of the server, and the template of its ACL
# file, in which each installation sets its own passwords.
# Usage: users.sh EXAMPLE DIR
set -euo pipefail

grep '^user ' "$1" >"$2/users.acl"
awk '
    /^# Change before use/ {
        print "# After a change: systemctl restart redis-aggregator"
        print "# For reporters and pollers on other machines: bind."
        print ""
        skip = 1
    }
    /^# ---- The server/ { skip = 0 }
    /^# ---- Users/ {
        print
        print "#"
        print "# Each kind of program has its own user, with a password generated for this installation: this machine (under its"
        print "# name), poller, admin, and replica for the link to a primary. ACL LOAD reloads a changed file without a restart."
        print ""
        print "aclfile /etc/redis-aggregator/users.acl"
        print ""
        skip = 1
    }
    /^# ---- Memory/ { skip = 0 }
    skip { next }
    /^# An active-passive pair:/ { print "# An active-passive pair: copy users.acl from one to the other, so that the same passwords work on both. masterauth is"; print "# the password of the user replica there. The passive one also has these lines. The module has to be"; next }
    /^# masterauth / { print "# masterauth PASSWORD-OF-replica"; next }
    /^dir / { print "dir /var/lib/redis-aggregator"; next }
    { print }
' "$1" >"$2/aggregator.conf"
