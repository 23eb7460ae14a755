"""Reports that are sent twice count once (SEQ), whatever is lost in between."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import socket
import time
from collections.abc import Iterator
from itertools import count
from typing import Any, Callable

import pytest
from support import Proxy, Server, pass_on, wait_until

import agg
from agg import numbering
from agg.command import Command

HEAVY = os.environ.get("AGG_HEAVY") == "1"

SEQ = ("source", 5)


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries after milliseconds."""
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.02)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


def logged(client: agg.Client) -> list[str]:
    """Removes all log entries. One reply of AGG.POP is limited in bytes."""
    messages: list[str] = []
    while entries := client.pop("n", "LOG", count=10_000):
        messages += [entry.record.message for entry in entries]  # type: ignore[union-attr]
    return messages


def occurrences(client: agg.Client, key: str) -> int:
    error = client.get_error("n", key)
    return error.occurrences if error is not None else 0


def samples(client: agg.Client, metric: str) -> tuple[int, float]:
    found = client.get_metric("n", metric)
    return (found.samples, found.min[0].sum) if found is not None else (0, 0.0)


def test_repetition_has_an_empty_result(any_client: agg.Client) -> None:
    c = any_client
    assert c.stat("n", "m", 1, seq=("a", 0)) is True
    assert c.stat("n", "m", 1, seq=("a", 0)) is None
    assert c.stat("n", "m", 1, at=1_760_000_000_000, seq=(b"a", 2)) is False
    assert c.mstat("n", {"m": 1}, seq=("a", 2)) == agg.Taken(0, 0, [])
    assert c.mstat("n", {"m": 1}, seq=("a", 2)).is_repetition
    assert not c.mstat("n", {"m": 1}, seq=("a", 3)).is_repetition
    assert c.log("n", "l", seq=SEQ) > 0 and c.log("n", "l", seq=SEQ) == 0
    assert c.error("n", "e", key="k", seq=SEQ).is_repetition
    assert c.error("n", "e", key="k", seq=("source", 2**63 - 1)) == agg.Occurred("k", 1)
    info = c.info("n")
    assert info is not None and info.sources == 2 and info.sources_dropped == 0
    assert samples(c, "m") == (2, 2.0) and logged(c) == ["l"]
    with c.pipeline() as pipe:
        pipe.log("n", "p", seq=("p", 1)).log("n", "p", seq=("p", 1))
        first, second = pipe.execute()
        assert first > 0 and second == 0


def test_repetition_has_an_empty_result_in_asyncio(url: str) -> None:
    async def main() -> None:
        async with agg.AsyncClient(url) as c:
            assert await c.stat("n", "m", 1, hist=True, seq=("a", 1)) is True
            assert await c.stat("n", "m", 1, hist=True, seq=("a", 1)) is None
            assert (await c.mstat("n", {"m": 1}, hist=True, seq=("a", 1))).is_repetition
            assert await c.log("n", "l", seq=("a", 1)) == 0
            async with c.pipeline() as pipe:
                (occurred,) = await pipe.error("n", "e", seq=("a", 1)).execute()
                assert occurred.is_repetition

    asyncio.run(main())


def test_errors_consume_no_number_and_partly_rejected_samples_do(client: agg.Client) -> None:
    client.stat("n", "known", 1)
    client.redis.config_set("agg.max-series", 1)
    try:
        with pytest.raises(agg.FullError):
            client.stat("n", "new", 1, seq=("a", 1))
        taken = client.mstat("n", {"known": 2, "new": 1}, seq=("b", 1))
        assert (taken.taken, len(taken.refused)) == (1, 1)
    finally:
        client.redis.config_set("agg.max-series", 20000)
    assert client.stat("n", "new", 1, seq=("a", 1)) is True
    # The rejected sample has to be sent again under a new number.
    assert client.mstat("n", {"new": 2}, seq=("b", 1)).is_repetition
    assert client.mstat("n", {"new": 2}, seq=("b", 2)).taken == 1
    for bad in [("", 1), ("x" * 257, 1), ("a", -1), ("a", 2**63)]:
        with pytest.raises(agg.ArgumentError, match="SEQ"):
            client.stat("n", "known", 1, seq=bad)


