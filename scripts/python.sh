#!/usr/bin/env bash
# Tests the Python client (lint, types, tests, examples), builds its wheel or runs its benchmarks, with its own tools in
# target/python.
#
#   scripts/python.sh test [PYTEST ARGUMENTS]
#   scripts/python.sh wheel     the wheel and the source archive, in target/python/dist
#   scripts/python.sh bench [--quick]
#
# The Python is AGG_PYTHON, else python3. If pip cannot install the tools, the script prints a message and succeeds; in CI
# it fails.
set -euo pipefail
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }
[[ ${1:-} == -h || ${1:-} == --help ]] && usage && exit
cd "$(dirname "$0")/.."
client=$PWD/clients/python
target=$PWD/target/python
venv=$target/venv
python=${AGG_PYTHON:-python3}
what=${1:-test}
[ $# -eq 0 ] || shift

# Creates the virtual environment again if the tools or the Python have changed.
install_tools() {
    local want
    want="$("$python" --version) $(cat "$client/requirements-dev.txt")"
    [ "$(cat "$venv/requirements" 2>/dev/null)" = "$want" ] && return
    "$python" -m venv --clear "$venv" &&
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --prefer-binary \
            -r "$client/requirements-dev.txt" &&
        printf '%s\n' "$want" >"$venv/requirements"
}

mkdir -p "$target"
if ! install_tools; then
    echo "skipped: the Python client's tools (clients/python/requirements-dev.txt) cannot be installed" >&2
    [ "${CI:-}" != true ]
    exit
fi

# Leaves no files beside the sources, and tests these sources rather than an installed package.
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$client/src
cd "$client"
case $what in
test)
    "$venv/bin/ruff" format --check --quiet --no-cache . ||
        { echo "clients/python: run ruff format" >&2; exit 1; }
    "$venv/bin/ruff" check --quiet --no-cache .
    "$venv/bin/mypy" --cache-dir "$target/mypy"
    "$venv/bin/python" -m pytest -o "cache_dir=$target/pytest" "$@"
    ;;
wheel)
    rm -rf "$target/dist"
    "$venv/bin/python" -m build --no-isolation --outdir "$target/dist" . >"$target/build.txt" 2>&1 ||
        { cat "$target/build.txt" >&2; exit 1; }
    ls "$target"/dist/*
    ;;
bench)
    "$venv/bin/python" bench.py "$@"
    ;;
*)
    echo "usage: scripts/python.sh test|wheel|bench [arguments]" >&2
    exit 2
    ;;
esac
