#!/usr/bin/env bash
# Counts the instructions that a command takes in the module's own functions, and prints them by function.
#
# usage: scripts/instructions.sh [METRICS [COMMANDS [COMMAND ARGUMENT...]]]
#
# Default: 10,000 metrics in a node, 20,000 commands `AGG.STAT node1 metric:__rand_int__ 42`, in pipelines of 64.
# Build the module with line tables to count the lines of its own sources only:
#   cargo build --profile lines -p aggregator && MODULE=target/lines/libaggregator.so scripts/instructions.sh
# Without them the inlined code of the standard library counts, too, which more than doubles the counts.
#
# Counts do not depend on the load of the machine, so they show changes that times hide. Needs valgrind, redis-server,
# redis-cli and redis-benchmark; MODULE is the module to measure, MAX a limit above which the script fails.
set -euo pipefail
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }
[[ ${1:-} == -h || ${1:-} == --help ]] && usage && exit
cd "$(dirname "$0")/.."

metrics=${1:-10000}
commands=${2:-20000}
if [ $# -gt 2 ]; then command=("${@:3}"); else command=(AGG.STAT node1 metric:__rand_int__ 42); fi
module=$(realpath "${MODULE:-target/release/libaggregator.so}")
port=$((20000 + RANDOM % 20000))
folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT

cd "$folder"
valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file="$folder/out" \
    redis-server --port "$port" --save '' --loadmodule "$module" max-series 100000000 >"$folder/log" 2>&1 &
server=$!
for _ in $(seq 600); do
    redis-cli -p "$port" PING >/dev/null 2>&1 && break
    sleep 0.1
done

for ((i = 0; i < metrics; i++)); do
    printf 'AGG.STAT node1 metric:%012d 1\r\n' "$i"
done | redis-cli -p "$port" --pipe >/dev/null

callgrind_control -i on "$server" >/dev/null
redis-benchmark -p "$port" -P 64 -c 1 -n "$commands" -r "$metrics" "${command[@]}" >/dev/null
callgrind_control -i off "$server" >/dev/null
redis-cli -p "$port" SHUTDOWN NOSAVE >/dev/null 2>&1 || true
wait "$server" || true

callgrind_annotate --threshold=100 --show-percs=no "$folder/out" |
    awk -v commands="$commands" -v name="$(basename "$module")" -v max="${MAX:-}" '
        $0 ~ "\\[.*" name "\\]" {
            count = $1
            gsub(",", "", count)
            label = $0
            sub(/^ *[0-9,]+ +/, "", label)
            sub(/^[^:]*:/, "", label)
            sub(/ \[.*$/, "", label)
            by[label] += count
            sum += count
        }
        END {
            for (label in by)
                if (by[label] >= commands) printf "%8.1f  %s\n", by[label] / commands, label | "sort -rn"
            close("sort -rn")
            printf "%8.1f  instructions for each command in the module\n", sum / commands
            exit max != "" && sum / commands > max
        }'
