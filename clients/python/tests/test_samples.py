"""What the recorder's samples become: types, columns, increments that are added up."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from support import LONG_WINDOWS, Server, wait_until

import agg
from agg import batching
from agg.batching import Queued, encode_samples

NOW = int(time.time() * 1000)


def metric(client: agg.Client, name: str) -> agg.Metric:
    found = client.get_metric("n", name)
    assert found is not None, name
    return found


def commands(*samples: Queued, tags: bytes = b"") -> list[str]:
    batches, unusable, why = encode_samples(b"n", list(samples), tags, 100, 1_760_000_000.0)
    assert not unusable, why
    return [str(batch.command) for batch in batches]


def sample(name: str, value: Any, kind: Any = "ABS", **options: Any) -> Queued:
    given = {"hist": False, "times": 1, "tags": None, "at": 100.0, **options}
    return (name, value, kind, given["hist"], given["times"], given["tags"], given["at"])


def test_every_method_reports_its_type(url: str, client: agg.Client) -> None:
    with agg.Recorder("n", url, tags="app:shop") as r:
        r.increment("orders")
        r.increment("orders", 2.5, tags={"page": "cart"})
        r.gauge("length", 17)
        r.adjust("length", -3)
        r.adjust("sessions", 1)
        r.histogram("size", 4096)
        r.timing("query", 12.5)
        r.timing("query", timedelta(seconds=1.5), tags="unit:ms")
        r.total("rx", 1000, at=NOW - 2000)
        r.total("rx", 3000, at=NOW - 1000)
        r.stat("page.ms", 320, hist=True, times=10)
        r.stat("sampled", 2, kind="INC", times=5)
    assert r.counts == agg.Counts(sent=12)
    orders, rx = metric(client, "orders"), metric(client, "rx")
    assert (orders.type, orders.samples, orders.total) == ("INC", 2, 3.5)
    assert orders.tags == {"app": "shop", "page": "cart"}
    assert (rx.type, rx.total) == ("DIFF", 2000)
    length = metric(client, "length")
    assert (length.type, length.samples, length.last, length.min[0].sum) == ("ABS", 2, 14, 31)
    assert metric(client, "sessions").last == 1 and metric(client, "sessions").total is None
    assert metric(client, "size").min[0].percentiles["p99"] == 4096
    query = metric(client, "query")
    assert query.min[0].percentiles == {"p50": 12.5, "p90": 1500, "p95": 1500, "p99": 1500}
    assert query.tags == {"app": "shop", "unit": "ms"} and not length.min[0].percentiles
    assert (metric(client, "page.ms").samples, metric(client, "page.ms").min[0].sum) == (10, 3200)
    assert (metric(client, "sampled").samples, metric(client, "sampled").total) == (5, 10)


def test_aggregated_samples_are_one_report(url: str, client: agg.Client) -> None:
    with agg.Recorder("n", url, tags="app:shop") as r:
        r.aggregated("ms", Counter([5, 5, 7]), sum=17.5, tags={"unit": "ms"})
        r.aggregated("ms", [(5, 1)], at=NOW)
        r.aggregated("ms", [(5, 1)], at=NOW - 400 * 86_400_000)
        r.aggregated("ms", {5: 0})
        r.aggregated("ms", 5)  # type: ignore[arg-type]
    assert (r.counts.sent, r.counts.late) == (2, 1)
    assert r.counts.dropped == {"refused": 1, "unusable": 1}
    ms = metric(client, "ms")
    assert (ms.samples, ms.min[0].sum, ms.min[0].percentiles["p50"]) == (4, 22.5, 5)


def test_timer_has_percentiles(url: str, client: agg.Client) -> None:
    with agg.Recorder("n", url) as r:
        for _ in range(3):
            with agg.timer("t", recorder=r) as took:
                pass
    assert took.elapsed > 0
    t = metric(client, "t")
    assert t.samples == 3 and t.tags == {"unit": "ms"}
    assert t.min[0].percentiles["p99"] == t.min[0].max > 0


def test_one_command_has_the_columns_that_it_needs() -> None:
    assert commands(sample("a", 1)) == ["AGG.MSTAT n AT 1760000100000 VALUES a 1"]
    assert commands(sample("a", 1, "DIFF", hist=True), sample("b", 2, "DIFF", hist=True)) == [
        "AGG.MSTAT n DIFF HIST AT 1760000100000 VALUES a 1 b 2"
    ]
    assert commands(sample("a", 1, tags="x:y"), sample("b", 2), tags=b"app:shop") == [
        "AGG.MSTAT n TAGS app:shop AT 1760000100000 COLUMNS METRIC VALUE TAGS VALUES "
        "a 1 'app:shop x:y' b 2 ''"
    ]
    assert commands(sample("a", 1, hist=True), sample("b", 2, at=100.25)) == [
        "AGG.MSTAT n COLUMNS METRIC VALUE HIST AT VALUES a 1 1 1760000100000 b 2 0 1760000100200"
    ]
    assert commands(sample("a", 1, times=7)) == [
        "AGG.MSTAT n AT 1760000100000 COLUMNS METRIC VALUE TIMES VALUES a 1 7"
    ]
    # 64 samples that share everything are cheaper in a command of their own.
    many = [sample("m", i) for i in range(2064)]
    assert [len(each.split()) for each in commands(*many, sample("a", 1, "DIFF"))] == [
        5 + 2000,
        5 + 2000,
        5 + 128,
        6 + 2,
    ]


def test_equal_tags_are_one_option() -> None:
    tags: list[Any] = [{"v": 1}, {"v": 1}, {"v": True}, {"v": 1.0}, "v:1", {"v": [1]}, {}]
    (command,) = commands(*(sample("a", i, tags=each) for i, each in enumerate(tags)))
    assert command.endswith(
        "TAGS VALUES a 0 v:1 a 1 v:1 a 4 v:1 a 2 v a 3 v:1.0 a 5 'v:[1]' a 6 ''"
    )


def test_equal_increments_of_a_second_are_one_sample() -> None:
    samples = [sample("hits", 1, "INC", at=100 + i / 100) for i in range(150)]
    samples += [sample("hits", 2, "INC", at=100.5), sample("bytes", 1, "INC", at=100.9)]
    samples += [sample("hits", 3, "INC", times=2), sample("hits", 3, "INC", times=2)]
    assert commands(*samples) == [
        "AGG.MSTAT n INC COLUMNS METRIC VALUE TIMES AT VALUES "
        "hits 1 100 1760000100000 hits 2 '' 1760000100000 bytes 1 '' 1760000100000 "
        "hits 1 50 1760000101000 hits 3 2 1760000100000 hits 3 2 1760000100000"
    ]


def test_sum_and_count_of_increments_are_those_of_the_reports(url: str, client: agg.Client) -> None:
    chance = random.Random(15)
    values = [0, 1, 1, 1, 1, 0.5, 0.1, 2, 7, 1e6]
    expected: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    with agg.Recorder("n", url, interval=60) as r:
        for _ in range(20_000):
            name, value = f"c{chance.randrange(5)}", chance.choice(values)
            r.increment(name, value, tags={"t": name} if chance.random() < 0.1 else None)
            expected[name] += round(value * 10)
            calls[name] += 1
    assert r.counts == agg.Counts(sent=20_000)
    for name, n in calls.items():
        found = metric(client, name)
        assert found.samples == found.min[0].count == n
        # A tenth is no binary fraction.
        assert abs(found.min[0].sum - expected[name] / 10) < 1e-6 * expected[name]


def test_changes_apply_to_the_value_before_them(url: str, client: agg.Client) -> None:
    chance = random.Random(15)
    last: dict[str, int] = dict.fromkeys(("a", "b", "c"), 0)
    sums = dict(last)
    with agg.Recorder("n", url, interval=60) as r:
        for i in range(5000):
            name = chance.choice("abc")
            value = chance.randrange(-50, 50)
            tags = chance.choice([None, "x:y", {"i": i % 3}])
            if chance.random() < 0.3:
                last[name] = value
                r.gauge(name, value, tags=tags)
            else:
                last[name] += value
                r.adjust(name, value, tags=tags)
            sums[name] += last[name]
            r.gauge("other", i)
    assert r.counts.sent == 10_000
    for name in "abc":
        found = metric(client, name)
        assert (found.last, found.min[0].sum) == (last[name], sums[name])
    assert metric(client, "other").last == 4999


def test_every_report_of_a_sum_is_counted(url: str, client: agg.Client) -> None:
    client.stat("n", "gauge", 1)
    with agg.Recorder("n", url, interval=60) as r:
        for _ in range(10):
            r.increment("hits")
            r.increment("gauge")  # Another type: rejected.
            r.increment("negative", -1)
            r.increment("old", at=NOW - 400 * 86_400_000)
        for i in range(3):
            r.increment("gauge", i)
            r.increment("hits", i)
        r.increment("hits", "x")
        r.increment("hits", None)  # type: ignore[arg-type]
    counts = r.counts
    assert (counts.sent, counts.late) == (10 + 10 + 3, 0), counts
    assert counts.dropped == {"refused": 10 + 10 + 3 + 2}


def test_late_reports_of_a_sum_are_counted_as_late(url: str, client: agg.Client) -> None:
    client.stat("n", "hits", 1, kind="INC")
    with agg.Recorder("n", url, interval=60) as r:
        for _ in range(10):
            r.increment("hits", at=NOW - 400 * 86_400_000)
            r.increment("hits")
        r.increment("hits", -1, at=NOW - 400 * 86_400_000)
    assert (r.counts.sent, r.counts.late) == (10, 10), r.counts
    assert r.counts.dropped == {"refused": 1}
    assert metric(client, "hits").samples == 11 and metric(client, "hits").late == 10


def test_invalid_sample_affects_no_other(url: str, client: agg.Client) -> None:
    bad: list[Any] = [{"kind": "FOO"}, {"kind": ["ABS"]}, {"times": 0}, {"times": "x"}, {"at": 17}]
    bad += [{"times": 1.5}, {"hist": []}, {"tags": 5}, {"tags": ":v"}, {"kind": "DIFF", "times": 2}]
    with agg.Recorder("n", url, interval=60) as r:
        for i, options in enumerate(bad):
            r.stat("good", i)
            r.stat("bad", 1, **options)
        r.adjust([], 1)  # type: ignore[arg-type]
        r.adjust(None, 1)  # type: ignore[arg-type]
        r.increment([], 1)  # type: ignore[arg-type]
    assert r.counts.sent == len(bad), r.counts
    assert r.counts.dropped == {"unusable": 9, "refused": 4}, r.counts
    assert list(client.names("n", "METRIC")) == ["good"]


def test_commands_have_at_most_a_thousand_samples() -> None:
    samples = [sample(f"m{i % 700}", i, "DIFF", at=100 + i / 1000) for i in range(5000)]
    batches, _, _ = encode_samples(b"n", samples, b"", 100, 0.0)
    assert [batch.reports for batch in batches] == [1000] * 5
    assert batching.SampleBatch(b"n", b"", batches[0]._runs[:3]).reports == 3


def test_increments_are_added_up_while_the_server_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.02)
    own = Server(settings=LONG_WINDOWS)
    try:
        with agg.Recorder("n", own.url, interval=0.01, max_samples=1000) as r:
            r.gauge("m", 1)
            assert r.flush()
            own.stop()
            for i in range(100):
                wait_until("the queue is short", lambda: len(r._samples) < 600)
                for _ in range(100):
                    r.increment("a")
                    r.increment("b", 2, tags={"x": "y"})
                r.gauge("m", i)
            r.increment("c", tags=5)  # type: ignore[arg-type]
            counts = r.counts
            assert counts.waiting + counts.dropped.get("unusable", 0) == 20_101
            own.start()
            assert r.flush(30)
            assert r.counts.sent == 20_101 and r.counts.dropped == {"unusable": 1}
        with agg.Client(own.url) as client:
            a, b, m = metric(client, "a"), metric(client, "b"), metric(client, "m")
            assert (a.samples, a.total, b.samples, b.total) == (10_000, 10_000, 10_000, 20_000)
            assert (m.samples, m.last) == (100, 99)
    finally:
        own.close()


def test_increments_that_differ_are_bounded_while_the_server_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.02)
    own = Server(settings=LONG_WINDOWS)
    try:
        r = agg.Recorder("n", own.url, interval=0.01, max_samples=1000)
        r.gauge("m", 1)
        assert r.flush()
        own.stop()
        for i in range(20_000):
            r.increment("bytes", i)
            if i % 1000 == 0:
                time.sleep(0.05)
        counts = r.counts
        # In flight and in the queue, each up to 1,000 and what was moved at once.
        assert counts.waiting <= 3000 and counts.dropped["full"] >= 17_000
        assert counts.waiting + counts.dropped["full"] == 20_000
        assert not r.close(0)
    finally:
        own.close()
