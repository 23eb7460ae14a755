"""A run: the processes, and the parts of the measurement one after the other."""

import argparse
import os
import pathlib
import socket
import sys
import time
from typing import Any, Callable

from processes import Process, Simulator

# Hosts of a /24, as in crates/fleet-sim.
PER_RANGE = 254
# Pause between two samples of the state of all processes, s.
STEP = 0.25
# The clock of the servers skips to so long before the end of a window, s: then no sample is late.
LEAD = 3
# The poller is killed when this share of the records is stored.
KILL = 0.3
# The longest time for the pollers to find all servers, s.
START_LIMIT = 240
QUEUES = '["MIN", "HOUR", "LOG", "ERROR", "REALITY"]'


def free_port() -> int:
    """Returns a port that no program listens at, at any address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def seconds(text: str) -> float:
    """Reads a duration as in the poller's configuration."""
    for suffix, factor in (("ms", 0.001), ("s", 1), ("m", 60)):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    raise ValueError(text)


class Run:
    """A run. Leaving it ends all processes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder: pathlib.Path = options.out
        self.series: list[dict[str, Any]] = []
        self.simulators: list[Simulator] = []
        self.pollers: list[Process] = []
        self.sink: Simulator | None = None
        self.began = time.monotonic()
        self.lead = min(LEAD, options.window / 4)

    def __enter__(self) -> "Run":
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.pollers, *self.simulators, *([self.sink] if self.sink else [])]:
            process.end()

    def start(self) -> None:
        options = self.options
        # An hour of the servers has just begun, so that none ends during the run.
        hour_ms = options.window * 12_000
        self.ahead_ms = hour_ms - int(time.time() * 1000) % hour_ms + 1000
        program = str(options.programs / "fleet-sim")
        ports = [free_port() for _ in range(options.processes + 1)]
        common = ["--window", str(options.window), "--ahead", str(self.ahead_ms)]
        common += ["--flush-delay", str(int(options.flush_delay * 1000)), "--status", "200"]
        words = [program, "sink", "--port", str(ports[-1]), *common]
        self.sink = Simulator("sink", words, self.folder / "sink.log")
        self.counts = [
            options.nodes // options.processes + (index < options.nodes % options.processes)
            for index in range(options.processes)
        ]
        for index, count in enumerate(self.counts):
            words = [program, "servers", "--block", str(10 + index), "--port", str(ports[index])]
            words += ["--nodes", str(count), "--metrics", str(options.metrics)]
            words += ["--interval", str(int(options.interval * 1000)), *common]
            log = self.folder / f"servers{index + 1}.log"
            self.simulators.append(Simulator(f"servers {index + 1}", words, log))
        self.until("all nodes have samples", lambda: all(s.status for s in self.all_simulators()), 60)
        names = [f"p{index + 1}" for index in range(options.pollers)]
        for name in names:
            path = self.folder / f"{name}.toml"
            path.write_text(self.configuration(name, names, ports))
            words = [str(options.programs / "agg"), "poll", "--config", str(path)]
            log = self.folder / f"{name}.log"
            environment = {**os.environ, "FLEET_SIM_PASSWORD": "simulated"}
            self.pollers.append(Process(name, words, log, env=environment))

    def configuration(self, name: str, names: list[str], ports: list[int]) -> str:
        """Returns the configuration of a poller."""
        options = self.options
        lines = [
            f'poll-interval = "{options.poll_interval}"',
            f'lease = "{options.lease}"',
            f'dead-letters = "{self.folder / name}-dead-letters.jsonl"',
            # The servers tell the pollers apart by it.
            f'user = "{name}"',
            'password-env = "FLEET_SIM_PASSWORD"',
        ]
        if not options.no_ownership:
            members = ", ".join(f'"{member}"' for member in names)
            takeover = f'takeover-after = "{options.takeover_after}"'
            lines += ["[fleet]", f"members = [{members}]", f'me = "{name}"', takeover]
        for index, count in enumerate(self.counts):
            ranges = [f'"127.{10 + index}.{n}.0/24"' for n in range(-(-count // PER_RANGE))]
            lines += ["[[source]]", f"range = [{', '.join(ranges)}]", f"port = {ports[index]}", "scan-rate = 2000"]
        lines += ["[[route]]", f"queues = {QUEUES}", 'sinks = ["sink"]']
        lines += ["[sink.sink]", 'type = "http"', 'format = "lines"', f'url = "http://127.0.0.1:{ports[-1]}/"']
        lines += [f"gzip = {str(options.gzip).lower()}", 'proxy = "none"', "writers = 4"]
        return "\n".join(lines) + "\n"

    # State.

    def all_simulators(self) -> list[Simulator]:
        return [*self.simulators, *([self.sink] if self.sink else [])]

    def sample(self) -> dict[str, Any]:
        """Adds the state of all processes to the series."""
        for process in [*self.all_simulators(), *self.living()]:
            if not process.is_alive():
                raise RuntimeError(f"{process.name} has ended: see {self.folder}")
        states = [simulator.status for simulator in self.simulators]
        total = {
            name: sum(state[name] for state in states)
            for name in ("queued", "backlog", "dropped", "orphans", "orphan_backlog", "drained", "pairs")
        }
        for name in ("oldest_ms", "oldest_orphan_ms"):
            total[name] = max(state[name] for state in states)
        total["at"] = time.monotonic() - self.began
        total["stored"] = self.sink.status["records"]
        total["cpu"] = {process.name: process.cpu() for process in self.pollers}
        for process in self.living():
            process.memory()
        self.series.append(total)
        return total

    def living(self) -> list[Process]:
        return [poller for poller in self.pollers if poller.name != getattr(self, "killed", None)]

    def until(self, what: str, is_done: Callable[[], bool], limit: float) -> bool:
        """Samples until something is the case. Returns whether it was within the limit."""
        deadline = time.monotonic() + limit
        while not is_done():
            if time.monotonic() > deadline:
                print(f"not within {limit:.0f} s: {what}", file=sys.stderr)
                return False
            if self.pollers:
                self.sample()
            time.sleep(STEP)
        return True

    def order(self, text: str) -> None:
        for simulator in self.all_simulators():
            simulator.order(text)

    def wall(self) -> float:
        """Returns the clock of the servers, s."""
        return time.time() + self.ahead_ms / 1000

    def next_boundary(self) -> float:
        """Skips to shortly before the end of the windows. Returns the time of their end on this machine's clock, s."""
        window = self.options.window
        self.need(self.lead + 2 * STEP)
        # What is skipped has no samples.
        rounds = min(simulator.status["rounds"] for simulator in self.simulators)
        self.order("samples")
        are_done = lambda: all(simulator.status["rounds"] > rounds for simulator in self.simulators)
        self.until("all nodes have samples", are_done, 60)
        left = window - self.wall() % window
        if left > self.lead:
            skip = int((left - self.lead) * 1000)
            self.ahead_ms += skip
            self.order(f"advance {skip}")
        self.order("mark")
        left = window - self.wall() % window
        return time.monotonic() - self.began + left

    # Parts.

    def measure(self) -> dict[str, Any]:
        """Returns the results."""
        options = self.options
        started = self.until("the pollers have found all servers", self.is_started, START_LIMIT)
        found_after = time.monotonic() - self.began
        log(f"{found_after:.0f} s: the pollers have found all servers")
        parts = {"burst": self.burst(0)}
        log(f"burst: empty {parts['burst']['empty_after']} s after the end of the windows")
        parts["idle"] = self.idle()
        parts["jitter"] = self.burst(options.jitter)
        log(f"jitter: empty {parts['jitter']['empty_after']} s after the end of the windows")
        parts["takeover"] = self.takeover()
        log(f"takeover: {parts['takeover']['takeover_s']}")
        self.order("freeze")
        # Until the state is one after the order.
        time.sleep(4 * STEP)
        self.sample()
        drained = self.until("the queues are empty", lambda: self.series[-1]["backlog"] == 0, options.limit)
        end = self.series[-1]
        stored = self.sink.report()
        pollers = {
            poller.name: {"cpu_s": round(poller.cpu(), 2), "peak_mb": round(poller.memory() / 1e6, 1)}
            for poller in self.pollers
        }
        return {
            "options": {key: str(value) for key, value in vars(options).items()},
            "cores": os.cpu_count(),
            "complete": started and drained and all(part["complete"] for part in parts.values()),
            "found_after_s": round(found_after, 1),
            "queued": end["queued"],
            "stored": stored["records"],
            "lost": end["queued"] - stored["distinct"],
            "duplicates": stored["records"] - stored["distinct"],
            "dropped": end["dropped"],
            "bytes": self.sink.status["bytes"],
            "requests": self.sink.status["requests"],
            "pollers": pollers,
            **parts,
            "series": [{**point, "cpu": sum(point["cpu"].values())} for point in self.series],
        }

    def is_started(self) -> bool:
        if not self.series:
            return False
        last, nodes = self.series[-1], self.options.nodes
        return last["drained"] >= nodes and last["pairs"] >= nodes * len(self.pollers)

    def burst(self, jitter: int) -> dict[str, Any]:
        """Lets all windows end, and waits until the sink has their records."""
        options = self.options
        self.order(f"jitter {jitter * 1000}")
        cpu = self.cpu()
        boundary = self.next_boundary()
        before = self.sample()
        expected = before["queued"] + options.nodes * options.metrics
        closing = boundary + options.flush_delay

        def is_stored() -> bool:
            last = self.series[-1]
            return last["at"] > closing and last["queued"] >= expected and last["backlog"] == 0

        complete = self.until("all records are stored", is_stored, options.limit + jitter)
        if jitter:
            self.order("jitter 0")
        points = [point for point in self.series if point["at"] >= boundary - self.lead]
        after = self.sink.report()
        empty_after = points[-1]["at"] - boundary
        peak = max(points, key=lambda point: point["backlog"])
        rates = [
            (late["stored"] - early["stored"]) / (late["at"] - early["at"])
            for early, late in zip(points, points[round(2 / STEP) :])
        ]
        return {
            "complete": complete,
            "boundary": boundary,
            "ended": points[-1]["at"],
            "records": after["delays"],
            "peak_backlog": peak["backlog"],
            "empty_after": round(empty_after, 1),
            "records_per_s": round(after["delays"] / max(empty_after, 0.1)),
            "highest_records_per_s": round(max(rates, default=0)),
            "latency_ms": {key: after[f"{key}_ms"] for key in ("p50", "p99", "max")},
            "cpu": self.used(cpu),
        }

    def idle(self) -> dict[str, Any]:
        """Lets nothing happen but samples, and counts commands."""
        self.need(self.options.idle)
        cpu = self.cpu()
        self.order("mark")
        begin = time.monotonic()
        self.until("", lambda: time.monotonic() - begin > self.options.idle, self.options.idle + 5)
        took = time.monotonic() - begin
        used = self.used(cpu)
        return {"complete": True, "seconds": round(took, 1), **self.commands(took), "cpu": used}

    def need(self, time_left: float) -> None:
        """Waits for the next window, and for the records of this one, if it ends too soon."""
        left = self.options.window - self.wall() % self.options.window
        if left > time_left:
            return
        begin = self.sample()["at"] + left + self.options.flush_delay + 2 * STEP
        is_over = lambda: self.series[-1]["at"] > begin and self.series[-1]["backlog"] == 0
        self.until("the next window has begun", is_over, left + self.options.limit)

    def commands(self, took: float) -> dict[str, Any]:
        """Returns the commands per second of a poller to a server, for those that drain it and for the others."""
        reports = [simulator.report() for simulator in self.simulators]
        found = {}
        for role in ("owners", "others"):
            pairs = sum(report[role]["pairs"] for report in reports)
            kinds: dict[str, int] = {}
            for report in reports:
                for kind, count in report[role]["by_kind"].items():
                    kinds[kind] = kinds.get(kind, 0) + count
            rates = {kind: round(count / took / pairs, 3) for kind, count in kinds.items() if count}
            most = max(report[role]["max"] for report in reports) / took
            found[role] = {
                "pairs": pairs,
                "per_s": round(sum(kinds.values()) / took / max(pairs, 1), 3),
                "most_per_s": round(most, 2),
                "by_kind_per_s": rates,
            }
        return found

    def takeover(self) -> dict[str, Any]:
        """Lets all windows end, kills a poller, and waits until the others have stored everything."""
        options = self.options
        before = self.sample()
        boundary = self.next_boundary()
        expected = before["queued"] + options.nodes * options.metrics
        stored = before["stored"] + KILL * options.nodes * options.metrics
        closing = boundary + options.flush_delay
        is_time = lambda: self.series[-1]["at"] > closing and self.series[-1]["stored"] >= stored
        self.until("some records are stored", is_time, options.limit)
        victim = self.pollers[0]
        self.killed = victim.name
        victim.kill()
        killed_at = time.monotonic() - self.began
        for simulator in self.simulators:
            simulator.order(f"killed {victim.name}")
        servers = sum(simulator.status["drained_by"].get(victim.name, 0) for simulator in self.simulators)
        # Until the state is one after the kill.
        time.sleep(2 * STEP)

        def is_over() -> bool:
            last = self.series[-1]
            return last["at"] > killed_at + 2 * STEP and last["queued"] >= expected and last["backlog"] == 0

        limit = options.limit + 3 * seconds(options.takeover_after)
        complete = self.until("the others have taken over", is_over, limit)
        points = [point for point in self.series if point["at"] >= boundary - self.lead]
        times = sorted(ms for simulator in self.simulators for ms in simulator.report()["takeovers_ms"])
        after = self.sink.report()
        rank = lambda share: round(times[max(0, -(-len(times) * share // 100) - 1)] / 1000, 1) if times else None
        return {
            "complete": complete,
            "boundary": boundary,
            "killed_at": killed_at,
            "ended": points[-1]["at"],
            "servers_of_the_killed": servers,
            "taken_over": len(times),
            "takeover_s": {"p50": rank(50), "p99": rank(99), "max": rank(100)},
            "longest_lag_s": round(max(point["oldest_ms"] for point in points) / 1000, 1),
            "empty_after_kill": round(points[-1]["at"] - killed_at, 1),
            "latency_ms": {key: after[f"{key}_ms"] for key in ("p50", "p99", "max")},
        }

    def cpu(self) -> tuple[float, dict[str, float]]:
        processes = [*self.pollers, *self.all_simulators()]
        return time.monotonic(), {process.name: process.cpu() for process in processes}

    def used(self, before: tuple[float, dict[str, float]]) -> dict[str, Any]:
        """Returns the CPU time of each process since then, in seconds and as a share of a core."""
        took = time.monotonic() - before[0]
        after = self.cpu()[1]
        spent = {name: after[name] - cpu for name, cpu in before[1].items()}
        return {name: {"s": round(s, 2), "percent": round(100 * s / took, 1)} for name, s in spent.items()}


def log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
