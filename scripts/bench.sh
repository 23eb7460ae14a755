#!/usr/bin/env bash
# The server's CPU time per command (user and system, nanoseconds), beside SET's and a do-nothing module command's, all
# in one run and in turn, so that a noisy machine disturbs all alike. The median of ROUNDS rounds.
#
#   scripts/bench.sh [rounds]        METRICS=10000 REQUESTS=1000000 PIPELINE=64 CLIENTS=50
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}
metrics=${METRICS:-10000}
requests=${REQUESTS:-1000000}
pipeline=${PIPELINE:-64}
clients=${CLIENTS:-50}

dir=$(mktemp -d)
server=
trap '[ -n "$server" ] && kill "$server" 2>/dev/null; wait 2>/dev/null; rm -rf "$dir"' EXIT
cc -O2 -shared -fPIC -o "$dir/noop.so" benches/noop.c
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
redis-server --port "$port" --bind 127.0.0.1 --dir "$dir" --save '' --appendonly "${AOF:-no}" \
    --loadmodule "$dir/noop.so" --loadmodule "$PWD/target/release/libaggregator.so" max-series 10000000 max-memory 4gb \
    >"$dir/log" 2>&1 &
server=$!
until redis-cli -p "$port" ping >/dev/null 2>&1; do
    kill -0 "$server" 2>/dev/null || { tail -n 3 "$dir/log" >&2; exit 1; }
    sleep 0.05
done

ticks=$(getconf CLK_TCK)
cpu() { awk -v t="$ticks" '{print ($14 + $15) * 1e9 / t}' "/proc/$server/stat"; }
measure() { # name command...
    local name=$1 before after
    shift
    before=$(cpu)
    redis-benchmark -p "$port" -P "$pipeline" -c "$clients" -n "$requests" -r "$metrics" -q "$@" >/dev/null
    after=$(cpu)
    awk -v n="$name" -v a="$before" -v b="$after" -v r="$requests" 'BEGIN {printf "%s\t%.0f\n", n, (b - a) / r}' \
        >>"$dir/figures"
}
for _ in $(seq "$rounds"); do
    measure 'PING' PING
    measure 'SET' SET key:__rand_int__ 0123456789abcdef
    measure 'do-nothing command' NOOP.STAT node1 metric:__rand_int__ 42
    measure 'AGG.STAT ABS' AGG.STAT node1 gauge:__rand_int__ 42
    measure 'AGG.STAT DIFF' AGG.STAT node1 counter:__rand_int__ 42 DIFF
    measure 'AGG.STAT TAGS' AGG.STAT node1 gauge:__rand_int__ 42 TAGS 'dim:iops location:elgouna'
    measure 'AGG.LOG 100 bytes' AGG.LOG node2 "$(printf 'x%.0s' $(seq 100))"
    measure 'AGG.ERROR known' AGG.ERROR node1 'disk failed' FUNC read FILE disk.c
    measure 'AGG.REALITY unchanged' AGG.REALITY node1 sda system.Disk '{"model":"X","size":480103981056,"rotational":false}'
done
echo "$(redis-server --version | awk '{print $3}'), $metrics names, pipeline $pipeline, $clients clients, median of $rounds rounds of $requests commands"
sort -t$'\t' -k1,1 -k2,2n "$dir/figures" | awk -F'\t' '
    {v[$1] = v[$1] " " $2; n[$1]++}
    END {
        split(v["SET"], s, " "); set = s[int((n["SET"] + 1) / 2)]
        for (k in v) {split(v[k], a, " "); m = a[int((n[k] + 1) / 2)]; printf "%-24s %6d ns  %.2f x SET  (%d to %d)\n", k, m, m / set, a[1], a[n[k]]}
    }' | sort -t'x' -k2 -n -k1,1