def test_hist_adds_percentiles_to_the_records(any_client: agg.Client) -> None:
    assert any_client.mstat("n", [("m", i) for i in range(1, 11)], hist=True).taken == 10
    assert any_client.stat("n", "one", 7, kind="DIFF", hist=True)
    any_client.forget("n", "METRIC", "m")
    (entry,) = any_client.pop("n", "MIN")
    assert '"p50":5' in entry.text and '"p99":10' in entry.text


def test_recorder_sends_hist_with_the_samples_that_have_it(url: str, client: agg.Client) -> None:
    with agg.Recorder("n", url, interval=60) as r:
        for i in range(1, 11):
            r.stat("m", i, hist=True)
            r.stat("plain", i)
    assert r.counts == agg.Counts(sent=20)
    for metric in ("m", "plain"):
        client.forget("n", "METRIC", metric)
    first, second = client.pop("n", "MIN", count=2)
    assert '"p50":5' in first.text and "p50" not in second.text


def test_reports_count_once_if_the_reply_is_lost(
    proxy: Proxy, url: str, client: agg.Client
) -> None:
    lost: list[bytes] = []

    def lose(data: bytes) -> tuple[bytes, bool]:
        # Replies of TIME are passed on: an array of two.
        if len(lost) < 3 and not data.startswith((b"*2", b"+", b"%", b"-")):
            lost.append(data)
            return b"", True
        return data, False

    with agg.Recorder("n", proxy.url, interval=60) as r:
        r.stat("warm-up", 1)
        assert r.flush()
        proxy.replies = lose
        r.log("l")
        r.error("e", key="k")
        r.stat("m", 2.5)
        r.stat("total", 1, kind="DIFF")
        r.reality("o", "m", {"a": 1})
        assert r.flush(20)
        counts = r.counts
    assert len(lost) == 3 and counts.failures == 3
    # The server had executed the reports, and sent the id of the log entry.
    assert lost[0].startswith(b":")
    assert (counts.sent, counts.late, counts.dropped) == (6, 0, {})
    assert logged(client) == ["l"]
    assert occurrences(client, "k") == 1
    assert samples(client, "m") == (1, 2.5)


def test_counts_are_exact_after_many_random_losses(
    proxy: Proxy, url: str, client: agg.Client
) -> None:
    """Requests and replies are cut at any byte."""
    chance = random.Random(15)
    cuts = {"requests": 0, "replies": 0}

    def cut(name: str) -> Callable[[bytes], tuple[bytes, bool]]:
        def cut_some(data: bytes) -> tuple[bytes, bool]:
            if chance.random() < 0.8:
                return data, False
            cuts[name] += 1
            return data[: chance.randrange(len(data) + 1)], True

        return cut_some

    rounds, each = 1400 if HEAVY else 150, 7
    with agg.Recorder("n", proxy.url, interval=60) as r:
        proxy.requests, proxy.replies = cut("requests"), cut("replies")
        for i in range(rounds):
            for j in range(each):
                r.log(f"{i * each + j}")
                r.error("e", key=f"k{j}")
                r.gauge(f"m{j}", i)
                r.histogram(f"h{j}", i, tags="x:y")
                r.increment(f"c{j}")
                r.increment(f"c{j}")
                r.increment(f"c{j}", i, tags={"i": "x"})
                r.adjust(f"a{j}", 1)
                r.aggregated(f"h{j}", {0: 2})
            assert r.flush(60)
        counts = r.counts
    assert cuts["requests"] > 50 and cuts["replies"] > 50 and counts.failures > 100
    assert counts.sent == rounds * each * 9 and not counts.dropped and not counts.late
    assert logged(client) == [str(i) for i in range(rounds * each)]
    for j in range(each):
        assert occurrences(client, f"k{j}") == rounds
        assert samples(client, f"m{j}") == (rounds, sum(range(rounds)))
        assert samples(client, f"h{j}") == (3 * rounds, sum(range(rounds)))
        assert samples(client, f"c{j}") == (3 * rounds, sum(range(rounds)) + 2 * rounds)
        # Each change has applied to the one before it.
        assert samples(client, f"a{j}") == (rounds, sum(range(rounds + 1)))
    info = client.info("n")
    assert info is not None and info.sources == 1


