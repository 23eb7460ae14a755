"""Follows the references of packaging/docker-compose.yml and packaging/kubernetes, which schemas cannot: names of
services, volumes, ports, Secrets and files, and what every container needs to run without privileges. Reads the dashboards
of docs/monitoring with Grafana's SDK, which reports fields that Grafana does not know.

Prints each mistake on a line, and exits with 1 if there is one. Run by scripts/manifests.sh, which installs what it
imports.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGING = ROOT / "packaging"
mistakes: list[str] = []


def expect(is_right: object, place: str, mistake: str) -> None:
    if not is_right:
        mistakes.append(f"{place}: {mistake}")


def seconds(text: str) -> float:
    """Returns a time such as 20s or 1m in seconds."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * units[unit]


def ports_of(config: dict[str, Any]) -> set[int]:
    """Returns the ports that a configuration of agg listens on."""
    tables = [config, *(value for value in config.values() if isinstance(value, dict))]
    found = set()
    for table in tables:
        for key in ("listen", "grpc"):
            addresses = table.get(key, [])
            for address in [addresses] if isinstance(addresses, str) else addresses:
                found.add(int(address.rsplit(":", 1)[1]))
    return found


def ports_of_arguments(arguments: list[str]) -> set[int]:
    """Returns the ports that the arguments of agg name."""
    pairs = zip(arguments, arguments[1:])
    return {int(address.rsplit(":", 1)[1]) for option, address in pairs if option == "--listen"}


# ---- Compose ---------------------------------------------------------------------------------------------------------


def check_compose() -> None:
    text = (PACKAGING / "docker-compose.yml").read_text()
    file = yaml.safe_load(text)
    for variable in re.findall(r"\$\{([^}]*)\}", text):
        expect(":?" in variable or ":-" in variable, "compose", f"{variable} may be empty")
    services, volumes = file["services"], set(file["volumes"])
    used = set()
    for name, service in services.items():
        place = f"compose, {name}"
        for other in service.get("depends_on", {}):
            expect(other in services, place, f"depends on {other}")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                expect((PACKAGING / source).exists(), place, f"{source} does not exist")
                expect(volume.endswith(":ro"), place, f"{source} can be written to")
            else:
                used.add(source)
        for port in service.get("ports", []):
            expect(port.startswith("127.0.0.1:"), place, f"port {port} is public")
        image = service["image"]
        expect(":" in image and not image.endswith(":latest"), place, f"{image} has no version")
        expect(service.get("read_only") and service.get("cap_drop") == ["ALL"], place, "has privileges")
        expect("mem_limit" in service and "logging" in service, place, "has no limits")
    expect(used == volumes, "compose", f"volumes {used ^ volumes}")
    poller = tomllib.loads((PACKAGING / "compose/poller.toml").read_text())
    grace = seconds(services["poll"]["stop_grace_period"])
    expect(grace > seconds(poller["shutdown-grace"]), "compose, poll", "stops before shutdown-grace")
    listener = tomllib.loads((PACKAGING / "compose/listen.toml").read_text())
    published = {int(port.split("/")[0].rsplit(":", 1)[1]) for port in services["listen"]["ports"]}
    expect(published | {9778} == ports_of(listener), "compose, listen", "ports differ from listen.toml")
    # Prometheus reads pages by the names of services.
    scrapes = yaml.safe_load((PACKAGING / "compose/prometheus.yml").read_text())["scrape_configs"]
    for target in (t for job in scrapes for group in job["static_configs"] for t in group["targets"]):
        name, port = target.split(":")
        expect(name in services, "compose, prometheus", f"target {target}")
        config = PACKAGING / f"compose/{name}.toml" if name != "poll" else PACKAGING / "compose/poller.toml"
        listens = ports_of_arguments(services[name]["command"])
        listens |= ports_of(tomllib.loads(config.read_text())) if config.exists() else set()
        expect(int(port) in listens, "compose, prometheus", f"{name} does not listen on {port}")


# ---- Kubernetes ------------------------------------------------------------------------------------------------------

WORKLOADS = {"Deployment", "DaemonSet", "StatefulSet"}


def references(tree: Any, key: str) -> Iterator[Any]:
    """Returns the values of a key anywhere in a tree."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from references(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from references(value, key)


def variables(tree: Any, key: str = "") -> Iterator[str]:
    """Returns the environment variables that a configuration needs."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from variables(value, name)
    elif isinstance(tree, list):
        for value in tree:
            yield from variables(value, key)
    elif isinstance(tree, str):
        yield from re.findall(r"(?<!\$)\$\{(\w+)\}", tree)
        if key.endswith("-env"):
            yield tree


