"""The recorder never blocks or raises, is bounded, counts every loss and survives forks."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from support import LONG_WINDOWS, Server, free_port, run_program, wait_until

import agg


@pytest.fixture
def recorder(url: str) -> Iterator[agg.Recorder]:
    recorder = agg.Recorder("n", url, interval=0.05)
    yield recorder
    recorder.close()


def total(counts: agg.Counts) -> int:
    return counts.sent + counts.late + sum(counts.dropped.values()) + counts.waiting


def test_reports_arrive_with_their_type_tags_and_time(url: str, client: agg.Client) -> None:
    now = int(time.time() * 1000)
    with agg.Recorder("n", url, tags={"app": "shop", "v": 1}) as r:
        r.stat("plain", 1)
        r.stat("tagged", 2.5, tags={"v": 2, "bad value": "a b"}, at=now)
        r.stat("text_tags", 3, tags="x y:z")
        for i in range(3):
            r.stat("total", 10 * i, kind="DIFF", at=now - 3000 + 1000 * i)
        r.log("message", level=2, tags={"t": "u"})
        r.error("failed", key="k", file="f.py")
        r.reality("o", "m", {"a": 1})
    assert r.counts == agg.Counts(sent=9)
    tags = {m.name: m.tags for _, m in client.scan_values("n", "METRIC")[1]}  # type: ignore[union-attr]
    assert tags == {
        "plain": {"app": "shop", "v": "1"},
        "tagged": {"app": "shop", "v": "2", "bad_value": "a_b"},
        "text_tags": {"app": "shop", "v": "1", "x": True, "y": "z"},
        "total": {"app": "shop", "v": "1"},
    }
    metric = client.get_metric("n", "total")
    assert metric is not None and metric.min[0].sum == 20 and metric.min[0].max == 10
    tagged = client.get_metric("n", "tagged")
    assert tagged is not None and tagged.at == now  # A given time is not rounded.
    plain = client.get_metric("n", "plain")
    assert plain is not None and plain.at % 100 == 0 and now - 100 <= plain.at
    log_entry, error, reality = client.pop("n", ["LOG", "ERROR", "REALITY"])
    assert log_entry.record.tags == {"app": "shop", "v": "1", "t": "u"}
    assert log_entry.record.epoch >= now  # type: ignore[union-attr]
    assert error.record.file == "f.py" and reality.record.json == {"a": 1}  # type: ignore[union-attr]


def test_samples_are_sent_in_few_commands(url: str, client: agg.Client) -> None:
    with agg.Recorder("n", url, interval=30, batch=2000) as r:
        r.stat("m", 0)
        assert r.flush()
        before = client.redis.info("commandstats")["cmdstat_AGG.MSTAT"]["calls"]
        for i in range(10_000):
            r.stat("m", i)
        # Full batches are sent long before the interval ends; less than a batch is still pending.
        wait_until("batches were sent", lambda: r.counts.sent > 8000)
        assert r.flush() and r.counts.sent == 10_001
    calls = client.redis.info("commandstats")["cmdstat_AGG.MSTAT"]["calls"]
    assert calls - before < 40
    metric = client.get_metric("n", "m")
    assert metric is not None and metric.samples == 10_001 and metric.last == 9999


def test_incomplete_batch_is_sent_after_the_interval(recorder: agg.Recorder) -> None:
    recorder.stat("m", 1)
    recorder.log("l")
    wait_until("both were sent", lambda: recorder.counts.sent == 2)


def test_invalid_reports_are_counted_and_do_not_raise(url: str, client: agg.Client) -> None:
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    cases: list[Any] = ["x", float("nan"), float("inf"), None, [], Bad(), "\ud800", 10**5000]
    with agg.Recorder("n", url, interval=0.05) as r:
        for value in cases:
            r.stat("m", value)
        r.stat(None, 1)  # type: ignore[arg-type]
        r.stat("", 1)
        r.stat("m", 1, kind="FOO")  # type: ignore[arg-type]
        r.stat("m", 1, kind=None)  # type: ignore[arg-type]
        r.stat("m", 1, at="soon")  # type: ignore[arg-type]
        r.stat("m", 1, at=17)
        r.stat("m", 1, tags=5)  # type: ignore[arg-type]
        r.stat("m", 1, tags={"": 1})
        r.log(None)  # type: ignore[arg-type]
        r.log("l", level=17)
        r.log("l", tags=object())  # type: ignore[arg-type]
        r.error(Bad())  # type: ignore[arg-type]
        r.error("e", type="NONE")  # type: ignore[arg-type]
        r.reality("k", "m", object())
        r.reality("k", "m", b"{")
        assert r.flush()
        counts = r.counts
        assert counts.sent == 1  # The sample with an empty tag name.
        assert total(counts) == len(cases) + 15
        assert set(counts.dropped) == {"unusable", "refused"}
        assert counts.last_error


def test_pending_reports_are_bounded_while_the_server_is_down(server: Server, url: str) -> None:
    unreachable = f"redis://127.0.0.1:{free_port()}"
    r = agg.Recorder(
        "n", unreachable, interval=0.01, max_samples=1000, max_events=50, max_bytes=10_000
    )
    slowest = 0.0
    for i in range(3000):
        start = time.perf_counter()
        r.stat("m", i)
        r.log("x" * 100)
        slowest = max(slowest, time.perf_counter() - start)
    counts = r.counts
    # Reports in flight are counted in addition to a full queue.
    assert counts.waiting <= 2 * 1050
    assert counts.dropped["full"] >= 6000 - 2 * 1050 and total(counts) == 6000
    assert slowest < 0.5
    start = time.monotonic()
    assert not r.flush(0.2)
    assert not r.close(0.2)
    assert time.monotonic() - start < 2
    wait_until("nothing is pending", lambda: not r.counts.waiting)
    assert total(r.counts) == 6000 and r.counts.sent == 0 and r.counts.failures > 0
    assert "Connection" in r.counts.last_error
    r.stat("m", 1)
    r.log("x")
    assert r.counts.dropped["closed"] == 2


def test_pending_reports_are_sent_when_the_server_recovers() -> None:
    own = Server(settings=LONG_WINDOWS)
    try:
        with agg.Recorder("n", own.url, interval=0.02) as r:
            r.stat("m", 1)
            assert r.flush()
            own.stop()
            r.stat("m", 2)
            r.log("meanwhile")
            wait_until("sending has failed", lambda: r.counts.failures)
            own.start()
            assert r.flush(15)
            assert r.counts.sent == 3 and r.counts.waiting == 0
            with agg.Client(own.url) as client:
                assert client.pop("n", "LOG")[0].record.message == "meanwhile"  # type: ignore[union-attr]
    finally:
        own.close()


def test_rejected_reports_are_counted(url: str, client: agg.Client) -> None:
    client.stat("n", "known", 1)
    client.redis.config_set("agg.max-series", 1)
    try:
        with agg.Recorder("n", url) as r:
            r.stat("known", 1)
            r.stat("new", 1)
        assert r.counts.sent == 1 and r.counts.dropped == {"refused": 1}
        assert "max-series" in r.counts.last_error
    finally:
        client.redis.config_set("agg.max-series", 20000)
    client.redis.execute_command("ACL SETUSER", "few", "on", "nopass", "%W~n", "-@all", "+agg.log")
    denied = agg.Recorder("n", url.replace("//", "//few:x@"))
    denied.stat("m", 1)
    denied.log("may")
    assert denied.flush() and denied.close()
    assert denied.counts.sent == 1 and denied.counts.dropped == {"refused": 1}


def test_concurrent_threads_lose_no_reports(url: str, client: agg.Client) -> None:
    with agg.Recorder("n", url, interval=0.01, batch=100) as r:

        def report(i: int) -> None:
            for _ in range(2000):
                r.stat(f"m{i}", 1)
                if i == 0:
                    r.log("l")

        threads = [threading.Thread(target=report, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert r.flush(20)
        assert r.counts == agg.Counts(sent=10_000)
    found = [m.samples for _, m in client.scan_values("n", "METRIC")[1]]  # type: ignore[union-attr]
    assert found == [2000] * 4


def test_signal_handler_may_interrupt_a_report_and_report(recorder: agg.Recorder) -> None:
    def handler(number: int, frame: object) -> None:
        recorder.stat("signals", 1)
        recorder.log("signal")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for _ in range(3000):
            recorder.stat("m", 1)
            recorder.log("l")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert recorder.flush(20)
    counts = recorder.counts
    assert counts.sent > 6000 and not counts.dropped


def test_signal_handler_may_report_while_the_sender_thread_starts(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one thread is started: two would corrupt each other's counts."""
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name == "agg-recorder":
            started.append(thread)
            if len(started) < 3:
                r.log("from a signal's handler")
        start(thread)

    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with agg.Recorder("n", url, interval=0.01) as r:
        r.stat("m", 1)
        assert r.flush(60)
        assert len(started) == 1
        assert r.counts == agg.Counts(sent=2)


