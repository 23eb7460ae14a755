"""Simulates a fleet of thousands of nodes that real `agg poll` processes drain, and reports what they achieve.

    make fleet-sim                                        10,000 nodes x 200 metrics, windows of 300 s, three pollers
    make fleet-sim ARGS="--nodes 500 --window 60"         a smaller fleet in compressed time
    python3 scripts/fleet-sim --help

Each node is on a simulated server of its own, with the core of the module (crates/fleet-sim). The pollers are the real
program: they find the servers by scanning address ranges, and drain them over TCP into a sink that answers after 5 to
50 ms. All of it runs on this machine: servers, sink and pollers share its cores, so rates are lower bounds.

A run has these parts. The clock of the servers, but of nothing else, skips the time between them.

1. All windows end. How long does it take until all records are in the sink?
2. Nothing happens but samples. What do the pollers cost?
3. All windows end again, but close late by a constant of the node's name of up to --jitter.
4. All windows end, and a poller is killed while it drains them. When do the others take over?

Writes report.json, fleet-backlog.svg and fleet-takeover.svg into --out, and prints a table. The exit code is 1 if a record was lost.
"""

import argparse
import pathlib
import sys

import plots
import report
from scenario import Run

ROOT = pathlib.Path(__file__).resolve().parents[2]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--nodes", type=int, default=10_000)
    add("--metrics", type=int, default=200, help="metrics of a node")
    add("--window", type=int, default=300, help="length of a window, s; 60 is time compressed by 5")
    add("--interval", type=float, default=20, help="time between two samples of a metric, s")
    add("--jitter", type=int, help="largest delay of a window's end, s; by default four fifths of a window")
    add("--flush-delay", type=float, default=5, help="time from the end of a window until it closes, s")
    add("--pollers", type=int, default=3)
    add("--processes", type=int, default=4, help="processes that share the servers: each may open 20,000 descriptors")
    add("--poll-interval", default="1s")
    add("--lease", default="30s")
    add("--takeover-after", default="60s")
    add("--no-ownership", action="store_true", help="without [fleet]: every poller drains every server")
    add("--gzip", action="store_true", help="compressed requests to the sink")
    add("--idle", type=float, default=30, help="duration of the second part, s")
    add("--limit", type=float, default=300, help="longest time for one part to end, besides the jitter, s")
    add("--programs", type=pathlib.Path, default=ROOT / "target/release", help="folder of agg and fleet-sim")
    add("--out", type=pathlib.Path, default=ROOT / "target/fleet-sim", help="folder of the results")
    add("--images", type=pathlib.Path, help="folder of the plots, if another one")
    chosen = parser.parse_args()
    if chosen.jitter is None:
        chosen.jitter = chosen.window * 4 // 5
    return chosen


def main() -> int:
    chosen = options()
    chosen.out.mkdir(parents=True, exist_ok=True)
    with Run(chosen) as run:
        results = run.measure()
    report.save(results, chosen.out / "report.json")
    images = chosen.images or chosen.out
    images.mkdir(parents=True, exist_ok=True)
    plots.backlog(results, images / "fleet-backlog.svg")
    plots.takeover(results, images / "fleet-takeover.svg")
    print(report.table(results))
    return 0 if results["lost"] == 0 and results["dropped"] == 0 and results["complete"] else 1


if __name__ == "__main__":
    sys.exit(main())
