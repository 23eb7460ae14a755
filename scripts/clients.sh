#!/usr/bin/env bash
# Fetches the clients that the programs of docs/clients use in tests (node-redis and ioredis, from npm) into target/clients
# or another directory. Existing clients are not fetched again. A client that cannot be fetched is reported, and tests that
# need it are skipped.
#
#   scripts/clients.sh [DIRECTORY]          clients that need no installation on the machine
#   scripts/clients.sh --all [DIRECTORY]    also installs Node with npm and PHP with phpredis with apt, if missing
set -euo pipefail
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }
[[ ${1:-} == -h || ${1:-} == --help ]] && usage && exit
cd "$(dirname "$0")/.."
have() { command -v "$1" >/dev/null 2>&1; }

if [ "${1:-}" = --all ]; then
    shift
    wanted=()
    have node || wanted+=(nodejs)
    have npm || wanted+=(npm)
    php -r 'exit(extension_loaded("redis") ? 0 : 1);' 2>/dev/null || wanted+=(php-cli php-redis)
    if [ ${#wanted[@]} -gt 0 ] && have apt-get && [ "$(id -u)" -eq 0 ]; then
        export DEBIAN_FRONTEND=noninteractive
        echo "installing ${wanted[*]}" >&2
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null; } ||
            echo "${wanted[*]} could not be installed" >&2
    elif [ ${#wanted[@]} -gt 0 ]; then
        echo "missing: ${wanted[*]} (Debian's names)" >&2
    fi
fi

to=${1:-${AGG_CLIENTS:-target/clients}}/node
if ! have node || ! have npm; then
    echo "node-redis and ioredis are not fetched, and their tests are skipped: node or npm is missing." \
        "make test-clients installs them (Debian's nodejs and npm)" >&2
    exit 0
fi
# Newer versions require a newer Node than Debian 12 has.
wanted=(redis@6.3.1 ioredis@6.0.0)
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || wanted=(redis@5.9.0 ioredis@5.9.2)
[ -z "${NODE_CLIENTS:-}" ] || read -ra wanted <<<"$NODE_CLIENTS"
installed() { node -p "require('./$to/node_modules/$1/package.json').version" 2>/dev/null; }
for package in "${wanted[@]}"; do
    if [ "$(installed "${package%@*}")" != "${package#*@}" ]; then
        mkdir -p "$to"
        npm install --prefix "$to" --no-audit --no-fund --ignore-scripts --loglevel error "${wanted[@]}" >&2 ||
            echo "node-redis and ioredis could not be fetched" >&2
        break
    fi
done
