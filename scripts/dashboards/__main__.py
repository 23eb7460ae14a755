"""Writes the Grafana dashboards of the data in docs/monitoring, for InfluxDB and for Prometheus.

    python3 scripts/dashboards            writes the files
    python3 scripts/dashboards --check    fails if a file differs from what would be written

panels.py lists the panels once. databases.py says how each database is asked for them: so both dashboards of a pair show
the same numbers.
"""

import json
import sys
from pathlib import Path
from typing import Any

from databases import InfluxQl, OwnMetrics, PromQl
from layout import dashboard
from losses import ERRORS
from panels import HOSTS, STATISTICS

MONITORING = Path(__file__).resolve().parent.parent.parent / "docs/monitoring"


def dashboards() -> dict[str, dict[str, Any]]:
    """Returns all dashboards by the names of their files."""
    found = {}
    for database, word in ((InfluxQl(), "InfluxDB"), (PromQl(), "Prometheus")):
        for name, title, about, panels in (
            ("hosts", "hosts", "What agg host reports: CPU, memory, disks and network of each node.", HOSTS),
            ("statistics", "statistics", "Windows of any metric: average, extremes, sum, samples.", STATISTICS),
        ):
            name = f"{name}-{database.type}"
            title = f"aggregator: {title} ({word})"
            uses_metric = panels is STATISTICS
            found[f"{name}.json"] = dashboard(name, title, about, panels, database, uses_metric)
    about = "What is reported as an error, and what is lost or rejected between programs, servers and sinks."
    found["errors-prometheus.json"] = dashboard(
        "errors-prometheus", "aggregator: errors and losses (Prometheus)", about, ERRORS, OwnMetrics(), False
    )
    return found


def main() -> int:
    is_check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not is_check:
        print(__doc__, file=sys.stderr)
        return 2
    differs = False
    for name, content in dashboards().items():
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        path = MONITORING / name
        if not is_check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"docs/monitoring/{name} differs: run python3 scripts/dashboards", file=sys.stderr)
            differs = True
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
