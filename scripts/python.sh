#!/usr/bin/env bash
# The Python client: tests it (lint, types, tests, docs) or builds its wheel, with tools of its own in target/python.
#
#   scripts/python.sh test [pytest's arguments]
#   scripts/python.sh wheel     the wheel and the source archive, in target/python/dist
#   scripts/python.sh bench [--quick]
#
# The Python is AGG_PYTHON, else python3. Where the tools cannot be had by pip it says so and does nothing, but in CI it
# fails.
set -euo pipefail
cd "$(dirname "$0")/.."
client=$PWD/clients/python
target=$PWD/target/python
venv=$target/venv
python=${AGG_PYTHON:-python3}
what=${1:-test}
[ $# -eq 0 ] || shift

# Made anew when the tools or the Python are others.
tools() {
    local want
    want="$("$python" --version) $(cat "$client/requirements-dev.txt")"
    [ "$(cat "$venv/made-of" 2>/dev/null)" = "$want" ] && return
    "$python" -m venv --clear "$venv" &&
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --prefer-binary \
            -r "$client/requirements-dev.txt" &&
        printf '%s\n' "$want" >"$venv/made-of"
}

mkdir -p "$target"
if ! tools; then
    echo "skipped: the Python client's tools (clients/python/requirements-dev.txt) cannot be had" >&2
    [ "${CI:-}" != true ]
    exit
fi

# Nothing is left beside the sources, and what is tested is not what some other folder has installed.
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$client/src
cd "$client"
case $what in
test)
    "$venv/bin/ruff" format --check --quiet --no-cache . ||
        { echo "clients/python: ruff format has something to change" >&2; exit 1; }
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
