#!/usr/bin/env bash
# Tests the Debian packages of target/package: installs, runs, upgrades, removes and purges them on a clean system that
# boots systemd (in a systemd-nspawn container without network). Requires root, debootstrap and systemd-nspawn; without
# them it does nothing, and fails in CI. Takes about a minute. The clean system is kept in target/ for the next run.
#
#   scripts/test-packages.sh [SUITE [SERVER]]    of Debian, by default that of this machine; redis-server or valkey-server
set -Eeuo pipefail
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }
[[ ${1:-} == -h || ${1:-} == --help ]] && usage && exit
cd "$(dirname "$0")/.."

suite=${1:-$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")}
server=${2:-redis-server}
kept=$PWD/target/clean-$suite.tar.gz
# On Ubuntu the servers are in the component universe.
components=$(. /etc/os-release && [ "${ID:-}" = ubuntu ] && echo --components=main,universe || true)

missing=()
[ "$(id -u)" -eq 0 ] || missing+=("root's rights")
for program in debootstrap systemd-nspawn nsenter pgrep; do
    command -v "$program" >/dev/null || missing+=("$program")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "skipped: packages are not tested, missing: ${missing[*]}" >&2
    [ -z "${CI:-}" ] && exit 0 || exit 1
fi

work=$(mktemp -d)
root=$work/root
nspawn=
end() {
    if [ -n "$nspawn" ]; then
        kill -TERM "$nspawn" 2>/dev/null || true
        wait "$nspawn" 2>/dev/null || true
    fi
    # Not into file systems that may still be mounted there.
    rm -rf --one-file-system "$work"
}
trap end EXIT
trap 'exit 130' INT TERM

# ---- A clean system, with dependencies of the packages downloaded but not installed -----------------------------------------

if [ ! -e "$kept" ]; then
    echo "making a clean $suite system"
    # The mirror of this machine, if it has the suite; otherwise that of debootstrap.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $suite" | head -1 || true)
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,adduser,init-system-helpers,man-db \
        $components "$suite" "$root" $mirror >"$work/debootstrap.log" 2>&1 || { tail -5 "$work/debootstrap.log"; exit 1; }
    # Redis or Valkey with tools; newer suites have both.
    for package in redis-server valkey-server; do
        chroot "$root" apt-get install -y -qq --no-install-recommends --download-only "$package" >/dev/null 2>&1 || true
    done
    mkdir -p target
    tar -C "$work" -czf "$kept.new" root
    mv "$kept.new" "$kept"
    rm -rf --one-file-system "$root"
fi
tar -C "$work" -xzf "$kept"
mkdir "$root/debs"
cp target/package/*.deb "$root/debs/"
# A unique host name.
echo "node-of-the-test" >"$root/etc/hostname"
printf 'export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C\n' >"$root/env"

# Since version 256 systemd requires this on a machine with control groups v1.
SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 systemd-nspawn --quiet --directory="$root" --register=no --keep-unit \
    --private-network --console=pipe --boot >"$work/boot.log" 2>&1 </dev/null &
nspawn=$!

within() { # COMMAND...: in the container
    nsenter --target "$init" --mount --uts --ipc --net --pid --root --wd -- /bin/bash -c '. /env; exec "$@"' -- "$@"
}

say() { echo "ok: $*"; }
fail() {
    echo "FAILED: $*" >&2
    trap - ERR
    within journalctl --no-pager --lines 40 >&2 || tail -40 "$work/boot.log" >&2
    exit 1
}
# Reports the location of any other failure.
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR
is() { # WHAT EXPECTED FOUND
    [ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"
}
until_so() { # WHAT COMMAND...: within half a minute
    local what=$1 end=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "timed out waiting for $what"
        sleep 0.1
    done
}

init=
# systemd-nspawn has another child for a moment before it starts init, so each attempt looks again.
find_init() { init=$(pgrep --parent "$nspawn" | head -1) && [ -n "$init" ]; }
booted() { find_init && [[ $(within systemctl is-system-running) =~ ^(running|degraded)$ ]]; }
until_so "systemd" booted
say "a clean $suite system with $(within systemctl --version | head -1) has booted"

# ---- The server -----------------------------------------------------------------------------------------------------

install() { within apt-get install -y -qq --no-install-recommends "$@" >"$work/apt.log" 2>&1 || {
    cat "$work/apt.log" >&2
    fail "installing $*"
}; }
deb() { echo "/debs/$(basename "$root"/debs/"$1"_*.deb)"; }
active() { within systemctl is-active --quiet "$1"; }
password() { within sed -n "s/^user $1 .*>\([0-9a-f]*\) .*/\1/p" /etc/redis-aggregator/users.acl; }
cli() { # USER COMMAND...
    local user=$1
    shift
    within env REDISCLI_AUTH="$(password "$user")" "$server_cli" -p 7777 --user "$user" "$@"
}

[ "$server" = redis-server ] || install "$server"
install "$(deb redis-aggregator)"
is "the server that runs it" "$server" "$(within sed 's/[ \x0].*//;s,.*/,,' "/proc/$(within systemctl show -P MainPID redis-aggregator)/cmdline")"
server_cli=$(within sh -c 'command -v redis-cli || command -v valkey-cli')
until_so "the server" active redis-aggregator
is "its user" redis-aggregator "$(within stat -c %U "/proc/$(within systemctl show -P MainPID redis-aggregator)")"
is "a stranger" "NOAUTH Authentication required." "$(within "$server_cli" -p 7777 AGG.INFO x 2>&1 | head -1)"
is "passwords of its own" 0 "$(within grep -c CHANGE-ME /etc/redis-aggregator/users.acl || true)"
is "their file" "640 redis-aggregator" "$(within stat -c '%a %U' /etc/redis-aggregator/users.acl)"
is "a sample" 1 "$(cli node-of-the-test AGG.STAT node-of-the-test load 1.5)"
refused=$(cli node-of-the-test AGG.STAT other load 1.5 2>&1)
[[ $refused == NOPERM* ]] || fail "a sample for another node: $refused"
say "installed and started as its own user; accepts the generated password, rejects clients without one"

is "CONFIG SET" OK "$(cli admin CONFIG SET agg.max-series 1234)"
is "CONFIG REWRITE" OK "$(cli admin CONFIG REWRITE)"
is "ACL SAVE" OK "$(cli admin ACL SETUSER node-of-the-test +agg.scan)"
# The passwords before the server replaces them by their hashes.
node=$(password node-of-the-test) admin=$(password admin) poller=$(password poller)
password() { case $1 in admin) echo "$admin" ;; poller) echo "$poller" ;; *) echo "$node" ;; esac; }
is "ACL SAVE" OK "$(cli admin ACL SAVE)"
metrics() { cli admin AGG.INFO node-of-the-test | sed -n '/^metrics$/{n;p}'; }
holds() { [ "$(metrics)" = "$1" ]; }
within systemctl restart redis-aggregator
is "metrics after a restart" 1 "$(metrics)"
is "a setting after a restart" 1234 "$(cli admin CONFIG GET agg.max-series | tail -1)"
within systemctl kill --signal=KILL redis-aggregator
until_so "the server comes back after a kill -9" holds 1
say "keeps its data and settings across a restart and a kill -9"

