#!/usr/bin/env bash
# Shows it at work: builds, starts a Redis with the module on 127.0.0.1:PORT, lets this machine report to it (its
# figures, objects, logs and what looks like an error in them) and prints the records that agg poll takes out of the
# queues.
# Ctrl-C, SIGTERM and SIGHUP end all of it; nothing is left running. State is fresh each time.
#
#   scripts/run.sh       PORT=7777  SHOW=all (every record; else those of many that say most)
#                        CONFIG=FILE (of agg poll: the records go where it says, and not to the screen)
#
# Every process that is started leads a process group of its own, so that a Ctrl-C reaches this script alone, which
# then ends the groups in order. Its files are in run/PORT/.
# shellcheck disable=SC2317,SC2129 # Functions are called by start; each one's errors go to the same file.
set -euo pipefail
shopt -s extglob
cd "$(dirname "$0")/.."

port=${PORT:-7777}
show=${SHOW:-some}
config=${CONFIG:-}
dir=run/$port
node=$(uname -n)
agg=target/release/agg
module=$PWD/target/release/libaggregator.so
min_window=10
hour_window=60

say() { printf '%s\n' "$*" || true; }
fail() {
    say "$*" >&2
    exit 1
}

# Process groups, by what they are for.
building=()
reporting=()
polling=()
serving=()

# Starts a command or function as a process group of its own; $! is its leader.
start() {
    set -m
    "$@" </dev/null &
    set +m
}

# Ends process groups: asks, waits 5 s at most, insists.
end() {
    local group left
    for group in "$@"; do
        kill -TERM -- "-$group" 2>/dev/null || true
    done
    for _ in {1..50}; do
        left=
        for group in "$@"; do
            if kill -0 -- "-$group" 2>/dev/null; then left=1; fi
        done
        if [ -z "$left" ]; then return 0; fi
        sleep 0.1
    done
    for group in "$@"; do
        kill -KILL -- "-$group" 2>/dev/null || true
    done
}

finish() {
    local code=$1 why=${2:-}
    # From here on nothing may interrupt, be it a second Ctrl-C or a reader of the output that went.
    trap '' INT TERM HUP PIPE
    trap - EXIT
    if [ -n "$why" ]; then say $'\n'"$why"; fi
    end "${building[@]}" "${reporting[@]}"
    end "${polling[@]}"
    # The printer ends by itself, with the last record.
    if [ -n "${printer:-}" ]; then
        wait "$printer" || true
        tail -n 1 "$dir/poll.log" || true
    fi
    end "${serving[@]}"
    wait || true
    if [ -n "${printer:-}" ]; then say "The server and all that reported to it have ended."; fi
    exit "$code"
} 2>/dev/null
trap 'finish $?' EXIT
trap 'finish 0 "Ending ..."' INT TERM HUP

