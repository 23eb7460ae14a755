#!/usr/bin/env bash
# Runs the module's server tests (tests/) with each available server in turn: the Redis 7.0 of the machine and those that
# scripts/servers.sh fetches (Redis 7.4, 8.2, Valkey 8.1, 9.1). Prints a table of servers and suites. Exits with 1 if a
# test failed, and with 2 if nothing could be run.
#
#   scripts/test-servers.sh                              all servers, all suites but the slow ones: ten minutes on two cores
#   scripts/test-servers.sh --all                        every suite: half an hour
#   scripts/test-servers.sh --servers redis-8.2,valkey-9.1 --suites acl,replica
#
# A suite that takes more than LIMIT seconds (600) counts as failed. Outputs are in target/test-servers. Requires the
# release build of the module.
set -euo pipefail
cd "$(dirname "$0")/.."

# Operations on keys, the memory limit, damaged payloads, and pairs and clusters of servers of all versions.
slow="keyspace memory corrupt failover"
all=false wanted_servers="" wanted_suites=""
while [ $# -gt 0 ]; do
    case $1 in
        --all) all=true ;;
        --servers) wanted_servers=${2:?} && shift ;;
        --suites) wanted_suites=${2:?} && shift ;;
        -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" && exit ;;
        *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2 && exit 2 ;;
    esac
    shift
done

servers_in=$(cd "${AGG_SERVERS:-target/servers}" 2>/dev/null && pwd || true)
# The module's own path is the same wherever cargo puts the tests.
export AGG_MODULE=${AGG_MODULE:-$PWD/target/release/libaggregator.so}
export AGG_SERVERS=${servers_in:-target/servers}
[ -e "$AGG_MODULE" ] || { echo "the module is missing: run make module" >&2; exit 2; }
logs=$PWD/target/test-servers
mkdir -p "$logs"

# name_of PROGRAM: prints a name such as redis-7.0
name_of() {
    "$1" --version 2>/dev/null | sed -nE 's/^(Redis|Valkey) server v=([0-9]+\.[0-9]+).*/\L\1\E-\2/p'
}

# Lines of name and program, the machine's own first; of two equal servers only the first.
list_servers() {
    local program
    for program in redis-server valkey-server "$AGG_SERVERS"/{redis,valkey}-*; do
        program=$(command -v "$program") || continue
        echo "$(name_of "$program") $program"
    done | awk 'NF == 2 && !seen[$1]++'
}

# Suites of the binary `main` are its modules; the other binaries are a suite each. (`docs` tests documents.)
mapfile -t modules < <(sed -n 's/^mod \([a-z_]*\);$/\1/p' tests/main.rs)
suites=()
for suite in "${modules[@]}" docs failover latency memory; do
    if [ -n "$wanted_suites" ]; then
        [[ ",$wanted_suites," == *",$suite,"* ]] || continue
    elif ! $all && [[ " $slow " == *" $suite "* ]]; then
        continue
    fi
    suites+=("$suite")
done
names=()
declare -A program_of result
while read -r name program; do
    [ -z "$wanted_servers" ] || [[ ",$wanted_servers," == *",$name,"* ]] || continue
    names+=("$name")
    program_of[$name]=$program
done < <(list_servers)
[ ${#names[@]} -gt 0 ] && [ ${#suites[@]} -gt 0 ] || { echo "no such server or suite" >&2; exit 2; }
for name in redis-7.0 redis-7.4 redis-8.2 valkey-8.1 valkey-9.1; do
    [ -n "$wanted_servers" ] || [ -n "${program_of[$name]:-}" ] || echo "skipped: $name is missing" >&2
done

cargo=${CARGO:-cargo}
$cargo test --quiet --package aggregator --no-run
failed=0
# selection SUITE: prints cargo's arguments for it. Programs in other languages test clients, not the module.
selection() {
    case $1 in
        docs) echo "--test docs -- --skip clients::" ;;
        failover | latency | memory) echo "--test $1" ;;
        *) echo "--test main $1::" ;;
    esac
}
# run SERVER SUITE: writes its output to $log
run() {
    AGG_SERVER=${program_of[$1]} RUST_TEST_THREADS=${THREADS:-6} timeout --kill-after 10 "${LIMIT:-600}" \
        "$cargo" test --quiet --package aggregator $(selection "$2") >"$log" 2>&1
}
for name in "${names[@]}"; do
    for suite in "${suites[@]}"; do
        log=$logs/$name-$suite.txt
        begun=$SECONDS
        code=0
        run "$name" "$suite" || code=$?
        # A machine that is halted and resumed interrupts reads with a timeout; this is not a failure of the server.
        if [ "$code" -ne 0 ] && grep -q 'Interrupted system call (os error 4)' "$log"; then
            echo "$name $suite: the machine was halted, retrying" >&2
            code=0
            run "$name" "$suite" || code=$?
        fi
        read -r passed bad < <(awk '/^test result:/ { for (i = 1; i < NF; i++) {
            if ($(i + 1) ~ /^passed/) p += $i
            if ($(i + 1) ~ /^failed/) f += $i } } END { print p + 0, f + 0 }' "$log")
        skipped=$(grep -c '^skipped:' "$log" || true)
        cell=$passed
        [ "$skipped" -eq 0 ] || cell+=" ($skipped skipped)"
        [ "$bad" -eq 0 ] || cell+=" **$bad failed**"
        if [ "$code" -eq 124 ]; then
            cell="**out of time**"
        elif [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then
            cell="**ended with $code**"
        fi
        [ "$code" -eq 0 ] || failed=1
        result[$name $suite]=$cell
        echo "$name $suite: $cell, $((SECONDS - begun)) s" >&2
        [ "$code" -eq 0 ] || grep -E '^    [a-z_:0-9]+$' "$log" | sort -u >&2 || true
    done
done

echo "Tests that passed; of those in brackets a part had nothing to run on."
echo
echo "| |$(printf ' %s |' "${names[@]}")"
echo "| --- |$(printf -- ' --- |%.0s' "${names[@]}")"
for suite in "${suites[@]}"; do
    row="| $suite |"
    for name in "${names[@]}"; do
        row+=" ${result[$name $suite]} |"
    done
    echo "$row"
done
exit $failed