exposure() { within systemd-analyze security --no-pager "$1" | sed -n 's/.*Overall exposure level for .*: \([0-9]*\)\.\([0-9]*\) .*/\1\2/p'; }
for unit in redis-aggregator agg-poll agg-listen agg-serve; do
    [ "$unit" != agg-poll ] || install "$(deb agg)"
    level=$(exposure "$unit")
    [ "$level" -le 20 ] || fail "systemd-analyze security $unit: $level tenths"
    say "$unit: exposure ${level:0:-1}.${level: -1} of 10 by systemd-analyze security"
done

# ---- The poller -------------------------------------------------------------------------------------------------------

is "the poller before it is configured" inactive "$(within systemctl is-active agg-poll || true)"
is "and at boot" disabled "$(within systemctl is-enabled agg-poll || true)"
within sh -c "umask 027; echo $poller >/etc/agg/password; chgrp agg /etc/agg/password"
within setpriv --reuid agg --regid agg --init-groups agg check --config /etc/agg/poller.toml 2>"$work/check" || fail "$(cat "$work/check")"
is "a log line" 1 "$(cli node-of-the-test AGG.LOG node-of-the-test "from a clean system" | grep -c '^[0-9]*$')"
within systemctl enable --quiet --now agg-poll
is "the poller" active "$(within systemctl is-active agg-poll)"
drained() { within grep -q "from a clean system" /var/lib/agg/records.jsonl; }
until_so "the record" drained
shown() { [[ $(within systemctl show -P StatusText agg-poll) == "1 of 1 server up, "* ]]; }
until_so "the status text of agg-poll" shown
within systemctl reload agg-poll
is "the poller after a reload" active "$(within systemctl is-active agg-poll)"
within sh -c 'echo AGG_REDIS=redis://node-of-the-test@127.0.0.1:7777 >/etc/agg/host.env
    echo "AGG_PASSWORD=$1" >>/etc/agg/host.env' -- "$node"
