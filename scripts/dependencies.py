#!/usr/bin/env python3
"""Checks the crates that the module and agg link against deny.toml: licences, banned crates, sources.

Usage: dependencies.py

Takes a second and needs no network. cargo-deny checks more, but takes minutes to build: `make deny`.
"""

import json
import re
import sys
import tomllib
from typing import Any

from sbom import ROOT, cargo, linked, usage

REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def is_allowed(expression: str, allowed: set[str]) -> bool:
    """Returns whether allowed licences satisfy an SPDX expression."""
    words = re.findall(r"\(|\)|[^\s()]+(?: WITH [^\s()]+)?", expression.replace("/", " OR "))

    # AND binds tighter than OR.
    def either() -> bool:
        result = both()
        while words and words[0] == "OR":
            words.pop(0)
            result = both() or result
        return result

    def both() -> bool:
        result = one()
        while words and words[0] == "AND":
            words.pop(0)
            result = one() and result
        return result

    def one() -> bool:
        word = words.pop(0) if words else ""
        if word == "(":
            result = either()
            return bool(words) and words.pop(0) == ")" and result
        return word in allowed

    return either() and not words


def faults(name: str, parts: list[dict[str, Any]], policy: dict[str, Any]) -> list[str]:
    allowed = set(policy["licenses"]["allow"])
    banned = {ban["crate"] for ban in policy["bans"]["deny"]}
    found = []
    for part in parts:
        what = f"{name}: {part['name']} {part['version']}"
        if not is_allowed(part["license"] or "none", allowed):
            found.append(f"{what}: the licence {part['license'] or 'in a file'} is not allowed")
        if part["name"] in banned:
            found.append(f"{what} is banned")
        if part["source"] not in (None, REGISTRY):
            found.append(f"{what} comes from {part['source']}")
    return found


def main() -> None:
    if sys.argv[1:]:
        usage(__doc__, sys.argv[1] in ("-h", "--help"))
    policy = tomllib.loads((ROOT / "deny.toml").read_text())
    packages = json.loads(cargo("metadata", "--format-version", "1", "--locked"))["packages"]
    found = []
    for name in ("aggregator", "agg"):
        there = linked(name)
        found += faults(name, [p for p in packages if (p["name"], p["version"]) in there], policy)
    for fault in found:
        print(fault, file=sys.stderr)
    if found:
        sys.exit(1)


if __name__ == "__main__":
    main()
