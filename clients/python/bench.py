"""Benchmarks of the client: `python bench.py [--quick]`.

Starts its own server, unless AGG_BENCH_URL names one. Each result is the median of several rounds.
The rows of a table alternate within a round, so that a noisy machine disturbs them alike. Prints
the tables of README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

import redis

import agg

sys.path.insert(0, str(Path(__file__).resolve().parent / "tests"))
from support import LONG_WINDOWS, Server

CALLS = 20_000


def print_table(title: str, unit: str, results: dict[str, list[float]]) -> None:
    print(f"\n| {title} | {unit} | min..max |\n| --- | ---: | --- |")
    for name, values in results.items():
        median = statistics.median(values)
        print(f"| {name} | {median:,.0f} | {min(values):,.0f}..{max(values):,.0f} |")


def rate(run: Callable[[int], Any], n: int) -> float:
    """Returns calls per second, after a short warm-up."""
    run(n // 20 + 1)
    start = time.perf_counter()
    run(n)
    return n / (time.perf_counter() - start)


def bench_calls(url: str, rounds: int, n: int) -> None:
    """Measures how many commands the clients send per second, compared to redis-py."""
    plain: Any = redis.Redis.from_url(url)
    client = agg.Client(url)
    loop = asyncio.new_event_loop()
    plain_aio: Any = redis.asyncio.Redis.from_url(url)
    aio = agg.AsyncClient(url)

    def plain_calls(n: int) -> None:
        for _ in range(n):
            plain.execute_command("AGG.STAT", "n", "m", 17.5, "TAGS", "app:shop")

    def client_calls(n: int) -> None:
        for _ in range(n):
            client.stat("n", "m", 17.5, tags="app:shop")

    def plain_pipeline(n: int) -> None:
        for _ in range(0, n, 100):
            pipe = plain.pipeline(transaction=False)
            for _ in range(100):
                pipe.execute_command("AGG.STAT", "n", "m", 17.5, "TAGS", "app:shop")
            pipe.execute()

    def client_pipeline(n: int) -> None:
        for _ in range(0, n, 100):
            with client.pipeline() as pipe:
                for _ in range(100):
                    pipe.stat("n", "m", 17.5, tags="app:shop")
                pipe.execute()

    def client_mstat(n: int) -> None:
        values = {f"m{i}": 17.5 for i in range(100)}
        for _ in range(0, n, 100):
            client.mstat("n", values, tags="app:shop")

    async def plain_awaits(n: int) -> None:
        for _ in range(n):
            await plain_aio.execute_command("AGG.STAT", "n", "m", 17.5, "TAGS", "app:shop")

    async def client_awaits(n: int) -> None:
        for _ in range(n):
            await aio.stat("n", "m", 17.5, tags="app:shop")

    measured: dict[str, tuple[Callable[[int], Any], int]] = {
        "`redis.execute_command`": (plain_calls, n),
        "`client.stat`": (client_calls, n),
        "`redis.asyncio`, sequential awaits": (
            lambda n: loop.run_until_complete(plain_awaits(n)),
            n,
        ),
        "`AsyncClient.stat`, sequential awaits": (
            lambda n: loop.run_until_complete(client_awaits(n)),
            n,
        ),
        "`redis.pipeline` of 100": (plain_pipeline, 5 * n),
        "`client.pipeline` of 100": (client_pipeline, 5 * n),
        "`client.mstat` of 100, samples": (client_mstat, 20 * n),
    }
    results: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, (run, times) in measured.items():
            results[name].append(rate(run, times))
    print_table("AGG.STAT with a tag", "calls/s", results)
    loop.run_until_complete(plain_aio.aclose())
    loop.run_until_complete(aio.close())
    loop.close()
    plain.close()
    client.close()


def bench_drain(url: str, rounds: int, n: int) -> None:
    """Measures how many log entries a loop drains per second."""
    client = agg.Client(url)
    results: dict[str, list[float]] = {"`Drain`, record by record": [], "`Drain.batches`": []}
    for _ in range(rounds):
        for name, values in results.items():
            client.redis.delete("n")
            for _ in range(0, n, 1000):
                with client.pipeline() as pipe:
                    for _ in range(1000):
                        pipe.log("n", "a log message of about forty characters..")
                    pipe.execute()
            start = time.perf_counter()
            drain = agg.Drain(client, "n", "LOG", count=500, follow=False)
            seen = 0
            if name == "`Drain.batches`":
                for batch in drain.batches():
                    seen += len([entry.record for entry in batch])
            else:
                for entry in drain:
                    seen += entry.record.queue == "LOG"
            values.append(seen / (time.perf_counter() - start))
    print_table("log entries drained, parsed and acknowledged", "records/s", results)
    client.close()


def bench_reports(url: str, rounds: int) -> None:
    """Measures the CPU time of a report in the thread that makes it, while nothing is sent."""
    quiet = agg.Recorder("n", url, interval=3600, batch=10**9, max_samples=10**9, max_events=10**9)
    quiet._max_bytes = 10**12  # Together with the limits above: nothing is sent.
    log = logging.Logger("bench")
    log.addHandler(agg.LogHandler(quiet))
    stat, increment, tags = quiet.stat, quiet.increment, {"app": "shop"}

    def nothing(*args: object, **kwargs: object) -> None: ...

    def timed_block() -> None:
        with agg.timer("m", recorder=quiet):
            pass

    error = ValueError("order 17 was lost")
    measured: dict[str, tuple[Callable[[], object], int]] = {
        "an empty function, for comparison": (
            lambda: nothing("queue.length", 17.5),
            CALLS,
        ),
        "`recorder.stat(name, value)`": (lambda: stat("queue.length", 17.5), CALLS),
        '`recorder.stat(..., tags="app:shop")`': (
            lambda: stat("queue.length", 17.5, tags="app:shop"),
            CALLS,
        ),
        "`recorder.stat(..., tags={...})`": (lambda: stat("queue.length", 17.5, tags=tags), CALLS),
        '`recorder.stat(..., kind="DIFF")`': (lambda: stat("bytes", 17, kind="DIFF"), CALLS),
        "`recorder.increment(name)`": (lambda: increment("orders"), CALLS),
        "`recorder.histogram(name, value)`": (lambda: quiet.histogram("size", 4096), CALLS),
        "`with timer(name)`": (timed_block, CALLS),
        "`recorder.log(message)`": (lambda: quiet.log("a message"), CALLS // 10),
        "`logging` through `LogHandler`": (lambda: log.info("a message of %s", 17), CALLS // 10),
        "`report_exception`": (
            lambda: agg.report_exception(error, recorder=quiet),
            CALLS // 10,
        ),
    }
    results: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, (run, times) in measured.items():
            run()
            loop = range(times)
            start = time.thread_time()
            for _ in loop:
                run()
            results[name].append((time.thread_time() - start) / times * 1e9)
            with quiet._lock:
                quiet._samples.clear()
                quiet._events.clear()
    print_table("CPU time in the reporting thread, nothing sent", "ns", results)
    quiet.close()


NAMES = [f"m{i}" for i in range(100)]


def gauges(recorder: agg.Recorder) -> Callable[[int], None]:
    return lambda i: recorder.gauge(NAMES[i % 100], 17.5)


def increments(recorder: agg.Recorder) -> Callable[[int], None]:
    return lambda i: recorder.increment(NAMES[i % 100])


def mixture(recorder: agg.Recorder) -> Callable[[int], None]:
    """Reports all types, with tags."""

    def report(i: int) -> None:
        kind = i % 4
        if kind == 0:
            recorder.gauge(NAMES[i % 100], 17.5)
        elif kind == 1:
            recorder.timing("took", i / 4, tags={"page": NAMES[i % 5]})
        elif kind == 2:
            recorder.increment("orders", tags="app:shop")
        else:
            recorder.total("rx", i)

    return report


def bench_steady_load(url: str, rounds: int, per_second: int, seconds: float) -> None:
    """Measures the CPU time per sample of the whole process under a steady load, with sending."""
    loads = {"gauges": gauges, "increments of 1": increments, "a mixture of types": mixture}
    process: dict[str, list[float]] = {}
    thread: dict[str, list[float]] = {}
    sent = dropped = 0
    for _ in range(rounds):
        for name, load in loads.items():
            recorder = agg.Recorder(name, url)
            recorder.stat("first", 1)
            recorder.flush()
            report = load(recorder)
            n = int(per_second * seconds)
            chunk = per_second // 100
            start = time.perf_counter()
            process_cpu, thread_cpu = time.process_time(), 0.0
            for i in range(0, n, chunk):
                before = time.thread_time()
                for k in range(i, i + chunk):
                    report(k)
                thread_cpu += time.thread_time() - before
                time.sleep(max(0.0, start + (i + chunk) / per_second - time.perf_counter()))
            recorder.flush(30)
            in_process = (time.process_time() - process_cpu) / n * 1e9
            process.setdefault(f"{name}, the whole process", []).append(in_process)
            thread.setdefault(f"{name}, the reporting thread", []).append(thread_cpu / n * 1e9)
            counts = recorder.counts
            sent += counts.sent
            dropped += sum(counts.dropped.values()) + counts.late
            recorder.close()
    title = f"CPU time of {per_second:,} samples/s with sending"
    print_table(title, "ns/sample", {**thread, **process})
    print(f"\n{sent:,} samples sent, {dropped:,} dropped or late.")


def bench_overload(url: str, rounds: int) -> None:
    """Measures how many samples one thread can report per second, and how many are sent."""
    reported: list[float] = []
    sent: list[float] = []
    for _ in range(rounds):
        recorder = agg.Recorder("n", url)
        stat = recorder.stat
        start = time.perf_counter()
        for _ in range(50 * CALLS):
            stat("m", 17.5)
        reporting_s = time.perf_counter() - start
        recorder.flush(30)
        total_s = time.perf_counter() - start
        reported.append(50 * CALLS / reporting_s)
        sent.append(recorder.counts.sent / total_s)
        recorder.close()
    results = {"reported": reported, "sent; the others are counted as dropped": sent}
    print_table("one thread that only reports", "samples/s", results)


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmarks of the Python client.")
    parser.add_argument(
        "--quick", action="store_true", help="take a few seconds, with imprecise results"
    )
    quick = parser.parse_args().quick
    rounds, n = (2, 500) if quick else (5, 5000)
    url = os.environ.get("AGG_BENCH_URL")
    server = None if url else Server(settings=LONG_WINDOWS)
    server_url = url or (server.url if server else "")
    with redis.Redis.from_url(server_url) as plain:
        info = plain.info("server")
        name = info.get("server_name", "redis")
        version = info.get("valkey_version", info["redis_version"])
    print(
        f"CPython {platform.python_version()}, redis-py {redis.__version__}, {name} {version}, "
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}; "
        f"the median of {rounds} rounds."
    )
    try:
        bench_calls(server_url, rounds, n)
        bench_drain(server_url, rounds, 2000 if quick else 20_000)
        bench_reports(server_url, rounds)
        bench_steady_load(server_url, rounds, 10_000, 0.5 if quick else 3.0)
        bench_steady_load(server_url, rounds, 100_000, 0.5 if quick else 3.0)
        bench_overload(server_url, rounds)
    finally:
        assert threading.active_count() < 10
        if server is not None:
            server.close()


if __name__ == "__main__":
    main()
