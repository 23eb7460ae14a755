#!/usr/bin/env bash
# Demonstrates the module: builds it and agg, starts a Redis server with it on 127.0.0.1:PORT, lets this machine report its
# metrics, objects, logs and errors, and prints the records that `agg drain` takes out of the queues. Programs can report
# by statsd, OpenTelemetry and syslog to `agg listen`. Ctrl-C ends all.
#
#   scripts/run.sh       PORT=7777
#                        SHOW=json      records as JSON instead of one compact line each
#                        CONFIG=FILE    run `agg poll --config FILE` instead: records go where the file says
#
# The server is empty at each start and keeps its state in memory. Logs of all programs are in run/PORT/.
# shellcheck disable=SC2317 # Functions are called by start.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
"") ;;
-h | --help) sed -n '2,/^# shellcheck/{/^# shellcheck/d;s/^# \{0,1\}//p}' "$0" && exit ;;
*) echo "usage: scripts/run.sh (--help explains its variables)" >&2 && exit 2 ;;
esac

port=${PORT:-7777}
show=${SHOW:-pretty}
config=${CONFIG:-}
dir=run/$port
node=$(uname -n)
# Built without optimisation: it does not need to be fast here, and is ready in a quarter of the time.
agg=target/debug/agg
module=$PWD/target/release/libaggregator.so

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# Leaders of process groups. A Ctrl-C reaches this script alone, which then ends the groups in order.
reporters=()
# The protocols that agg listen receives, with their addresses.
protocols=()
drain=
server=

start() {
    set -m
    "$@" </dev/null &
    set +m
}

# Ends process groups: asks, waits 5 s at most, then kills.
end() {
    local group
    for group in "$@"; do kill -TERM -- "-$group" 2>/dev/null || true; done
    for group in "$@"; do
        for _ in {1..50}; do
            kill -0 -- "-$group" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$group" 2>/dev/null || true
    done
}

finish() {
    # Nothing may interrupt the shutdown: neither a second Ctrl-C nor a closed output.
    trap '' INT TERM HUP PIPE
    trap - EXIT
    end "${reporters[@]}"
    # Prints its summary.
    end ${drain:+"$drain"}
    end ${server:+"$server"}
    wait || true
    exit "$1"
} 2>/dev/null
trap 'finish $?' EXIT
trap 'echo; finish 0' INT TERM HUP