within systemctl start agg-host
reported() { [ "$(metrics)" -gt 10 ]; }
until_so "the machine is reported" reported
# The restrictions of the unit must not appear as the state of the disks.
within env AGG_PASSWORD="$admin" agg --redis redis://admin@127.0.0.1:7777 host --once --node outside
disks() { cli admin AGG.SCAN "$1" REALITY 0 COUNT 1000 WITHVALUES | grep -o 'read_only[^a-z]*[a-z]*' | sort; }
[ -n "$(disks outside)" ] || fail "no disk is reported"
is "disks as they are" "$(disks outside)" "$(disks node-of-the-test)"
until_so "the reporter" active agg-host

is "the listener before it is enabled" inactive "$(within systemctl is-active agg-listen || true)"
within setpriv --reuid agg --regid agg --init-groups agg listen --check --config /etc/agg/listen.toml 2>"$work/check" || fail "$(cat "$work/check")"
within systemctl start agg-listen
listening() { within test -S /run/agg-listen/statsd.sock; }
until_so "the socket of the listener" listening
# UDP, and a Unix socket of the service, as any user.
within bash -c 'echo "from.the.listener:320|ms" >/dev/udp/127.0.0.1/8125'
received() { [[ $(cli admin AGG.GET node-of-the-test METRIC from.the.listener) == *from.the.listener* ]]; }
until_so "a sample of statsd" received
is "the socket's permissions" 666 "$(within stat -c %a /run/agg-listen/statsd.sock)"
within systemctl reload agg-listen
is "the listener after a reload" active "$(within systemctl is-active agg-listen)"
say "the listener reports what it receives, and reloads"

