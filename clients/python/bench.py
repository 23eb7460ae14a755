"""What the client costs: `python bench.py [--quick]`, with a server of its own, or AGG_BENCH_URL's.

Each figure is the median of several rounds; those that are compared alternate within a round, so
that a noisy machine disturbs them alike. Prints the tables that README.md shows.
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
from kit import CALM, Server

MANY = 20_000


def rows(title: str, unit: str, found: dict[str, list[float]]) -> None:
    print(f"\n| {title} | {unit} | lowest..highest |\n| --- | ---: | --- |")
    for name, values in found.items():
        middle = statistics.median(values)
        print(f"| {name} | {middle:,.0f} | {min(values):,.0f}..{max(values):,.0f} |")


def rate(run: Callable[[int], Any], n: int) -> float:
    run(n // 20 + 1)
    start = time.perf_counter()
    run(n)
    return n / (time.perf_counter() - start)


def calls(url: str, rounds: int, n: int) -> None:
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
        "`redis.asyncio`, awaited one by one": (
            lambda n: loop.run_until_complete(plain_awaits(n)),
            n,
        ),
        "`AsyncClient.stat`, awaited one by one": (
            lambda n: loop.run_until_complete(client_awaits(n)),
            n,
        ),
        "`redis.pipeline` of 100": (plain_pipeline, 5 * n),
        "`client.pipeline` of 100": (client_pipeline, 5 * n),
        "`client.mstat` of 100, samples": (client_mstat, 20 * n),
    }
    found: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, (run, times) in measured.items():
            found[name].append(rate(run, times))
    rows("AGG.STAT with a tag", "calls a second", found)
    loop.run_until_complete(plain_aio.aclose())
    loop.run_until_complete(aio.close())
    loop.close()
    plain.close()
    client.close()


def drained(url: str, rounds: int, n: int) -> None:
    client = agg.Client(url)
    found: dict[str, list[float]] = {"`Drain`, entry by entry": [], "`Drain.batches`": []}
    for _ in range(rounds):
        for name, values in found.items():
            client.redis.delete("n")
            for _ in range(0, n, 1000):
                with client.pipeline() as pipe:
                    for _ in range(1000):
                        pipe.log("n", "a line of some forty characters, as usual")
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
    rows("lines drained, parsed and acknowledged", "a second", found)
    client.close()


def reports(url: str, rounds: int) -> None:
    """What a report takes in the thread that makes it."""
    quiet = agg.Recorder("n", url, interval=3600, batch=10**9, max_samples=10**9, max_events=10**9)
    quiet._max_bytes = 10**12  # Nothing is sent meanwhile: the thread's own cost, alone.
    log = logging.Logger("bench")
    log.addHandler(agg.LogHandler(quiet))
    stat, tags = quiet.stat, {"app": "shop"}

    def nothing(*args: object, **kwargs: object) -> None: ...

    def block() -> None:
        with agg.timer("m", recorder=quiet):
            pass

    error = ValueError("order 17 was lost")
    measured: dict[str, tuple[Callable[[], object], int]] = {
        "a function that does nothing, for comparison": (
            lambda: nothing("queue.length", 17.5),
            MANY,
        ),
        "`recorder.stat(name, value)`": (lambda: stat("queue.length", 17.5), MANY),
        '`recorder.stat(..., tags="app:shop")`': (
            lambda: stat("queue.length", 17.5, tags="app:shop"),
            MANY,
        ),
        "`recorder.stat(..., tags={...})`": (lambda: stat("queue.length", 17.5, tags=tags), MANY),
        '`recorder.stat(..., kind="DIFF")`': (lambda: stat("bytes", 17, kind="DIFF"), MANY),
        "`with timer(name)`": (block, MANY),
        "`recorder.log(message)`": (lambda: quiet.log("a line"), MANY // 10),
        "`logging` through `LogHandler`": (lambda: log.info("a line of %s", 17), MANY // 10),
        "`report_exception`": (
            lambda: agg.report_exception(error, recorder=quiet),
            MANY // 10,
        ),
    }
    found: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, (run, times) in measured.items():
            run()
            loop = range(times)
            start = time.thread_time()
            for _ in loop:
                run()
            found[name].append((time.thread_time() - start) / times * 1e9)
            with quiet._lock:
                quiet._samples.clear()
                quiet._events.clear()
    rows("CPU time in the program's thread, nothing sent meanwhile", "ns", found)
    quiet.close()


def busy(url: str, rounds: int, per_second: int, seconds: float) -> None:
    """A steady load with all that is sent: what the whole process takes for a sample."""
    process: list[float] = []
    thread: list[float] = []
    sent = dropped = 0
    for _ in range(rounds):
        recorder = agg.Recorder("n", url)
        recorder.stat("m0", 1)
        recorder.flush()
        names = [f"m{i}" for i in range(100)]
        stat = recorder.stat
        n = int(per_second * seconds)
        chunk = per_second // 100
        start = time.perf_counter()
        cpu, own = time.process_time(), 0.0
        for i in range(0, n, chunk):
            before = time.thread_time()
            for k in range(i, i + chunk):
                stat(names[k % 100], 17.5)
            own += time.thread_time() - before
            time.sleep(max(0.0, start + (i + chunk) / per_second - time.perf_counter()))
        recorder.flush(30)
        process.append((time.process_time() - cpu) / n * 1e9)
        thread.append(own / n * 1e9)
        counts = recorder.counts
        sent += counts.sent
        dropped += sum(counts.dropped.values()) + counts.late
        recorder.close()
    title = f"{per_second:,} samples a second with sending"
    name = "CPU of the program's thread, the loop around it included"
    rows(title, "ns a sample", {name: thread, "CPU of the whole process": process})
    print(f"\n{sent:,} samples sent, {dropped:,} dropped or late.")


def flood(url: str, rounds: int) -> None:
    """As fast as one thread can report, beside the thread that sends."""
    reported: list[float] = []
    kept: list[float] = []
    for _ in range(rounds):
        recorder = agg.Recorder("n", url)
        stat = recorder.stat
        start = time.perf_counter()
        for _ in range(50 * MANY):
            stat("m", 17.5)
        took = time.perf_counter() - start
        recorder.flush(30)
        whole = time.perf_counter() - start
        reported.append(50 * MANY / took)
        kept.append(recorder.counts.sent / whole)
        recorder.close()
    found = {"reported": reported, "of them sent; the rest is counted as dropped": kept}
    rows("a thread that does nothing but report", "samples a second", found)


def main() -> None:
    parser = argparse.ArgumentParser(description="What the client costs.")
    parser.add_argument("--quick", action="store_true", help="a few seconds, for a look")
    quick = parser.parse_args().quick
    rounds, n = (2, 500) if quick else (5, 5000)
    url = os.environ.get("AGG_BENCH_URL")
    server = None if url else Server(settings=CALM)
    where = url or (server.url if server else "")
    with redis.Redis.from_url(where) as plain:
        info = plain.info("server")
        name = info.get("server_name", "redis")
        version = info.get("valkey_version", info["redis_version"])
    print(
        f"CPython {platform.python_version()}, redis-py {redis.__version__}, {name} {version}, "
        f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}; "
        f"the median of {rounds} rounds."
    )
    try:
        calls(where, rounds, n)
        drained(where, rounds, 2000 if quick else 20_000)
        reports(where, rounds)
        busy(where, rounds, 10_000, 0.5 if quick else 3.0)
        busy(where, rounds, 100_000, 0.5 if quick else 3.0)
        flood(where, rounds)
    finally:
        assert threading.active_count() < 10
        if server is not None:
            server.end()


if __name__ == "__main__":
    main()