check_port() {
    if ! [[ $port =~ ^[0-9]{1,5}$ ]] || ((10#$port < 1 || 10#$port > 65535)); then
        fail "PORT=$port is not a port: a number from 1 to 65535 is needed, as in: make run PORT=7778"
    fi
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        fail "Port $port is in use by another program. Take another one: make run PORT=$((port + 1))"
    fi
}

cargo_build() {
    ${CARGO:-cargo} build --release --workspace 2>&1 | tee "$dir/build.log"
}

build() {
    # Where rustup puts it, if the shell does not know yet.
    if ! command -v cargo >/dev/null && [ -x "${HOME:-}/.cargo/bin/cargo" ]; then
        PATH=$PATH:$HOME/.cargo/bin
    fi
    # In the foreground: it may ask for a password, and a package manager is better not ended half-way.
    scripts/deps.sh
    say "Building (the first time takes some minutes) ..."
    start cargo_build
    building=($!)
    wait "$!" || fail "The build failed: see above, or $dir/build.log."
    building=()
}

start_server() {
    start "${AGG_SERVER:-redis-server}" --port "$port" --bind 127.0.0.1 --dir "$PWD/$dir" \
        --save '' --appendonly no --logfile server.log \
        --loadmodule "$module" min-window "$min_window" hour-window "$hour_window" \
        flush-delay-ms 1000 error-interval-ms 10000
    server=$!
    serving=("$server")
    until redis-cli -h 127.0.0.1 -p "$port" PING >/dev/null 2>&1; do
        kill -0 "$server" 2>/dev/null || server_died
        sleep 0.05
    done
}

server_died() {
    local code=0
    wait "$server" || code=$?
    if [ -s "$dir/server.log" ]; then
        finish 1 "The server has ended (exit code $code). The end of $dir/server.log:
$(tail -n 5 "$dir/server.log")"
    fi
    finish 1 "The server did not start (exit code $code)."
}

# The newest logs of the machine: readable, not empty, text, not yet rotated.
find_logs() {
    local file count=0
    while IFS= read -r file && ((count < 8)); do
        if [ ! -f "$file" ] || [ ! -r "$file" ] || [ ! -s "$file" ]; then continue; fi
        case $file in *.gz | *.xz | *.bz2 | *.zst | *.[0-9] | *.old | */README* | *[[:space:]]*) continue ;; esac
        if LC_ALL=C grep -qI . "$file"; then
            printf '%s\n' "$file"
            count=$((count + 1))
        fi
    done < <(ls -1td -- /var/log/* /var/log/*/* 2>/dev/null)
}

follow_file() { tail -n 3 -F -- "$1" | "$agg" pipe log --node "$node" --tag "file:$1"; } 2>>"$dir/agg.log"
follow_kernel() {
    { dmesg | tail -n 5; dmesg --follow-new; } | "$agg" pipe log --node "$node" --tag source:dmesg
} 2>>"$dir/agg.log"
feed_build() { tail -n 3 "$dir/build.log" | "$agg" pipe log --node "$node" --tag "file:$dir/build.log"; } 2>>"$dir/agg.log"

# Lines that look like errors. Times and process ids are taken out: so those that are alike are one, with a count.
follow_errors() {
    local word='error|failed|failure|fatal|panic:|panicked|segfault|critical|exception|traceback|cannot|denied'
    {
        if ((kernel)); then dmesg | tail -n 500; fi
        exec tail -q -n 500 -F -- "$dir/build.log" "${logs[@]}"
    } |
        grep --line-buffered -iE "(^|[^[:alnum:]_-])($word)([^[:alnum:]_-]|\$)" |
        sed -u -E -e 's/^(\[ *[0-9.]+\]|[A-Z][a-z]{2} +[0-9]+ [0-9:]+|[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,]+(Z|[+-][0-9:]+)?) *//' \
            -e 's/\[[0-9]+\]:/:/' |
        "$agg" pipe error --node "$node" --type OPS
} 2>>"$dir/agg.log"

report() {
    mapfile -t logs < <(find_logs)
    nic=$(awk '$2 == "00000000" {print $1; exit}' /proc/net/route 2>/dev/null || true)
    kernel=0
    if [ -n "$(dmesg 2>/dev/null | tail -n 1)" ]; then kernel=1; fi

    start "$agg" host --node "$node" 2>>"$dir/agg.log"
    host=$!
    reporting=("$host")
    local file
    for file in "${logs[@]}"; do
        start follow_file "$file"
        reporting+=($!)
    done
    if ((kernel)); then
        start follow_kernel
        reporting+=($!)
    fi
    start feed_build
    reporting+=($!)
    start follow_errors
    reporting+=($!)
}

explain() {
    local sources=("${logs[@]}" "$dir/build.log")
    if ((kernel)); then sources+=(dmesg); fi
    cat <<EOF

A Redis server with the module runs on 127.0.0.1:$port. This machine reports to it as node '$node': its figures
each second, its disks, network interfaces and cores as objects, and the lines of
  ${sources[*]}
as logs; those that look like errors as errors, too.
Windows are $min_window s and $hour_window s long here, so that there is something to see; by default they are 300 s and 3600 s.
(An error that goes on comes again after 10 s, not 5 minutes; a window closes 1 s after its end, not 5 s.)
The state is fresh, held in memory alone, and gone when this ends. Logs of the programs: $dir/

In another terminal:
  redis-cli -p $port AGG.STAT $node my.metric 42                      a sample; its record comes when the window closes
  redis-cli -p $port AGG.LOG $node 'hello'                            a log line; comes at once
  redis-cli -p $port AGG.ERROR $node 'it broke'                       at once; more of the same raise its count
  redis-cli -p $port AGG.REALITY $node lamp demo.Lamp '{"on":true}'   comes when it is new or changed
  redis-cli -3 -p $port AGG.GET $node METRIC cpu.load                 a metric as it stands
  redis-cli -3 -p $port AGG.INFO $node                                what the node holds

  target/release/agg top --redis redis://127.0.0.1:$port                 all of it, live
$(where_records)
Ctrl-C ends everything.

EOF
}

where_records() {
    if [ -n "$config" ]; then
        printf "'agg poll --config %s' takes the records out of the queues; below is what it says." "$config"
        return
    fi
    cat <<EOF
The poller shows how it is at http://127.0.0.1:$page/

Below is what 'agg poll --config $dir/poller.toml' takes out of the queues, a record a line: LOG, ERROR and REALITY at once,
MIN every $min_window s (count, sum, avg, min, max and last of each metric), HOUR every $hour_window s. $(which_records)
EOF
}

which_records() {
    if [ "$show" = all ]; then
        printf 'Every record is shown.'
    else
        printf 'Of many at once some are shown,\nthe others counted; make run PORT=%s SHOW=all shows every one.' "$port"
    fi
}

# Whether a record is one of those to show: few of agg host's metrics, all of others; of each queue the first ones.
say_most() {
    local queue=$1 metric=$2 limit=8
    case $metric in
    cpu.load | load.1m | mem.used.percent) ;;
    disk.write.bytes@* | net.rx.bytes@*)
        if [[ -n $nic && $metric == net.* && $metric != "net.rx.bytes@$nic" ]]; then return 1; fi
        local name=$queue${metric%%@*}
        if [ -n "${shown[$name]:-}" ]; then return 1; fi
        shown[$name]=1
        ;;
    cpu.load@* | load.@(5|15)m | @(mem|swap).@(total|used|available|free) | proc.count | uptime) return 1 ;;
    disk.@(total|used|available|used.percent|busy|@(read|write).@(bytes|ops))@*) return 1 ;;
    net.@(rx|tx).@(bytes|packets|errors)@*) return 1 ;;
    esac
    shown[$queue]=$((${shown[$queue]:-0} + 1))
    ((shown[$queue] <= limit))
}