is "live values before they are enabled" inactive "$(within systemctl is-active agg-serve || true)"
within systemctl start agg-serve
# A small system has no curl.
page() { within bash -c 'exec 3<>/dev/tcp/127.0.0.1/9779; printf "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n" >&3; cat <&3'; }
served() { [[ $(page) == *'load_last{node="node-of-the-test"} 1.5'* ]]; }
until_so "a live value" served
say "agg-serve serves live values of the poller's server"
for example in crates/agg/examples/sinks/*.toml; do
    within test -r "/usr/share/doc/agg/examples/sinks/${example##*/}" || fail "the example ${example##*/} is not installed"
done
is "the manual" agg-poll "$(within man -w agg-poll | sed 's,.*/\(agg-poll\)\.1.*,\1,')"
say "the poller reports that it is ready, drains and reloads; agg-host reports the machine"

# ---- Upgrade, removal, purge ------------------------------------------------------------------------------------------

poller_pid=$(within systemctl show -P MainPID agg-poll)
# Actions of root at an upgrade must not follow links that the service can create.
within install -m 600 /dev/null /root/secret
within runuser -u redis-aggregator -- sh -c 'cp /etc/redis-aggregator/aggregator.conf /var/lib/redis-aggregator/conf
    rm /etc/redis-aggregator/aggregator.conf; ln -s /root/secret /etc/redis-aggregator/aggregator.conf'
# An upgrade must also succeed if an operator has removed a file.
within rm /etc/agg/host.env
within dpkg --force-confold --install "$(deb redis-aggregator)" "$(deb agg)" >"$work/apt.log" 2>&1 || true
is "a secret after an upgrade" "600 root" "$(within stat -c '%a %U' /root/secret)"
within runuser -u redis-aggregator -- mv /var/lib/redis-aggregator/conf /etc/redis-aggregator/aggregator.conf
before=$(within sha256sum /etc/redis-aggregator/users.acl /etc/redis-aggregator/aggregator.conf)
started=$(within systemctl show -P ActiveEnterTimestampMonotonic redis-aggregator)
within dpkg --force-confold --install "$(deb redis-aggregator)" "$(deb agg)" >"$work/apt.log" 2>&1 || fail "$(cat "$work/apt.log")"
until_so "the server after an upgrade" reported
is "passwords and settings after an upgrade" "$before" "$(within sha256sum /etc/redis-aggregator/users.acl /etc/redis-aggregator/aggregator.conf)"
[ "$(within systemctl show -P ActiveEnterTimestampMonotonic redis-aggregator)" != "$started" ] || fail "an upgrade restarts the server"
until_so "the poller after an upgrade" active agg-poll
[ "$(within systemctl show -P MainPID agg-poll)" != "$poller_pid" ] || fail "an upgrade restarts the poller"
say "an upgrade restarts the services and keeps passwords, settings and data"

# A machine made from an image, with a name that is also a user's.
within hostname poller
within rm /etc/redis-aggregator/users.acl
within dpkg-reconfigure redis-aggregator
within systemctl restart redis-aggregator
until_so "the server with new passwords" active redis-aggregator
is "users after dpkg-reconfigure" "default node-poller poller admin replica" "$(within cut -d' ' -f2 /etc/redis-aggregator/users.acl | xargs)"
is "the node's pattern" 1 "$(within grep -c '^user node-poller .*%W~poller ' /etc/redis-aggregator/users.acl)"
say "a machine gets a new name and new passwords by dpkg-reconfigure"

within apt-get remove -y -qq agg redis-aggregator >"$work/apt.log" 2>&1 || fail "$(cat "$work/apt.log")"
for unit in redis-aggregator agg-poll agg-host agg-listen agg-serve; do
    is "$unit after removal" inactive "$(within systemctl is-active "$unit" || true)"
done
for path in /usr/bin/agg /usr/lib/redis/modules/libaggregator.so /usr/lib/systemd/system/agg-poll.service; do
    within test ! -e "$path" || fail "$path is left"
done
within test -e /etc/redis-aggregator/users.acl -a -e /var/lib/redis-aggregator/appendonlydir -a -e /etc/agg/password ||
    fail "a removal deletes settings or data"
within apt-get purge -y -qq agg redis-aggregator >"$work/apt.log" 2>&1 || fail "$(cat "$work/apt.log")"
left=$(within sh -c 'ls -d /etc/agg /etc/redis-aggregator /var/lib/agg /var/lib/redis-aggregator 2>/dev/null || true')
is "what a purge leaves" "" "$left"
say "a removal keeps settings and data, a purge keeps nothing"
echo "all tests of the packages passed on $suite with $server"
