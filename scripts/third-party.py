#!/usr/bin/env python3
"""Writes what the licences of the crates in a binary ask for: their names, licences and notices, each text once.

Usage: third-party.py PACKAGE    of this workspace; to standard output
"""

import json
import pathlib
import subprocess
import sys

# What crates call the files that have to go along.
NAMES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")


def cargo(*arguments: str) -> str:
    return subprocess.run(["cargo", *arguments], check=True, capture_output=True, text=True).stdout


def notices(manifest: str) -> list[str]:
    """The texts in a crate's folder."""
    files = sorted(pathlib.Path(manifest).parent.iterdir())
    wanted = [file for file in files if file.is_file() and file.name.upper().startswith(NAMES)]
    return [file.read_text(errors="replace").strip() for file in wanted]


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    # What is linked: no tools of the build, no tests.
    tree = cargo("tree", "--package", sys.argv[1], "--edges", "normal", "--prefix", "none", "--format", "{p}")
    linked = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    texts: dict[str, list[str]] = {}
    crates = []
    for package in json.loads(cargo("metadata", "--format-version", "1", "--locked"))["packages"]:
        # Our own have no source.
        if (package["name"], "v" + package["version"]) not in linked or package["source"] is None:
            continue
        name = f"{package['name']} {package['version']}"
        crates.append(f"{name}: {package['license'] or package['license_file']}")
        for text in notices(package["manifest_path"]):
            texts.setdefault(text, []).append(name)
    if not crates:
        sys.exit(f"nothing is known of {sys.argv[1]}")
    print("Crates by others in this binary, and their licences:\n")
    print("\n".join(sorted(crates)))
    print("\nand Rust's standard library: MIT or Apache-2.0.")
    for text, names in sorted(texts.items(), key=lambda item: item[1]):
        print(f"\n{'=' * 100}\n{', '.join(names)}\n{'=' * 100}\n\n{text}")


main()