def test_parent_and_child_both_report_after_a_fork(
    recorder: agg.Recorder, client: agg.Client
) -> None:
    recorder.stat("before", 1)
    assert recorder.flush()
    recorder.stat("parent", 1)
    pid = os.fork()
    if pid == 0:
        # The child must not continue with the tests.
        status = 1
        try:
            clean = recorder.counts == agg.Counts()
            recorder.stat("child", 1)
            recorder.log("child")
            done = recorder.flush(10) and recorder.counts.sent == 2
            status = 0 if clean and done else 2
        finally:
            os._exit(status)
    recorder.stat("parent", 1)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    assert recorder.flush() and recorder.counts.sent == 3
    found = {n: m.samples for n, m in client.scan_values("n", "METRIC")[1]}  # type: ignore[union-attr]
    assert found == {"before": 1, "parent": 2, "child": 1}


def _report_from_worker(recorder: agg.Recorder) -> None:
    recorder.stat("worker", 1)


def test_multiprocessing_worker_sends_before_it_ends(url: str, client: agg.Client) -> None:
    recorder = agg.Recorder("n", url, interval=60)
    process = multiprocessing.get_context("fork").Process(
        target=_report_from_worker, args=(recorder,)
    )
    process.start()
    process.join(20)
    assert process.exitcode == 0
    assert client.get_metric("n", "worker") is not None
    recorder.close()