# Prints records. What comes without a pause belongs together.
print() {
    local line rest='' status queue more dim='' plain=''
    local pattern='^\{"node":"[^"]*","queue":"([A-Z]+)","id":[0-9]+(,"metric":"([^"]*)")?'
    local -A shown=() hidden=()
    if [ -t 1 ]; then
        dim=$'\e[2m'
        plain=$'\e[0m'
    fi
    while :; do
        status=0
        if ((${#shown[@]} + ${#hidden[@]})); then
            IFS= read -r -t 0.3 line || status=$?
        else
            IFS= read -r line || status=$?
        fi
        if ((status)); then
            rest+=$line
            more=
            for queue in "${!hidden[@]}"; do
                more+="${more:+, }${hidden[$queue]} $queue"
            done
            if [ -n "$more" ]; then printf '%s... and %s%s\n' "$dim" "$more" "$plain"; fi
            if ((status <= 128)); then return 0; fi
            shown=() hidden=()
            continue
        fi
        line=$rest$line rest=
        if [ "$show" = all ] || ! [[ $line =~ $pattern ]]; then
            printf '%s\n' "$line"
        elif say_most "${BASH_REMATCH[1]}" "${BASH_REMATCH[3]:-}"; then
            printf '%s\n' "$line"
        else
            queue=${BASH_REMATCH[1]}
            hidden[$queue]=$((${hidden[$queue]:-0} + 1))
        fi
    done
}

# Where the poller shows how it is: another port, free as far as one can see.
choose_page() {
    page=9777
    while (exec 3<>"/dev/tcp/127.0.0.1/$page") 2>/dev/null; do
        page=$((page + 1))
    done
}

poll() {
    if [ -n "$config" ]; then
        start "$agg" poll --config "$config"
        poll=$!
        polling=("$poll")
        return
    fi
    cat >"$dir/poller.toml" <<EOF
listen = "127.0.0.1:$page"
dead-letters = "$dir/dead-letters.jsonl"
poll-interval = "200ms"

[[source]]
urls = ["redis://127.0.0.1:$port"]

[[route]]
queues = ["MIN", "HOUR", "LOG", "ERROR", "REALITY"]
sinks = ["screen"]

[sink.screen]
type = "stdout"
EOF
    rm -f "$dir/records"
    mkfifo "$dir/records"
    start print_records
    printer=$!
    start "$agg" poll --config "$dir/poller.toml" >"$dir/records" 2>"$dir/poll.log"
    poll=$!
    polling=("$poll")
}
print_records() { print <"$dir/records"; }

check_port
if [ -n "$config" ] && [ ! -r "$config" ]; then fail "CONFIG=$config cannot be read."; fi
mkdir -p "$dir"
rm -f "$dir"/*
build
export AGG_REDIS=redis://127.0.0.1:$port
unset AGG_PASSWORD
if [ -n "$config" ]; then "$agg" check --config "$config" || fail "CONFIG=$config is not as it should be."; fi
start_server
report
choose_page
explain
poll

wait -n "$server" "$host" "$poll" || true
kill -0 "$server" 2>/dev/null || server_died
finish 1 "A program has ended by itself. The end of $dir/agg.log and $dir/poll.log:
$(tail -q -n 3 "$dir/agg.log" "$dir/poll.log" 2>/dev/null)"
