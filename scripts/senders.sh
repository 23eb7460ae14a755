#!/usr/bin/env bash
# Installs the programs and libraries that the tests of `agg listen` send with into target/senders: Python libraries of
# DogStatsD, statsd, OpenTelemetry, InfluxDB, Prometheus and Graphite. What is installed is not installed again.
#
#   scripts/senders.sh
set -euo pipefail
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }
[[ ${1:-} == -h || ${1:-} == --help ]] && usage && exit
cd "$(dirname "$0")/.."

python=${AGG_PYTHON:-python3}
to=target/senders
wanted="datadog==0.56.0 statsd==4.0.1 opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
opentelemetry-exporter-otlp-proto-grpc==1.45.2 influxdb-client==1.50.0 prometheus-client==0.26.0 graphyte==1.7.1"

want="$("$python" --version) $wanted"
[ "$(cat "$to/installed" 2>/dev/null)" = "$want" ] && exit
"$python" -m venv --clear "$to"
# shellcheck disable=SC2086
"$to/bin/python" -m pip install --quiet --disable-pip-version-check --prefer-binary $wanted
printf '%s\n' "$want" >"$to/installed"