def test_exiting_program_sends_pending_reports(url: str, client: agg.Client) -> None:
    run_program(
        """
        r = agg.Recorder("n", sys.argv[1], interval=60)
        r.stat("m", 1)
        r.log("last words")
        """,
        url,
        timeout=300,
    )
    assert client.pop("n", "LOG")[0].record.message == "last words"  # type: ignore[union-attr]
    assert client.get_metric("n", "m") is not None


def test_exit_is_delayed_by_at_most_at_exit_seconds() -> None:
    start = time.monotonic()
    run_program(
        """
        for i in range(5):
            r = agg.Recorder("n", sys.argv[1], interval=60, at_exit=1.0)
            r.stat("m", 1)
        """,
        f"redis://127.0.0.1:{free_port()}",
        timeout=300,
    )
    assert time.monotonic() - start < 5


def test_unresponsive_server_does_not_block_reports(url: str, client: agg.Client) -> None:
    with agg.Recorder("n", url, interval=0.01) as r:
        r.stat("m", 1)
        assert r.flush()
        client.redis.execute_command("CLIENT PAUSE", 700, "ALL")
        start = time.monotonic()
        for _ in range(1000):
            r.stat("m", 1)
            r.log("l")
        assert time.monotonic() - start < 0.5
        assert r.flush(10)


def test_recorder_accepts_a_connection_or_a_function(url: str, client: agg.Client) -> None:
    with agg.Recorder("n", lambda: redis.Redis.from_url(url)) as r:
        r.stat("m", 1)
    with agg.Recorder("n", client.redis) as r:
        r.stat("m", 1)
    metric = client.get_metric("n", "m")
    assert metric is not None and metric.samples == 2


def test_invalid_url_raises_in_the_constructor(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="scheme"):
        agg.Recorder("n", "localhost:7777")
    # An invalid URL in the environment does not raise.
    monkeypatch.setenv("AGG_REDIS", "localhost:7777")
    r = agg.Recorder("n", interval=0.01)
    r.stat("m", 1)
    wait_until("sending has failed", lambda: r.counts.failures)
    assert "scheme" in r.counts.last_error and not r.close(0)


def test_warnings_of_the_recorder_do_not_deadlock_it(url: str, client: agg.Client) -> None:
    """A handler reports while it holds its lock, which the recorder's thread may be waiting for."""
    log = logging.getLogger("agg")
    with agg.Recorder("n", url, interval=0.01) as r:
        handler = agg.LogHandler(r)
        log.addHandler(handler)
        try:
            r.stat("m", "x")
            with handler.lock or contextlib.nullcontext():
                time.sleep(0.1)  # Meanwhile the thread tries to log a warning.
                start = time.monotonic()
                for _ in range(1000):
                    r.log("l")
                assert time.monotonic() - start < 1
            assert r.flush()
        finally:
            log.removeHandler(handler)
        assert r.counts.sent == 1000
