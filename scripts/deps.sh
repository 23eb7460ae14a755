#!/usr/bin/env bash
# Installs the Debian packages that this machine lacks. Does nothing where none is missing.
#
#   scripts/deps.sh          what building and running need: a C compiler, redis-server and redis-cli
#   scripts/deps.sh lint     also what the checks of `make lint` need: Python, git
#   scripts/deps.sh test     also what tests need: Python, git, procps, a C++ compiler (fuzz targets), pip and venv (servers
#                            of other versions, the Python client), jq and curl (commands of docs), valgrind (counts of
#                            instructions). As root also, where apt has them: influxdb, victoria-metrics, postgresql,
#                            chromium, prometheus and its reader in Python (agg poll), Node with npm, rsyslog, collectd and logger (senders to agg listen), hiredis and phpredis
#                            (docs/clients), faketime, dpkg-dev, debootstrap and systemd-container (packages)
#
# Services of packages that are installed here are neither started nor enabled; services that were there before are left
# alone. On systems without apt the script prints what to install, by Debian's names.
set -euo pipefail

usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }
for_lint=false
for_tests=false
case "${1:-}" in
"") ;;
lint) for_lint=true ;;
test) for_lint=true for_tests=true ;;
-h | --help) usage && exit ;;
*) usage >&2 && exit 2 ;;
esac

have() { command -v "$1" >/dev/null 2>&1; }
missing=()

have cc || missing+=(gcc libc6-dev)
have redis-server || missing+=(redis-server)
have redis-cli || missing+=(redis-tools)

if $for_lint; then
    have python3 || missing+=(python3)
    have git || missing+=(git)
fi

# Tests that need one of these skip themselves, and say so, where it is missing. So a package that apt does not have is no
# failure, and nobody is asked for a password for one.
optional() {
    [ "$(id -u)" -eq 0 ] && have apt-cache && [ -n "$(apt-cache search --names-only "^$1\$")" ] && missing+=("$1")
    true
}
if $for_tests; then
    # Before the first update, as in a new container, apt knows no packages.
    if [ "$(id -u)" -eq 0 ] && have apt-get && ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; then
        apt-get update -qq || true
    fi
    have c++ || missing+=(g++)
    have jq || missing+=(jq)
    have curl || missing+=(curl)
    have valgrind || missing+=(valgrind)
    { have pgrep && type -P kill >/dev/null; } || missing+=(procps)
    python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
    python3 -c 'import ensurepip' >/dev/null 2>&1 || missing+=(python3-venv)
    have influxd || optional influxdb
    have victoria-metrics || optional victoria-metrics
    have chromium || optional chromium
    have promtool || optional prometheus
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || optional postgresql
    have dpkg-shlibdeps || optional dpkg-dev
    have debootstrap || optional debootstrap
    have systemd-nspawn || optional systemd-container
    /usr/bin/python3 -c 'import prometheus_client' 2>/dev/null || optional python3-prometheus-client
    have node || optional nodejs
    have npm || optional npm
    have logger || optional bsdutils
    have collectd || optional collectd-core
    have faketime || optional faketime
    # A machine has one package that is its syslog daemon: rsyslog would remove another one.
    { have rsyslogd || have syslog-ng || have syslogd; } || optional rsyslog
    [ -e /usr/include/hiredis/hiredis.h ] || optional libhiredis-dev
    php -r 'exit(extension_loaded("redis") ? 0 : 1);' 2>/dev/null || { optional php-cli && optional php-redis; }
fi

# Cargo is checked last, so that all other missing packages are installed or named first.
need_cargo() {
    have cargo && return
    echo "cargo is missing: install Rust 1.88 or newer with rustup or from your distribution" >&2
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

packages() { dpkg-query --show --showformat '${Package}\n' 2>/dev/null | sort; }
services() {
    find /etc/init.d /etc/systemd/system /lib/systemd/system /usr/lib/systemd/system -maxdepth 1 \( -type f -o -type l \) \
        -printf '%f\n' 2>/dev/null | sed 's/\.service$//' | sort -u
}

# Maintainer scripts ask /usr/sbin/policy-rc.d before they start or restart a service. While packages are installed it
# allows that for the services that were there before. An existing policy stays in force.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    $sudo tee "$policy" >/dev/null <<SH
#!/bin/sh
# Written by scripts/deps.sh, for the time of one installation.
case " $(services | tr '\n' ' ') " in
*" \${1%.service} "*) exit 0 ;;
esac
exit 101
SH
    $sudo chmod 755 "$policy"
    trap '$sudo rm -f "$policy"' EXIT
fi

# Disables the services of packages that are new, dependencies included.
disable_new() { # PACKAGES-BEFORE
    local unit units=()
    mapfile -t units < <(comm -13 <(printf '%s\n' "$1") <(packages) | xargs -r dpkg -L 2>/dev/null |
        sed -nE 's,^(/usr)?/lib/systemd/system/([^/]+\.(service|socket|timer|path|target))$,\2,p' | grep -v '@\.' | sort -u)
    for unit in "${units[@]}"; do
        if have systemctl; then
            $sudo systemctl --quiet disable "$unit" >/dev/null 2>&1 || true
            # It runs only if the machine's own policy allows it.
            if [ -d /run/systemd/system ]; then $sudo systemctl --quiet stop "$unit" 2>/dev/null || true; fi
        fi
        # The links of System V's init, where a package has a script for it.
        if [ -e "/etc/init.d/${unit%.service}" ] && have update-rc.d; then
            $sudo update-rc.d "${unit%.service}" disable >/dev/null 2>&1 || true
        fi
    done
}

echo "installing ${missing[*]}" >&2
before=$(packages)
$sudo apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
disable_new "$before"
need_cargo
