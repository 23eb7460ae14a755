#!/usr/bin/env python3
"""Writes what the suite of sinks measured into the table of docs/sinks/README.md, with the date of today. Cells that were
not measured keep their values.

    mkdir measured && AGG_SINKS_MEASURED=$PWD/measured cargo test -p agg --test main sinks::
    scripts/sinks.py measured
"""
import datetime
import pathlib
import re
import sys

FAULTS = ["Kill", "Away", "Slow", "Cut", "Reject", "Full", "Conflict", "Backlog", "Several"]
PAGE = pathlib.Path(__file__).parent.parent / "docs/sinks/README.md"
LINE = re.compile(r"sinks: .*: (\d+) records, (\d+) repeats, (\d+) dead letters, ([\d.]+) MiB, ")


def cell(path, before):
    """Returns what a test measured, or what the cell had before."""
    if not path.exists():
        return before
    records, repeats, dead, peak = LINE.match(path.read_text()).groups()
    return f"{records} / {repeats} / {dead} / {peak}"


def cells_before(measured):
    """Returns the cells of each row of the table."""
    rows = [line.strip("|").split("|") for line in measured.splitlines() if line.startswith("|")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def main():
    """Rewrites the part of the page between its comments."""
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__.strip())
    folder = pathlib.Path(sys.argv[1])
    page = PAGE.read_text()
    begin, end = "<!-- measured -->\n", "<!-- end -->"
    guarantees = page.split("<!-- guarantees -->\n")[1].split(end)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in guarantees.splitlines() if line.startswith("| [")]
    header = guarantees.splitlines()[0].split("|")[3:-1]
    lines = ["| sink |" + "|".join(header) + "|", "|" + " --- |" * (1 + len(FAULTS))]
    before_now = cells_before(page.split(begin)[1].split(end)[0])
    titles = set()
    for link, target, *outcomes in rows:
        name = re.search(r"\[(.*)\]", link).group(1)
        title = f"{name}, {target}" if name in titles else name
        titles.add(name)
        # A row may lack the column of a new fault.
        old = before_now.get(title, []) + ["–"] * len(FAULTS)
        cells = [
            "–" if outcome == "–" else cell(folder / f"{title}-{fault}", value)
            for fault, outcome, value in zip(FAULTS, outcomes, old)
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines.append(f"\nMeasured on {datetime.date.today()}.\n")
    before, rest = page.split(begin)
    after = rest.split(end, 1)[1]
    PAGE.write_text(before + begin + "\n".join(lines) + end + after)


if __name__ == "__main__":
    main()
