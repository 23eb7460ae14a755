"""Reports carry the server's time, whatever the local clock says."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from support import LONG_WINDOWS, Server, wait_until

import agg

MINUTES = 60.0
# In ms: longer than a busy machine takes, far shorter than the clock errors of these tests.
TOLERANCE = 30_000

SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[SetClock]:
    """Shifts the clock of this process by a number of seconds."""
    real, real_ns = time.time, time.time_ns
    shift_s = 0.0

    def shift(seconds: float) -> None:
        nonlocal shift_s
        shift_s = seconds

    monkeypatch.setattr(time, "time", lambda: real() + shift_s)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(shift_s * 1e9))
    yield shift
    shift_s = 0.0


def server_ms(client: agg.Client) -> int:
    seconds, microseconds = client.redis.time()
    return int(seconds * 1000 + microseconds // 1000)


def times(client: agg.Client) -> dict[str, int]:
    """Returns the times of the reports, by name."""
    found: dict[str, int] = {}
    for name, metric in client.scan_values("n", "METRIC")[1]:
        assert isinstance(metric, agg.Metric)
        found[name] = metric.at
    for entry in client.pop("n", ["LOG", "ERROR", "REALITY"]):
        record: Any = entry.record
        name = getattr(record, "message", None) or record.key
        found[f"{entry.queue} {name}"] = getattr(record, "epoch", None) or record.last
    return found


@pytest.mark.parametrize("minutes", [10, -10, 60 * 24 * 3])
def test_reports_carry_the_servers_time_if_the_local_clock_is_wrong(
    url: str, client: agg.Client, set_clock: SetClock, minutes: float
) -> None:
    set_clock(minutes * MINUTES)
    before = server_ms(client)
    with agg.Recorder("n", url) as r:
        r.stat("gauge", 1)
        r.stat("total", 1, kind="DIFF")
        r.log("line")
        r.error("bad", key="bad")
        r.reality("object", "m", {})
        log = logging.Logger("test.clock")
        log.addHandler(agg.LogHandler(r))
        log.error("logged")
    assert r.counts == agg.Counts(sent=7)
    after = server_ms(client)
    found = times(client)
    assert len(found) == 7
    assert {
        n: at for n, at in found.items() if not before - TOLERANCE <= at <= after + TOLERANCE
    } == {}


def test_given_time_is_sent_unchanged(url: str, client: agg.Client, set_clock: SetClock) -> None:
    at = server_ms(client) - 1234
    set_clock(10 * MINUTES)
    with agg.Recorder("n", url) as r:
        r.stat("gauge", 1, at=at)
        r.log("line", at=at)
        r.error("bad", key="bad", at=at)
        r.reality("object", "m", {}, at=at)
        r.stat("gauge", 1, at=1e99)  # type: ignore[arg-type]
        r.stat("gauge", 1, at=float("nan"))  # type: ignore[arg-type]
    assert set(times(client).values()) == {at} and r.counts.sent == 4
    assert sum(r.counts.dropped.values()) == 2


def test_pending_reports_keep_their_time_when_the_clock_is_set(
    set_clock: SetClock,
) -> None:
    own = Server(settings=LONG_WINDOWS)
    try:
        with agg.Recorder("n", own.url, interval=0.02) as r, agg.Client(own.url) as client:
            r.stat("first", 1)
            assert r.flush()
            own.stop()
            before = time.time() * 1000
            r.stat("waited", 1)
            r.log("waited")
            after = time.time() * 1000
            wait_until("sending has failed", lambda: r.counts.failures)
            set_clock(-10 * MINUTES)
            time.sleep(2)
            own.start()
            assert r.flush(60)
            found = times(client)
            # Neither the time of arrival nor the local time.
            for name in ("waited", "LOG waited"):
                assert before - 1500 < found[name] < after + 1500
    finally:
        own.close()


def test_reports_carry_the_local_time_without_permission_for_time(
    url: str, client: agg.Client, caplog: pytest.LogCaptureFixture, set_clock: SetClock
) -> None:
    client.redis.execute_command(
        "ACL SETUSER", "timeless", "on", "nopass", "%W~n", "-@all", "+agg.stat", "+agg.mstat"
    )
    set_clock(-MINUTES)
    with agg.Recorder("n", url.replace("//", "//timeless:x@"), interval=0.01) as r:
        for i in range(3):
            r.stat("m", i)
            assert r.flush()
    assert r.counts == agg.Counts(sent=3)
    metric = client.get_metric("n", "m")
    assert metric is not None and abs(metric.at + 60_000 - server_ms(client)) < TOLERANCE
    (warning,) = [m for m in caplog.messages if "time" in m]
    assert "local time" in warning and "server's time" in warning


def test_offset_changes_only_when_a_clock_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Intervals between reports stay exact: the delay of a reply does not move the offset."""
    now = 100.0
    server = 1_760_000_000.0

    class Stub:
        def __init__(self, request_s: float, reply_s: float) -> None:
            self.request_s, self.reply_s = request_s, reply_s

        def execute_command(self, *words: Any, **options: Any) -> tuple[int, int]:
            nonlocal now
            now += self.request_s
            whole, part = divmod(server + now, 1)
            now += self.reply_s
            return int(whole), int(part * 1e6)

    monkeypatch.setattr("agg.clock.ticks", lambda: now)
    clock = agg.clock.ServerClock()
    assert clock.is_due()
    clock.sync(agg.Client(Stub(0.03, 0.07)), b"n")
    first = clock.offset
    assert first is not None and abs(first - server) < 0.05 and not clock.is_due()
    clock.expire()
    assert clock.is_due()
    clock.sync(agg.Client(Stub(0.07, 0.03)), b"n")
    assert clock.offset == first and clock.ms(now) == int((now + first) * 1000)
    now += 3600
    assert clock.is_due()
    # A shorter round trip is more precise.
    clock.sync(agg.Client(Stub(0.001, 0.001)), b"n")
    assert abs(clock.offset - server) < 0.002
    server += 600
    clock.sync(agg.Client(Stub(0.07, 0.03)), b"n")
    assert abs(clock.offset - server) < 0.05