def check_container(place: str, container: dict[str, Any], volumes: set[str], version: str) -> None:
    expect(container["image"].endswith(f":{version}"), place, f"{container['image']} is not version {version}")
    security = container["securityContext"]
    expect(security.get("readOnlyRootFilesystem") is True, place, "can write to its image")
    expect(security.get("allowPrivilegeEscalation") is False, place, "can gain privileges")
    expect(security.get("capabilities") == {"drop": ["ALL"]}, place, "has capabilities")
    resources = container["resources"]
    expect({"cpu", "memory"} <= set(resources["requests"]), place, "requests no CPU or memory")
    expect("memory" in resources["limits"], place, "has no memory limit")
    mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
    expect(mounted == volumes, place, f"mounts {mounted}, has volumes {volumes}")
    ports = {port["name"] for port in container.get("ports", [])}
    for probe in ("livenessProbe", "readinessProbe"):
        # A program that listens nowhere cannot be asked.
        expect(probe in container or not ports, place, f"has no {probe}")
    for kind in ("httpGet", "tcpSocket"):
        for check in references(container, kind):
            expect(check["port"] in ports, place, f"a probe uses port {check['port']}")


def check_workload(item: dict[str, Any], items: list[dict[str, Any]], version: str) -> None:
    place, meta, spec = f"{item['kind']} {item['metadata']['name']}", item["metadata"], item["spec"]
    template = spec["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    expect(spec["selector"]["matchLabels"] == labels, place, "selects other pods than its own")

    def has(kind: str, name: str) -> bool:
        keys = [(i["kind"], i["metadata"]["name"], i["metadata"].get("namespace")) for i in items]
        return (kind, name, meta["namespace"]) in keys

    expect(has("ServiceAccount", pod["serviceAccountName"]), place, "its ServiceAccount is missing")
    expect(pod["automountServiceAccountToken"] is False, place, "gets a token of the cluster")
    security = pod["securityContext"]
    expect(security["runAsNonRoot"] and security["runAsUser"] > 0, place, "runs as root")
    expect(security["seccompProfile"] == {"type": "RuntimeDefault"}, place, "has no seccomp profile")
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    claims = {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
    for volume in volumes.values():
        if "configMap" in volume:
            expect(has("ConfigMap", volume["configMap"]["name"]), place, f"{volume['name']}: no such ConfigMap")
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            expect(has("PersistentVolumeClaim", claim), place, f"{volume['name']}: no such claim")
        expect("hostPath" not in volume, place, f"{volume['name']} is a directory of the node")
    for container in pod["containers"]:
        check_container(place, container, set(volumes) | claims, version)
    if "serviceName" in spec:
        expect(has("Service", spec["serviceName"]), place, "its Service is missing")
    # The ports of the configuration are those of the container.
    ports = {port["containerPort"] for c in pod["containers"] for port in c.get("ports", [])}
    for config in configs(item, items):
        expect(ports_of(config) == ports, place, f"listens on {ports_of(config)}, has ports {ports}")
        for variable in variables(config):
            given = {env["name"] for c in pod["containers"] for env in c.get("env", [])}
            expect(variable in given, place, f"its configuration needs {variable}")
        if grace := config.get("shutdown-grace"):
            period = pod["terminationGracePeriodSeconds"]
            expect(period > seconds(grace), place, f"{period} s are too short for shutdown-grace")
    for container in pod["containers"]:
        if named := ports_of_arguments(container.get("args", [])):
            expect(named == ports, place, f"listens on {named}, has ports {ports}")


def configs(item: dict[str, Any], items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Returns the configurations of agg in the ConfigMaps that a workload mounts."""
    names = {reference["name"] for reference in references(item, "configMap")}
    for other in items:
        if other["kind"] == "ConfigMap" and other["metadata"]["name"] in names:
            for name, text in other["data"].items():
                if name.endswith(".toml"):
                    yield tomllib.loads(text)


def check_service(item: dict[str, Any], items: list[dict[str, Any]]) -> None:
    place, spec = f"Service {item['metadata']['name']}", item["spec"]
    pods = [other["spec"]["template"] for other in items if other["kind"] in WORKLOADS]
    pods = [pod for pod in pods if spec["selector"].items() <= pod["metadata"]["labels"].items()]
    expect(len(pods) == 1, place, f"selects {len(pods)} workloads")
    for pod in pods:
        ports = {port["name"]: port.get("protocol", "TCP") for c in pod["spec"]["containers"] for port in c["ports"]}
        for port in spec["ports"]:
            protocol = ports.get(port["targetPort"])
            expect(protocol == port.get("protocol", "TCP"), place, f"port {port['name']} leads nowhere")


def check_kubernetes() -> None:
    items: list[dict[str, Any]] = []
    for path in sorted((PACKAGING / "kubernetes").glob("*.yaml")):
        items += yaml.safe_load_all(path.read_text())
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    namespaces = {item["metadata"]["name"] for item in items if item["kind"] == "Namespace"}
    keys = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in items]
    for key in keys:
        expect(keys.count(key) == 1, "kubernetes", f"{key} is there twice")
    # The commands that create Secrets are in a comment.
    created = (PACKAGING / "kubernetes/namespaces.yaml").read_text()
    components = set()
    for item in items:
        if item["kind"] == "Namespace":
            continue
        place = f"{item['kind']} {item['metadata']['name']}"
        namespace = item["metadata"].get("namespace")
        expect(namespace in namespaces, place, f"namespace {namespace}")
        expect(item["kind"] != "Secret", place, "is committed")
        for secret in references(item, "secretKeyRef"):
            command = created.split(f"-n {namespace} create secret generic {secret['name']} ")[1]
            command = command.split("kubectl", 1)[0]
            expect(f"--from-literal={secret['key']}=" in command, place, f"nothing creates {secret}")
        if item["kind"] in WORKLOADS:
            check_workload(item, items, version)
            components.add(item["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"])
        if item["kind"] == "Service":
            check_service(item, items)
    for item in items:
        if item["kind"] == "NetworkPolicy":
            place = f"NetworkPolicy {item['metadata']['name']}"
            for labels in references(item, "matchLabels"):
                if component := labels.get("app.kubernetes.io/component"):
                    expect(component in components, place, f"no pods of {component}")
            for expressions in references(item, "matchExpressions"):
                for expression in expressions:
                    expect(set(expression["values"]) <= components, place, f"no pods of {expression}")


# ---- Images ----------------------------------------------------------------------------------------------------------


def check_images() -> None:
    text = (PACKAGING / "Dockerfile").read_text()
    channel = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]["channel"]
    expect(f"FROM rust:{channel}-" in text, "Dockerfile", f"does not build with Rust {channel}")
    expect(f"RUSTUP_TOOLCHAIN={channel}\n" in text, "Dockerfile", f"RUSTUP_TOOLCHAIN is not {channel}")
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
    compose = yaml.safe_load((PACKAGING / "docker-compose.yml").read_text())["services"]
    for name, service in compose.items():
        if "build" in service:
            expect(service["build"]["target"] in stages, f"compose, {name}", "builds no stage of the Dockerfile")


# ---- Dashboards ------------------------------------------------------------------------------------------------------


# Fields that Grafana writes for its data source Prometheus, and that the SDK lacks.
OF_PLUGINS = {"definition", "titleFormat", "step"}


def unknown(given: Any, known: Any, path: str) -> Iterator[str]:
    """Returns the paths of fields that are in `given` alone."""
    if isinstance(given, dict):
        for key, value in given.items():
            if key in OF_PLUGINS:
                continue
            if not isinstance(known, dict) or key not in known:
                # The SDK leaves out what is empty.
                if value not in (None, [], {}, "", False):
                    yield f"{path}.{key}"
            else:
                yield from unknown(value, known[key], f"{path}.{key}")
    elif isinstance(given, list):
        if not isinstance(known, list) or len(known) != len(given):
            yield path
        else:
            for index, (one, other) in enumerate(zip(given, known, strict=True)):
                yield from unknown(one, other, f"{path}[{index}]")
    elif given != known:
        yield path


def check_dashboards() -> None:
    from grafana_foundation_sdk.cog import encoder, plugins
    from grafana_foundation_sdk.models import dashboard

    plugins.register_default_plugins()
    for path in sorted((ROOT / "docs/monitoring").glob("*.json")):
        given = json.loads(path.read_text())
        known = json.loads(encoder.JSONEncoder().encode(dashboard.Dashboard.from_json(given)))
        for field in unknown(given, known, ""):
            mistakes.append(f"{path.name}{field}: unknown to Grafana's SDK")


if __name__ == "__main__":
    for check in (check_compose, check_kubernetes, check_images, check_dashboards):
        check()
    if mistakes:
        print("\n".join(mistakes), file=sys.stderr)
        sys.exit(1)
