#!/usr/bin/env bash
# Runs tests of the module in a real server under AddressSanitizer, which detects accesses outside of allocated memory and
# to freed memory. The module is instrumented. The server is the Valkey that scripts/servers.sh fetches: it allocates with
# libc, so the sanitizer sees the allocations of both.
#
#   scripts/sanitize.sh                 the suites below on Valkey 8.1
#   scripts/sanitize.sh blocking acl    these
#   scripts/sanitize.sh --valgrind      the same under valgrind's memcheck with the ordinary release build, which also
#                                       detects uninitialised values; some thirty times slower
#
# SERVER=PATH selects another server. Reports are in target/sanitize; the run fails if there is one.
set -euo pipefail
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }
[[ ${1:-} == -h || ${1:-} == --help ]] && usage && exit
cd "$(dirname "$0")/.."

valgrind=false
if [ "${1:-}" = --valgrind ]; then
    valgrind=true
    shift
fi
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=(reporting draining reading blocking windows acl keyspace settings persistence replica)

server=${SERVER:-$PWD/target/servers/valkey-8.1}
[ -x "$server" ] || { echo "$server is missing: make servers" >&2 && exit 1; }
to=$PWD/target/sanitize
mkdir -p "$to"
rm -f "$to"/report.*

if $valgrind; then
    CARGO_PROFILE_RELEASE_DEBUG=1 cargo build --release --package aggregator
    export AGG_MODULE=$PWD/target/release/libaggregator.so
    cat >"$to/server" <<SH
#!/bin/sh
[ "\$1" = --version ] && exec "$server" --version
exec valgrind --quiet --child-silent-after-fork=yes --log-file="$to/report.%p" --suppressions="$PWD/scripts/valgrind.supp" "$server" "\$@"
SH
else
    host=$(rustc -vV | sed -n 's/^host: //p')
    # With a named target build scripts and macros are not instrumented. The runtime is that of the C compiler, because a
    # library that a program loads has none.
    RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$to CARGO_PROFILE_RELEASE_DEBUG=1 \
        RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes" \
        cargo build --release --package aggregator --target "$host"
    export AGG_MODULE=$to/$host/release/libaggregator.so
    runtime=$(cc -print-file-name=libasan.so)
    [ -e "$runtime" ] || { echo "the C compiler has no AddressSanitizer" >&2 && exit 1; }
    runtime=$(realpath "$runtime")
    # Servers load modules with RTLD_DEEPBIND, with which the module would bypass the sanitizer.
    cc -shared -fPIC -O1 -o "$to/dlopen.so" -x c - <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
void *dlopen(const char *file, int flags) {
    void *(*next)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
    return next(file, flags & ~RTLD_DEEPBIND);
}
C
    # A server that ends frees nothing, so leaks mean nothing. A server that panics, as in some tests, would test all memory.
    cat >"$to/server" <<SH
#!/bin/sh
[ "\$1" = --version ] && exec "$server" --version
export LD_PRELOAD="$to/dlopen.so:$runtime"
export ASAN_OPTIONS="log_path=$to/report:detect_leaks=0:detect_odr_violation=0:verify_asan_link_order=0:allocator_may_return_null=1:exitcode=99"
exec "$server" "\$@" --crash-memcheck-enabled no
SH
fi
chmod 755 "$to/server"

export AGG_SERVER=$to/server
# Suites are modules of the binary `main`, or binaries of their own.
modules=() binaries=()
for suite in "${suites[@]}"; do
    if grep -qx "mod $suite;" tests/main.rs; then modules+=("$suite::"); else binaries+=(--test "$suite"); fi
done
status=0
threads=--test-threads=${THREADS:-4}
if [ ${#modules[@]} -gt 0 ]; then
    cargo test --package aggregator --test main -- "$threads" "${modules[@]}" || status=$?
fi
if [ ${#binaries[@]} -gt 0 ]; then
    cargo test --package aggregator --no-fail-fast "${binaries[@]}" -- "$threads" || status=$?
fi
for report in "$to"/report.*; do
    [ -s "$report" ] || continue
    echo "== $report" >&2
    head -60 "$report" >&2
    status=1
done
exit $status
