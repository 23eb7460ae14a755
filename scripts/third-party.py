#!/usr/bin/env python3
"""Prints the texts that the licences of the crates in a binary require: names, licences and notices, each text once.

Usage: third-party.py PACKAGE

PACKAGE is a package of this workspace.
"""

import json
import pathlib
import sys

from sbom import cargo, package_argument

# Names of files that must accompany a binary.
NAMES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")


def notices(manifest: str) -> list[str]:
    """Returns the notices in a crate's directory."""
    files = sorted(pathlib.Path(manifest).parent.iterdir())
    wanted = [file for file in files if file.is_file() and file.name.upper().startswith(NAMES)]
    return [file.read_text(errors="replace").strip() for file in wanted]


def main() -> None:
    name_of_package = package_argument(__doc__)
    # Without build tools and tests.
    tree = cargo("tree", "--package", name_of_package, "--edges", "normal", "--prefix", "none", "--format", "{p}")
    linked = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    texts: dict[str, list[str]] = {}
    crates = []
    for package in json.loads(cargo("metadata", "--format-version", "1", "--locked"))["packages"]:
        # Crates of this workspace have no source.
        if (package["name"], "v" + package["version"]) not in linked or package["source"] is None:
            continue
        name = f"{package['name']} {package['version']}"
        crates.append(f"{name}: {package['license'] or package['license_file']}")
        for text in notices(package["manifest_path"]):
            texts.setdefault(text, []).append(name)
    if not crates:
        sys.exit(f"{name_of_package} links no crates")
    print("Third-party crates in this binary, and their licences:\n")
    print("\n".join(sorted(crates)))
    print("\nand Rust's standard library: MIT or Apache-2.0.")
    for text, names in sorted(texts.items(), key=lambda item: item[1]):
        print(f"\n{'=' * 100}\n{', '.join(names)}\n{'=' * 100}\n\n{text}")


if __name__ == "__main__":
    main()
