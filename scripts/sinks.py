#!/usr/bin/env python3
"""Writes what the suite of sinks measured into the table of docs/sinks/README.md, with the date of today.

    mkdir measured && AGG_SINKS_MEASURED=$PWD/measured cargo test -p agg --test main sinks::
    scripts/sinks.py measured
"""
import datetime
import pathlib
import re
import sys

FAULTS = ["Kill", "Away", "Slow", "Cut", "Reject", "Full", "Conflict", "Backlog"]
PAGE = pathlib.Path(__file__).parent.parent / "docs/sinks/README.md"
LINE = re.compile(r"sinks: .*: (\d+) records, (\d+) repeats, (\d+) dead letters, (\d+) MiB, ")


def cell(path):
    """Returns what a test measured."""
    if not path.exists():
        return "–"
    records, repeats, dead, peak = LINE.match(path.read_text()).groups()
    return f"{records} / {repeats} / {dead} / {peak}"


def main():
    """Rewrites the part of the page between its comments."""
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__.strip())
    folder = pathlib.Path(sys.argv[1])
    page = PAGE.read_text()
    begin, end = "<!-- measured -->\n", "<!-- end -->"
    guarantees = page.split("<!-- guarantees -->\n")[1].split(end)[0]
    rows = [line.split("|")[1:3] for line in guarantees.splitlines() if line.startswith("| [")]
    header = guarantees.splitlines()[0].split("|")[3:-1]
    lines = ["| sink |" + "|".join(header) + "|", "|" + " --- |" * (1 + len(FAULTS))]
    for name, _ in rows:
        name = re.search(r"\[(.*)\]", name).group(1)
        cells = [cell(folder / f"{name}-{fault}") for fault in FAULTS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append(f"\nMeasured on {datetime.date.today()}.\n")
    before, rest = page.split(begin)
    after = rest.split(end, 1)[1]
    PAGE.write_text(before + begin + "\n".join(lines) + end + after)


if __name__ == "__main__":
    main()
