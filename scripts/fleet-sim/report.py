"""The results as a file and as a table."""

import json
import pathlib
from typing import Any


def save(results: dict[str, Any], path: pathlib.Path) -> None:
    """Writes all results and the series of states."""
    path.write_text(json.dumps(results, indent=1) + "\n")


def seconds(ms: int) -> str:
    return f"{ms / 1000:.1f} s"


def table(results: dict[str, Any]) -> str:
    """Returns the results as tables in Markdown."""
    options = results["options"]
    idle = results["idle"]
    mode = "every poller drains every server" if options["no_ownership"] == "True" else "with [fleet]"
    lines = [
        f"{int(options['nodes']):,} nodes x {options['metrics']} metrics, windows of {options['window']} s, "
        f"which close {options['flush_delay']} s "
        f"after their end; {options['pollers']} pollers, {mode}; {results['cores']} cores for all of it",
        "",
        "| | windows end at once | with jitter |",
        "| --- | ---: | ---: |",
    ]
    parts = [results["burst"], results["jitter"]]

    def row(name: str, cell: Any) -> None:
        lines.append(f"| {name} | {' | '.join(cell(part) for part in parts)} |")

    row("records", lambda part: f"{part['records']:,}")
    row("largest backlog, records", lambda part: f"{part['peak_backlog']:,}")
    row("time from the end of the windows until all is stored", lambda part: f"{part['empty_after']} s")
    row("records/s, mean", lambda part: f"{part['records_per_s']:,}")
    row("records/s, best 2 s", lambda part: f"{part['highest_records_per_s']:,}")
    row("end of window to sink, p50", lambda part: seconds(part["latency_ms"]["p50"]))
    row("end of window to sink, p99", lambda part: seconds(part["latency_ms"]["p99"]))
    takeover = results["takeover"]
    after = ", ".join(f"{time} s ({name})" for name, time in takeover["takeover_s"].items() if time is not None) or "-"
    lines += [
        "",
        "| poller | CPU in the burst, s | CPU while idle, % of a core | CPU in all, s | largest memory, MB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, poller in results["pollers"].items():
        burst, quiet = results["burst"]["cpu"][name], idle["cpu"][name]
        lines.append(
            f"| {name} | {burst['s']} | {quiet['percent']} | {poller['cpu_s']} | {poller['peak_mb']} |"
        )
    lines += [
        "",
        "| commands while idle, per second, node and poller | mean | most | |",
        "| --- | ---: | ---: | --- |",
    ]
    for role, name in (("owners", "drains the node"), ("others", "does not drain it")):
        rates = ", ".join(f"{kind} {rate}" for kind, rate in idle[role]["by_kind_per_s"].items())
        lines.append(f"| {name} | {idle[role]['per_s']} | {idle[role]['most_per_s']} | {rates} |")
    lines += [
        "",
        f"- kill -9 of one poller, which drained {takeover['servers_of_the_killed']:,} servers, when 30 % of the records "
        f"are stored: {takeover['taken_over']:,} servers are drained by others after {after}; longest lag "
        f"{takeover['longest_lag_s']} s; everything is stored {takeover['empty_after_kill']} s after the kill",
        f"- the pollers find all servers within {results['found_after_s']} s",
        f"- {results['queued']:,} records queued, {results['stored']:,} received: {results['lost']} lost, "
        f"{results['duplicates']:,} duplicates, {results['dropped']} dropped",
    ]
    if not results["complete"]:
        lines.append("- INCOMPLETE: a part did not end within its limit")
    return "\n".join(lines)
