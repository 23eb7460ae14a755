#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks: C and C++ compilers, libclang (for the module's bindings),
# redis-server, pip (for servers of other versions), jq (for the commands of docs), and influxdb, victoria-metrics, chromium,
# prometheus and its reader in Python (for the tests of agg poll), hiredis and phpredis (for those of docs/clients),
# debootstrap and systemd-nspawn (for those of the packages) where apt has them; dpkg-dev, with which packages are made. On Debian and Ubuntu by apt; elsewhere it says what to install. With everything there it does nothing.
set -euo pipefail

missing=()
have() { command -v "$1" >/dev/null 2>&1; }
have cc || missing+=(gcc libc6-dev)
have c++ || missing+=(g++)
have redis-server || missing+=(redis-server)
have redis-cli || missing+=(redis-tools)
have jq || missing+=(jq)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
python3 -c 'import ensurepip' >/dev/null 2>&1 || missing+=(python3-venv)
# libclang-cpp, which other packages bring, is not it.
[ -n "$(compgen -G '/usr/lib/llvm*/lib/libclang[.-][0-9s]*' || compgen -G '/usr/lib*/libclang[.-][0-9s]*' ||
    compgen -G '/usr/lib/*-linux-gnu/libclang[.-][0-9s]*')" ] || missing+=(libclang-dev)

# Their tests say so and do nothing without them: where they are not to be had that is no failure, and they are put on
# no machine whose owner would be asked for a password for it.
optional() {
    [ "$(id -u)" -eq 0 ] && have apt-cache && [ -n "$(apt-cache search --names-only "^$1\$")" ] && missing+=("$1")
    true
}
have influxd || optional influxdb
have victoria-metrics || optional victoria-metrics
have chromium || optional chromium
have promtool || optional prometheus
have dpkg-shlibdeps || optional dpkg-dev
have debootstrap || optional debootstrap
have systemd-nspawn || optional systemd-container
/usr/bin/python3 -c 'import prometheus_client' 2>/dev/null || optional python3-prometheus-client
[ -e /usr/include/hiredis/hiredis.h ] || optional libhiredis-dev
php -r 'exit(extension_loaded("redis") ? 0 : 1);' 2>/dev/null || { optional php-cli && optional php-redis; }

# Cargo comes last, so that all else that is missing is installed or named first.
need_cargo() {
    have cargo && return
    echo "cargo is missing: install Rust 1.88 or newer, by rustup or from your distribution" >&2
    exit 1
}
[ ${#missing[@]} -eq 0 ] && { need_cargo; exit 0; }

if ! have apt-get; then
    have cargo || missing+=(cargo)
    echo "missing: ${missing[*]} (Debian's names); install them and try again" >&2
    exit 1
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then
    have sudo || { echo "missing: ${missing[*]}; install them as root and try again" >&2; exit 1; }
    sudo=sudo
fi
echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# Without this a package's own server would be started on its usual port.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] && [ "$(id -u)" -eq 0 ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
$sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
need_cargo