# Returns whether a program uses a port of TCP or, on Linux, of UDP.
is_in_use() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null ||
        grep -qsE "^ *[0-9]+: [0-9A-F]{8,32}:$(printf %04X "$((10#$1))") " /proc/net/udp /proc/net/udp6
}

check_arguments() {
    if ! [[ $port =~ ^[0-9]{1,5}$ ]] || ((10#$port < 1 || 10#$port > 65535)); then
        fail "PORT=$port: expected a number from 1 to 65535, as in: make run PORT=7778"
    fi
    if is_in_use "$port"; then
        fail "Port $port is in use. Choose another one: make run PORT=$((port + 1))"
    fi
    if [[ $show != pretty && $show != json ]]; then fail "SHOW=$show: expected pretty or json"; fi
    if [ -n "$config" ] && [ ! -r "$config" ]; then fail "CONFIG=$config cannot be read"; fi
}

build() {
    # Looks where rustup installs cargo, if it is not in PATH yet.
    if ! command -v cargo >/dev/null && [ -x "${HOME:-}/.cargo/bin/cargo" ]; then PATH=$PATH:$HOME/.cargo/bin; fi
    scripts/deps.sh
    echo "Building (a few minutes the first time) ..."
    "${CARGO:-cargo}" build --release --package aggregator
    "${CARGO:-cargo}" build --package agg
}

start_server() {
    start "${AGG_SERVER:-redis-server}" --port "$port" --bind 127.0.0.1 --dir "$PWD/$dir" \
        --save '' --appendonly no --logfile server.log \
        --loadmodule "$module" min-window 10 hour-window 60 flush-delay-ms 1000 error-interval-ms 10000
    server=$!
    until redis-cli -h 127.0.0.1 -p "$port" PING >/dev/null 2>&1; do
        kill -0 "$server" 2>/dev/null || fail "The server did not start: $(tail -n 5 "$dir/server.log" 2>&1)"
        sleep 0.05
    done
}

# Up to five of the newest logs of the machine: readable, not empty, text, not rotated.
find_logs() {
    local file count=0
    while IFS= read -r file && ((count < 5)); do
        [[ -f $file && -r $file && -s $file ]] || continue
        case $file in *.gz | *.xz | *.bz2 | *.zst | *.[0-9] | *.old | */README* | *[[:space:]]*) continue ;; esac
        if LC_ALL=C grep -qI . "$file"; then
            printf '%s\n' "$file"
            count=$((count + 1))
        fi
    done < <(ls -1td -- /var/log/* /var/log/*/* 2>/dev/null)
}

follow_log() { tail -n 3 -F -- "$1" | "$agg" pipe log --node "$node" --tag "file:$1"; } 2>>"$dir/agg.log"

# Reports lines that look like errors. Without times and process ids equal ones are one error with a count.
follow_errors() {
    local words='error|failed|failure|fatal|panic:|panicked|segfault|critical|exception|traceback|cannot|denied'
    tail -q -n 500 -F -- "$@" |
        grep --line-buffered -iE "(^|[^[:alnum:]_-])($words)([^[:alnum:]_-]|\$)" |
        sed -u -E -e 's/^(\[ *[0-9.]+\]|[A-Z][a-z]{2} +[0-9]+ [0-9:]+|[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]+(Z|[+-][0-9:]+)?) *//' \
            -e 's/\[[0-9]+\]:/:/' |
        "$agg" pipe error --node "$node" --type OPS
} 2>>"$dir/agg.log"

report() {
    start "$agg" host --node "$node" 2>>"$dir/agg.log"
    host=$!
    reporters=("$host")
    mapfile -t logs < <(find_logs)
    local file
    for file in "${logs[@]}"; do
        start follow_log "$file"
        reporters+=($!)
    done
    if ((${#logs[@]})); then
        start follow_errors "${logs[@]}"
        reporters+=($!)
    fi
}

# Receives statsd, OTLP and syslog, and shows a status page, each at its usual port unless that is in use.
listen() {
    local name port arguments=()
    for name in statsd:8125 otlp:4318 syslog:5140 listen:9778; do
        port=${name#*:} name=${name%:*}
        if is_in_use "$port"; then
            printf 'Port %s is in use: agg listen does not use it for %s.\n' "$port" "${name/listen/a status page}"
        else
            arguments+=("--$name" "127.0.0.1:$port")
            [ "$name" = listen ] || protocols+=("$name on 127.0.0.1:$port")
        fi
    done
    ((${#protocols[@]})) || return 0
    start "$agg" listen --node "$node" --errors-from ERROR "${arguments[@]}" 2>"$dir/listen.log"
    local listener=$!
    for _ in {1..50}; do
        if grep -q 'listening on' "$dir/listen.log"; then
            reporters+=("$listener")
            return
        fi
        kill -0 "$listener" 2>/dev/null || break
        sleep 0.1
    done
    # For example, another program uses one of the ports in a way that is_in_use does not see.
    end "$listener"
    protocols=()
    printf 'agg listen did not start: %s\n' "$(tail -n 1 "$dir/listen.log")"
}

explain_protocols() {
    ((${#protocols[@]})) || return 0
    local list
    list=$(printf ', %s' "${protocols[@]}")
    cat <<EOF

Programs can report to it by existing protocols, too ($dir/listen.log): ${list:2}
EOF
    # What is not received here would reach another program.
    if [[ ${protocols[*]} == *statsd* ]]; then
        cat <<EOF
  echo 'page.time:320|ms' | nc -u -w1 127.0.0.1 8125        a time by statsd, with percentiles in its record
  echo 'page.time:320|ms' >/dev/udp/127.0.0.1/8125          the same by bash alone
EOF
    fi
    if [[ ${protocols[*]} == *syslog* ]]; then
        echo "  logger -n 127.0.0.1 -P 5140 -d -p user.err 'disk full'    a log entry and an error, by syslog"
    fi
}

explain() {
    cat <<EOF

A Redis server with the module runs on 127.0.0.1:$port. This machine reports to it as node '$node':
metrics each second, disks, network interfaces and cores as objects, log files, and errors found in them:
  ${logs[*]}
Windows are 10 s (MIN) and 60 s (HOUR) long here; the defaults are 300 s and 3600 s.

In another terminal:
  redis-cli -p $port AGG.STAT $node my.metric 42                      a sample; its record follows within 11 s
  redis-cli -p $port AGG.LOG $node 'hello'                            a log entry
  redis-cli -p $port AGG.ERROR $node 'it broke'                       an error; repetitions raise its count
  redis-cli -p $port AGG.REALITY $node lamp demo.Lamp '{"on":true}'   an object, delivered when it changes
  redis-cli -3 -p $port AGG.INFO $node                                what the node holds
  $agg top --redis redis://127.0.0.1:$port                   a live view
  $agg report --redis redis://127.0.0.1:$port -o node.html   a page with plots
EOF
    explain_protocols
    echo
    if [ -n "$config" ]; then
        echo "'agg poll --config $config' drains the queues; its log follows. Ctrl-C ends everything."
    else
        echo "Records that 'agg drain --follow' takes out of the queues follow. Ctrl-C ends everything."
    fi
    echo
}

check_arguments
mkdir -p "$dir"
rm -f "$dir"/*.log
build
export AGG_REDIS=redis://127.0.0.1:$port
unset AGG_PASSWORD
if [ -n "$config" ]; then "$agg" check --config "$config" || exit 1; fi
start_server
report
listen
explain
if [ -n "$config" ]; then
    start "$agg" poll --config "$config"
else
    start "$agg" drain --follow --format "$show"
fi
drain=$!

code=0
wait -n "$server" "$host" "$drain" || code=$?
if ! kill -0 "$server" 2>/dev/null; then
    fail "The server has ended. The end of $dir/server.log: $(tail -n 5 "$dir/server.log" 2>&1)"
fi
# A drain exits with 0 if its output is closed.
if ((code)); then fail "A program has ended with exit code $code. The end of $dir/agg.log: $(tail -n 3 "$dir/agg.log" 2>&1)"; fi
