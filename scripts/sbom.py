#!/usr/bin/env python3
"""Writes the crates that a binary is built from as a CycloneDX document (an SBOM).

Usage: sbom.py PACKAGE

Prints the crates that a package of this workspace links, with their versions, licences, checksums and dependencies.
The same source gives the same document: its time is SOURCE_DATE_EPOCH.
"""

import datetime
import json
import os
import pathlib
import subprocess
import sys
import tomllib
import uuid
from typing import Any, NoReturn

ROOT = pathlib.Path(__file__).resolve().parent.parent


def cargo(*arguments: str) -> str:
    return subprocess.run(
        ["cargo", *arguments], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ).stdout


def usage(text: str | None, is_wanted: bool) -> NoReturn:
    """Prints a script's description and exits: successfully if it was asked for."""
    print((text or "").strip(), file=sys.stdout if is_wanted else sys.stderr)
    sys.exit(0 if is_wanted else 2)


def package_argument(text: str | None) -> str:
    """Returns the script's only argument, the name of a package of this workspace."""
    match sys.argv[1:]:
        case ["-h" | "--help"]:
            usage(text, True)
        case [name] if not name.startswith("-"):
            own = json.loads(cargo("metadata", "--format-version", "1", "--locked", "--no-deps"))["packages"]
            if name in (names := [package["name"] for package in own]):
                return name
            sys.exit(f"unknown package {name}: expected one of {', '.join(names)}")
        case _:
            usage(text, False)


def linked(package: str) -> set[tuple[str, str]]:
    """Returns name and version of the crates in a binary, without build tools and tests."""
    tree = cargo("tree", "--locked", "--package", package, "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}")
    words = [line.split() for line in tree.splitlines() if line]
    return {(word[0], word[1].removeprefix("v")) for word in words}


def reference(package: dict[str, Any]) -> str:
    """Returns the package URL, which identifies a crate in the document."""
    return f"pkg:cargo/{package['name']}@{package['version']}"


def licence(package: dict[str, Any]) -> list[dict[str, Any]]:
    # Old crates separate alternatives by a slash, which is not an SPDX expression.
    if package["license"]:
        return [{"expression": package["license"].replace("/", " OR ")}]
    return [{"license": {"name": f"see {package['license_file']}"}}]


def component(package: dict[str, Any], checksums: dict[tuple[str, str], str]) -> dict[str, Any]:
    result = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "licenses": licence(package),
        "purl": reference(package),
    }
    if package["description"]:
        result["description"] = " ".join(package["description"].split())
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        result["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        result["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return result


def main() -> None:
    name = package_argument(__doc__)
    metadata = json.loads(cargo("metadata", "--format-version", "1", "--locked"))
    there = linked(name)
    parts = {p["id"]: p for p in metadata["packages"] if (p["name"], p["version"]) in there}
    main_part = next(p for p in parts.values() if p["name"] == name and p["source"] is None)
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

    def depends_on(identity: str) -> list[str]:
        deps = [
            dep["pkg"]
            for dep in nodes[identity]["deps"]
            if any(kind["kind"] is None for kind in dep["dep_kinds"])
        ]
        return sorted(reference(parts[dep]) for dep in deps if dep in parts)

    time = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.timezone.utc)
    others = sorted((p for p in parts.values() if p is not main_part), key=reference)
    root = component(main_part, checksums) | {"type": "application"}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, reference(main_part) + str(time))}",
        "version": 1,
        "metadata": {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": root},
        "components": [component(part, checksums) for part in others],
        "dependencies": [
            {"ref": reference(part), "dependsOn": depends_on(part["id"])} for part in [main_part, *others]
        ],
    }
    json.dump(document, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