def test_child_of_a_fork_is_another_source(proxy: Proxy, url: str, client: agg.Client) -> None:
    """The parent resends what the child's reports, under equal numbers, must not displace."""
    r = agg.Recorder("n", proxy.url, interval=60)
    parent = r._numbering.source
    proxy.replies = lambda data: (b"", True) if data.startswith((b":", b"_")) else (data, False)
    r.log("parent")
    assert not r.flush(0.3)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            r._server = url
            r._connection._server = url
            other = r._numbering.source != parent
            for _ in range(5):
                r.log("child")
            status = 0 if r.flush(20) and other and r.counts.sent == 5 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    proxy.replies = lambda data: (data, False)
    r.log("parent again")
    assert r.flush(20) and r.close()
    assert r._numbering.source == parent and r.counts.sent == 2
    assert sorted(logged(client)) == ["child"] * 5 + ["parent", "parent again"]
    info = client.info("n")
    assert info is not None and info.sources == 2


def test_every_recorder_has_a_source_of_its_own() -> None:
    sources = {agg.Recorder("n", "redis://127.0.0.1:1")._numbering.source for _ in range(100)}
    assert len(sources) == 100 and max(map(len, sources)) <= 256


def test_source_of_a_long_host_name_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 1000)
    assert 64 < len(numbering.new_source()) <= 256


def test_server_without_seq_takes_reports_without_numbers(
    proxy: Proxy, url: str, client: agg.Client, caplog: pytest.LogCaptureFixture
) -> None:
    # The server does not know QES, and replies as one that does not know SEQ.
    proxy.requests = lambda data: (data.replace(b"\nSEQ\r", b"\nQES\r"), False)
    proxy.replies = lambda data: (data.replace(b"'QES'", b"'SEQ'"), False)
    with caplog.at_level(logging.WARNING, "agg"), agg.Recorder("n", proxy.url, interval=60) as r:
        for i in range(3):
            r.log(f"{i}")
            r.error("e", key="k")
            r.stat("m", i)
            r.reality("o", "m", {"a": i})
            assert r.flush()
        assert r.counts == agg.Counts(sent=12)
    assert [record.message.partition(":")[0] for record in caplog.records] == ["agg"]
    assert "rejects SEQ" in caplog.text
    assert logged(client) == ["0", "1", "2"] and occurrences(client, "k") == 3
    assert samples(client, "m") == (3, 3.0)
    # Only the first two sends had numbers: the batch that goes ahead, and the others with it.
    assert r._numbering._last == 3


