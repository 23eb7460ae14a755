#!/usr/bin/env bash
# Installs the libraries that the tests of `agg listen` send with into target/senders: those in Python in python/, those in
# JavaScript in node/. The benchmark of `agg listen` measures npm's statsd, which is among them. What is installed is not
# installed again. Without Node and npm those in JavaScript are left out, and their tests are skipped. The senders that
# are programs of Debian (rsyslog, collectd) are installed by scripts/deps.sh. syslog-ng cannot be installed beside
# rsyslog, so its packages are only unpacked, in syslog-ng/.
#
#   scripts/senders.sh
set -euo pipefail
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }
[[ ${1:-} == -h || ${1:-} == --help ]] && usage && exit
cd "$(dirname "$0")/.."

python=${AGG_PYTHON:-python3}
to=target/senders
in_python="datadog==0.56.0 statsd==4.0.1 opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
opentelemetry-exporter-otlp-proto-grpc==1.45.2 influxdb==5.3.2 influxdb-client==1.50.0 prometheus-client==0.26.0
graphyte==1.7.1"
in_javascript="hot-shots@17.1.1 statsd@0.9.0 @opentelemetry/api@1.9.1 @opentelemetry/api-logs@0.223.0
@opentelemetry/resources@2.12.0 @opentelemetry/sdk-logs@0.223.0 @opentelemetry/sdk-metrics@2.12.0
@opentelemetry/exporter-logs-otlp-grpc@0.223.0 @opentelemetry/exporter-logs-otlp-http@0.223.0
@opentelemetry/exporter-logs-otlp-proto@0.223.0 @opentelemetry/exporter-metrics-otlp-grpc@0.223.0
@opentelemetry/exporter-metrics-otlp-http@0.223.0 @opentelemetry/exporter-metrics-otlp-proto@0.223.0"

is_installed() { [ "$(cat "$to/$1/installed" 2>/dev/null)" = "$2" ]; }

want="$("$python" --version) $in_python"
if ! is_installed python "$want"; then
    "$python" -m venv --clear "$to/python"
    # shellcheck disable=SC2086
    "$to/python/bin/python" -m pip install --quiet --disable-pip-version-check --prefer-binary $in_python
    printf '%s\n' "$want" >"$to/python/installed"
fi

if command -v apt-get >/dev/null 2>&1 && ! command -v syslog-ng >/dev/null 2>&1 && [ ! -e "$to/syslog-ng/root" ]; then
    rm -rf "$to/syslog-ng"
    mkdir -p "$to/syslog-ng/packages"
    mapfile -t packages < <(apt-cache depends --important syslog-ng-core 2>/dev/null | sed -n 's/^ *Depends: //p' |
        while read -r package; do dpkg -s "$package" >/dev/null 2>&1 || echo "$package"; done)
    if (cd "$to/syslog-ng/packages" && apt-get download -qq syslog-ng-core "${packages[@]}" >/dev/null 2>&1); then
        for package in "$to"/syslog-ng/packages/*.deb; do dpkg-deb -x "$package" "$to/syslog-ng/new"; done
        mv "$to/syslog-ng/new" "$to/syslog-ng/root"
    else
        echo "syslog-ng could not be downloaded with apt-get, and its test is skipped" >&2
    fi
fi

if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
    echo "the senders in JavaScript are not installed, and their tests are skipped: node or npm is missing." \
        "make test-deps installs them (Debian's nodejs and npm)" >&2
    exit
fi
want="$(node --version) $in_javascript"
if ! is_installed node "$want"; then
    rm -rf "$to/node"
    mkdir -p "$to/node"
    # npm would otherwise look for a package in the folders above.
    echo '{"private": true}' >"$to/node/package.json"
    # shellcheck disable=SC2086
    npm install --prefix "$to/node" --no-audit --no-fund --ignore-scripts --omit=optional --loglevel error \
        $in_javascript >&2
    printf '%s\n' "$want" >"$to/node/installed"
fi
