#!/usr/bin/env bash
# Runs each fuzz target of fuzz/ for a short while, from the committed corpus. Exits with 1 if one fails.
#
#   scripts/fuzz.sh          the usual number of runs: all ten in about three minutes, the same inputs at each call
#   scripts/fuzz.sh 3        three times as many runs
#   scripts/fuzz.sh 300s     300 seconds for each target, other inputs at each call; new inputs are kept in
#                            fuzz/target/corpus
#
# TARGETS="codec json" selects targets. SANITIZER=address also detects invalid accesses (the crates have no unsafe code, so `none`
# is the default: it is several times as fast). Installs cargo-fuzz and, on Debian and Ubuntu, a C++ compiler if they are
# missing.
set -euo pipefail
script=$(realpath "$0")
cd "$(dirname "$0")/../fuzz"

amount=${1:-1}
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$script"; }
[[ $amount == -h || $amount == --help ]] && usage && exit
[[ $amount =~ ^[1-9][0-9]*s?$ ]] || { usage >&2; exit 2; }
sanitizer=${SANITIZER:-none}
export CARGO_TARGET_DIR=$PWD/target
# cargo-fuzz needs coverage instrumentation, which a stable compiler allows only with this.
export RUSTC_BOOTSTRAP=1
cargo=${CARGO:-cargo}

if ! command -v c++ >/dev/null; then
    command -v apt-get >/dev/null || { echo "a C++ compiler is missing (Debian's name: g++)" >&2; exit 1; }
    sudo=""
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends g++ >/dev/null
fi
bin=$CARGO_TARGET_DIR/tools
export PATH=$bin/bin:$PATH
command -v cargo-fuzz >/dev/null ||
    "$cargo" install cargo-fuzz --version 0.13.2 --locked --quiet --root "$bin" --target-dir "$bin/build"
"$cargo" fuzz build --sanitizer "$sanitizer"

# Numbers of runs with which all targets take about the same time.
runs() {
    case $1 in
    codec) echo 67000 ;;
    arguments) echo 29000 ;;
    json) echo 580000 ;;
    line) echo 165000 ;;
    commands) echo 4200 ;;
    large) echo 400 ;;
    listen_statsd) echo 200000 ;;
    listen_text) echo 200000 ;;
    listen_otlp) echo 100000 ;;
    listen_syslog) echo 30000 ;;
    esac
}

# The length limit of inputs, bytes. A few bytes of `large` are a large list.
longest() {
    case $1 in
    large) echo 128 ;;
    *) echo 4096 ;;
    esac
}

# run_target target: prints what it did; fails if it found something.
run_target() {
    local target=$1 corpus limits log status=0
    if [[ $amount == *s ]]; then
        corpus=target/corpus/$target
        limits=(-max_total_time="${amount%s}")
    else
        # An empty directory: inputs found by an earlier call would change the runs of this one.
        corpus=$(mktemp -d)
        limits=(-runs=$(($(runs "$target") * amount)) -seed=1)
    fi
    mkdir -p "$corpus" "artifacts/$target"
    echo "== $target"
    log=$(mktemp)
    if ! nice "$cargo" fuzz run --sanitizer "$sanitizer" "$target" "$corpus" "corpus/$target" -- "${limits[@]}" \
        -max_len="$(longest "$target")" -timeout=20 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 >"$log" 2>&1; then
        status=1
        tail -n 60 "$log"
    fi
    grep -E 'number_of_executed_units|peak_rss' "$log" || true
    rm -f "$log"
    [[ $amount == *s ]] || rm -rf "$corpus"
    return $status
}

# A target keeps one processor busy.
out=$(mktemp -d)
read -ra targets <<<"${TARGETS:-codec arguments json line commands large listen_statsd listen_text listen_otlp listen_syslog}"
for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
    { run_target "$target" >"$out/$target" 2>&1 || touch "$out/$target.failed"; } &
done
wait
failed=()
for target in "${targets[@]}"; do
    cat "$out/$target"
    [ ! -e "$out/$target.failed" ] || failed+=("$target")
done
rm -rf "$out"
if ((${#failed[@]})); then
    echo "failed: ${failed[*]}; the inputs are in fuzz/artifacts" >&2
    exit 1
fi