def test_server_without_columns_takes_the_same_samples_in_more_commands(
    proxy: Proxy, url: str, client: agg.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that knows neither SEQ nor COLUMNS nor INC, as 0.1."""
    unknown = {b"SEQ": b"QES", b"COLUMNS": b"COLUMNZ", b"INC": b"ICN"}

    def requests(data: bytes) -> tuple[bytes, bool]:
        for word, other in unknown.items():
            data = data.replace(b"\n%s\r" % word, b"\n%s\r" % other)
        return data, False

    def replies(data: bytes) -> tuple[bytes, bool]:
        for word, other in unknown.items():
            data = data.replace(b"'%s'" % other, b"'%s'" % word)
        return data, False

    proxy.requests, proxy.replies = requests, replies
    with caplog.at_level(logging.WARNING, "agg"), agg.Recorder("n", proxy.url, interval=60) as r:
        for i in range(3):
            r.log(f"{i}")
            r.gauge("m", i)
            r.gauge("t", i, tags={"a": "b"})
            r.total("d", i, at=int(time.time() * 1000))
            r.increment("c")
            r.increment("c")
            r.increment("c", 7)
            r.stat("x", 1, times=2)
            assert r.flush()
        counts = r.counts
    # What the server cannot take is counted, and logged once.
    assert counts.sent == 4 * 3 and counts.dropped == {"refused": 4 * 3} and not counts.failures
    seq, other = (record.message.partition(";")[0] for record in caplog.records)
    assert seq.startswith("agg: the server rejects SEQ")
    assert other == (
        "agg: the server rejects reports: ArgumentError: AGG.MSTAT: unknown option 'COLUMNS'"
    )
    assert logged(client) == ["0", "1", "2"]
    assert samples(client, "m") == samples(client, "t") == (3, 3.0)
    assert set(client.names("n", "METRIC")) == {"m", "t", "d"}


def test_upgraded_server_gets_numbers_and_columns_again(
    proxy: Proxy, url: str, client: agg.Client
) -> None:
    proxy.requests = lambda data: (data.replace(b"\nSEQ\r", b"\nQES\r"), False)
    proxy.replies = lambda data: (data.replace(b"'QES'", b"'SEQ'"), False)
    with agg.Recorder("n", proxy.url, interval=60) as r:
        r.gauge("m", 1)
        assert r.flush()
        assert not r._numbering._is_supported
        proxy.requests, proxy.replies = pass_on, lambda data: (b"", True)
        r.gauge("m", 2)
        assert not r.flush(0.2)
        proxy.replies = pass_on
        assert r.flush(20)
        r.gauge("m", 3)
        assert r.flush(20) and r._numbering._is_supported
    info = client.info("n")
    assert info is not None and info.sources == 1


def is_replaced(client: agg.Client, source: str) -> bool:
    """Adds a source to another node. Returns whether it has replaced one."""
    client.stat("other", "m", 1, seq=(source, 1))
    info = client.info("other")
    return info is not None and info.sources_dropped > 0


def test_samples_count_while_memory_does_not_suffice_for_a_source(
    url: str, client: agg.Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.stat("n", "m", 1)
    client.stat("other", "m", 1)
    before = client.redis.config_get("agg.max-memory")
    client.redis.config_set("agg.max-memory", 1 << 20)
    try:
        metrics = ({f"fill{i}-{j}": 1 for j in range(1000)} for i in count())
        wait_until("no metric fits", lambda: client.mstat("n", next(metrics)).refused)
        # Fewer than agg.max-sources.
        assert any(is_replaced(client, f"{i:0256}") for i in range(1000))
        with pytest.raises(agg.FullError):
            client.stat("n", "m", 1, seq=("x" * 256, 1))
        with caplog.at_level(logging.WARNING, "agg"), agg.Recorder("n", url, interval=60) as r:
            # Takes more memory than is left.
            r._numbering.source = b"s" * 256
            r.stat("m", 2)
            r.log("l")
            assert r.flush()
            assert r.counts.sent == 1 and r.counts.dropped == {"refused": 1}
            client.redis.config_set("agg.max-memory", *before.values())
            r.stat("m", 3)
            assert r.flush()
        assert "rejects SEQ" in caplog.text
    finally:
        client.redis.config_set("agg.max-memory", *before.values())
    assert samples(client, "m") == (3, 6.0)
    # Numbers are used again when there is memory.
    info = client.info("n")
    assert info is not None and info.sources == 1


@pytest.mark.parametrize("times", [1, 3, 4])
def test_report_waits_for_memory_for_its_source(
    proxy: Proxy, url: str, client: agg.Client, caplog: pytest.LogCaptureFixture, times: int
) -> None:
    """The server has no memory for the source for the first few attempts."""
    full = 0

    def reject(data: bytes) -> tuple[bytes, bool]:
        nonlocal full
        if b"\nAGG." not in data or b"\nSEQ\r" not in data or full >= times:
            return data, False
        full += 1
        for name in (b"LOG", b"ERROR", b"MSTAT"):
            # The server does not execute the command.
            data = data.replace(b"\nAGG.%s\r" % name, b"\nAGX.%s\r" % name)
        return data, False

    def is_full(data: bytes) -> tuple[bytes, bool]:
        unknown = rb"-ERR unknown command 'AGX\.[^\r]*"
        return re.sub(unknown, b"-AGGFULL agg.max-memory (1 bytes) reached", data), False

    with caplog.at_level(logging.WARNING, "agg"), agg.Recorder("n", proxy.url, interval=60) as r:
        proxy.requests, proxy.replies = reject, is_full
        r.increment("c")
        r.increment("c", 2)
        r.gauge("g", 1)
        assert r.flush(20)
        r.log("l")
        r.error("e", key="k")
        assert r.flush(20)
        counts = r.counts
    assert counts.sent == 5 and counts.failures == min(times, 3) and not counts.dropped
    assert samples(client, "c") == (2, 3.0) and samples(client, "g") == (1, 1.0)
    assert logged(client) == ["l"] and occurrences(client, "k") == 1
    # After three more attempts, samples are sent without a number.
    assert ("rejects SEQ" in caplog.text) == (times > 3)
    assert r._numbering._last == 3


def test_log_entry_waits_for_memory_for_its_source_only(
    proxy: Proxy, url: str, client: agg.Client
) -> None:
    """An AGGFULL of a log entry may be of the source, until the server has taken its number."""
    for is_known in (False, True):
        proxy.requests, proxy.replies = pass_on, pass_on
        with agg.Recorder("n", proxy.url, interval=60) as r:
            if is_known:
                r.gauge("m", 1)
                assert r.flush()
            proxy.requests = lambda data: (data.replace(b"AGG.LOG", b"AGG.LOX"), False)
            proxy.replies = lambda data: (
                re.sub(rb"-ERR unknown command 'AGG.LOX[^\r]*", b"-AGGFULL no memory", data),
                False,
            )
            r.log("l")
            assert r.flush(20)
            assert r.counts.failures == (0 if is_known else 3)
            assert r.counts.dropped == {"refused": 1}


NOT_READY = ["LOADING", "READONLY", "CLUSTERDOWN", "BUSY", "NOREPLICAS", "MISCONF", "OOM"]


def answer_not_ready(
    proxy: Proxy, error: str, pattern: bytes, replacement: bytes, count: int = 0
) -> list[bytes]:
    """Replaces the commands that `pattern` matches in the first data with one; answers `error`.

    Returns a list that holds this data once it has passed.
    """
    rejected: list[bytes] = []

    def reject(data: bytes) -> tuple[bytes, bool]:
        changed, found = re.subn(pattern, replacement, data, count=count)
        if not rejected and found:
            rejected.append(data)
            return changed, False
        return data, False

    def not_ready(data: bytes) -> tuple[bytes, bool]:
        unknown = rb"-ERR unknown command 'AGG.LOX'[^\r]*"
        return re.sub(unknown, b"-%s not ready" % error.encode(), data), False

    proxy.requests, proxy.replies = reject, not_ready
    return rejected


@pytest.mark.parametrize("error", NOT_READY)
def test_no_report_overtakes_one_that_a_server_was_not_ready_for(
    proxy: Proxy,
    url: str,
    client: agg.Client,
    caplog: pytest.LogCaptureFixture,
    error: str,
) -> None:
    """The server rejects up to two reports, and then takes those that follow without a pause."""
    with agg.Recorder("n", proxy.url, interval=60) as r:
        r.stat("warm-up", 1)
        assert r.flush()
        rejected = answer_not_ready(proxy, error, rb"AGG\.LOG", b"AGG.LOX", count=2)
        for i in range(5):
            r.log(f"{i}")
        assert r.flush(20)
        assert r.counts.sent == 6 and r.counts.failures == 1
    assert rejected and logged(client) == ["0", "1", "2", "3", "4"]
    assert "not ready" in caplog.text


# LOADING comes first on a connection, where one report goes ahead of the others.
@pytest.mark.parametrize("error", NOT_READY[1:])
def test_report_that_others_overtook_gets_a_new_number(
    proxy: Proxy, url: str, client: agg.Client, error: str
) -> None:
    """The server rejects one report in the middle, and takes those behind it."""
    with agg.Recorder("n", proxy.url, interval=60) as r:
        r.stat("warm-up", 1)
        assert r.flush()
        third = rb"AGG\.LOG(\r\n\$1\r\nn\r\n\$1\r\n2\r\n)"
        rejected = answer_not_ready(proxy, error, third, rb"AGG.LOX\1")
        for i in range(5):
            r.log(f"{i}")
        assert r.flush(20)
        assert r.counts.sent == 6 and r.counts.failures == 1
    assert len(rejected) == 1 and logged(client) == ["0", "1", "3", "4", "2"]


def test_recorder_numbers_in_the_order_of_sending(url: str, client: agg.Client) -> None:
    sent: list[Command[Any]] = []
    with agg.Recorder("n", url, interval=60) as r:
        execute = r._connection.execute

        def record(commands: Any) -> list[Any]:
            sent.extend(commands := list(commands))
            return execute(commands)

        r._connection.execute = record  # type: ignore[method-assign]
        for i in range(3):
            r.log(f"{i}")
            r.reality("o", "m", i)
            r.stat("m", i, at=int(time.time() * 1000), tags=f"t:{i}")
            assert r.flush()
    numbers = [
        command.args[command.args.index(b"SEQ") + 2] for command in sent if b"SEQ" in command.args
    ]
    assert numbers == [b"%d" % n for n in range(1, 7)]
    wait_until("all is sent", lambda: not r.counts.waiting)
