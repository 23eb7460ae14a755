"""Every command, in RESP2 and RESP3, on connections that decode and that do not."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import redis

import agg
from agg import records
from agg.command import Command

# A start of windows, long past.
HOUR = (1_760_000_000_000 // 2_419_200_000) * 2_419_200_000


def test_statistics_are_reported_and_read(any_client: agg.Client) -> None:
    c = any_client
    assert c.stat("n", "load@0", 1.5, tags={"unit": "load", "hot": True})
    assert c.stat("n", "load@0", Decimal("2.50"), kind="ABS")
    assert c.mstat("n", {"rx": 2**64 - 1}, kind="DIFF") == agg.Taken(1, 0, [])
    assert c.mstat("n", [("a", 1), ("b", "x"), ("rx", 1)]).refused[0][0] == 1
    load = c.get_metric("n", "load@0")
    assert load is not None
    assert (load.type, load.tags, load.last) == ("ABS", {"unit": "load", "hot": True}, 2.5)
    assert (load.samples, load.min[0].sum, load.hour[0].count) == (2, 4.0, 2)
    rx = c.get_metric("n", "rx")
    assert rx is not None and rx.last == 2**64 - 1 and rx.type == "DIFF"
    (open_one,) = c.range("n", "load@0", "HOUR")
    assert open_one == load.hour[0] and not open_one.closed
    assert c.range("n", "load@0", "MIN", end=datetime(2001, 1, 1, tzinfo=timezone.utc)) == []
    assert c.range("n", "nothing", "MIN") == []
    assert c.scan("n", "METRIC", match="load*") == (0, ["load@0"])
    assert dict(c.scan_values("n", "METRIC", count=100)[1])["load@0"] == load
    assert set(c.names("n", "METRIC")) == {"load@0", "rx", "a"}
    assert c.forget("n", "METRIC", "load@0") and not c.forget("n", "METRIC", "load@0")
    (record,) = [e.record for e in c.pop("n", "MIN")]
    assert isinstance(record, agg.StatRecord)
    assert (record.metric, record.count, record.avg) == ("load@0", 2, 2.0)
    assert record.tags == {"unit": "load", "hot": True}
    (line,) = c.peek("n", "HOUR", format="LINE")
    assert line.text.startswith("load,hot=true,instance=0,node=n,unit=load")


def test_types_of_samples(any_client: agg.Client) -> None:
    c = any_client
    assert c.stat("n", "hits", 3, kind="INC") and c.stat("n", "hits", 0.5, kind="INC", times=4)
    assert c.stat("n", "open", 5) and c.stat("n", "open", -2, kind="ADD", hist=True)
    assert c.mstat("n", {"hits": 1, "open": 1}, kind="ADD").refused[0][0] == 0
    hits, open_ = c.get_metric("n", "hits"), c.get_metric("n", "open")
    assert hits is not None and open_ is not None
    assert (hits.type, hits.samples, hits.total, hits.min[0].sum, hits.last) == (
        "INC",
        5,
        5,
        5,
        0.5,
    )
    assert (open_.type, open_.last, open_.total) == ("ABS", 4, None)
    for times in (0, 2**32 + 1):
        with pytest.raises(agg.ArgumentError, match="TIMES"):
            c.stat("n", "hits", 1, kind="INC", times=times)
    with pytest.raises(agg.ArgumentError, match="must not be negative; use ADD"):
        c.stat("n", "hits", -1, kind="INC")
    info = c.info("n")
    assert info is not None and (info.inc_slot, info.suspect_diff, info.forgotten) == (10, 0, 0)


def test_samples_have_options_of_their_own(any_client: agg.Client) -> None:
    c = any_client
    now = datetime.now(timezone.utc)
    rows = [
        agg.Sample("load", 0.7),
        agg.Sample("hits", 3, "INC", times=2),
        agg.Sample("ms", 12.5, hist=True, tags={"unit": "ms"}, at=now),
        agg.Sample("rx", 17, kind="DIFF"),
        agg.Sample("old", 1, at=HOUR),
        agg.Sample("hits", "x", "INC"),
    ]
    taken = c.mstat("n", rows, tags="app:shop", seq=("a", 1))
    assert (taken.taken, taken.late) == (5, 0)
    assert taken.refused == [(5, "invalid value 'x': expected a decimal number")]
    assert c.mstat("n", rows, tags="app:shop", seq=("a", 1)).is_repetition
    found = dict(c.scan_values("n", "METRIC", count=100)[1])
    assert {name: (m.type, m.samples, m.tags) for name, m in found.items()} == {  # type: ignore[union-attr]
        "load": ("ABS", 1, {"app": "shop"}),
        "hits": ("INC", 2, {"app": "shop"}),
        "ms": ("ABS", 1, {"unit": "ms"}),
        "rx": ("DIFF", 1, {"app": "shop"}),
        "old": ("ABS", 1, {"app": "shop"}),
    }
    ms = found["ms"]
    assert isinstance(ms, agg.Metric) and ms.at == agg.to_ms(now)
    # The option of the command applies to samples without one of their own.
    rows = [agg.Sample("a", 1), agg.Sample("b", 1, hist=False), agg.Sample("c", 1, kind="INC")]
    assert c.mstat("n", rows, hist=True, kind="DIFF").taken == 3
    assert [c.get_metric("n", name).type for name in "abc"] == ["DIFF", "DIFF", "INC"]  # type: ignore[union-attr]
    with pytest.raises(agg.ArgumentError, match="sample 1: invalid value 'x'"):
        c.mstat("n", [agg.Sample("d", 1, "INC"), ("d", "x")], atomic=True)


def test_aggregated_samples_are_merged(any_client: agg.Client) -> None:
    c = any_client
    assert c.hist("n", "ms", Counter([5, 5, 7.5]), seq=("a", 1)) is True
    assert c.hist("n", "ms", Counter([5, 5, 7.5]), seq=("a", 1)) is None
    assert c.hist("n", "ms", [(10, 7), (Decimal("20.0"), 1)], sum=85.5, min=9, max=11.5, tags="x:y")
    assert c.hist("n", "ms", {1: 1}, at=HOUR) is False
    ms = c.get_metric("n", "ms")
    assert ms is not None and (ms.type, ms.samples, ms.late, ms.tags) == ("ABS", 11, 1, {"x": "y"})
    (window,) = ms.min
    assert (window.count, window.sum, window.min, window.max) == (11, 103, 5, 11.5)
    assert window.percentiles == {"p50": 10, "p90": 10, "p95": 11.5, "p99": 11.5}
    with pytest.raises(agg.ArgumentError, match="MIN"):
        c.hist("n", "ms", {1: 1}, min=2, max=1)
    with pytest.raises(agg.ArgumentError, match="wrong number of arguments"):
        c.hist("n", "ms", {})
    with c.pipeline() as pipe:
        assert pipe.hist("n", "ms", {1: 1}).hist("n", "other", {1: 2**32}).execute() == [True, True]


def test_commands_leave_out_columns_that_are_not_needed() -> None:
    def words(*rows: Any, **options: Any) -> str:
        return str(agg.commands.mstat("n", rows, **options))

    assert words(agg.Sample("a", 1), ("b", 2)) == "AGG.MSTAT n VALUES a 1 b 2"
    assert words(agg.Sample("a", 1, hist=True), hist=True) == "AGG.MSTAT n HIST VALUES a 1"
    assert words(agg.Sample("a", 1, hist=False), ("b", 2), hist=True) == (
        "AGG.MSTAT n HIST COLUMNS METRIC VALUE HIST VALUES a 1 0 b 2 1"
    )
    assert words(agg.Sample("a", 1, times=3), agg.Sample("b", 2, tags="")) == (
        "AGG.MSTAT n COLUMNS METRIC VALUE TIMES VALUES a 1 3 b 2 ''"
    )


def test_records_have_percentiles_and_histograms(any_client: agg.Client) -> None:
    c = any_client
    before = c.redis.config_get("agg.percentiles")
    c.redis.config_set("agg.percentiles", "50 99.9")
    c.redis.config_set("agg.hist-records", "yes")
    try:
        c.mstat("n", [("ms", i) for i in (1, 0, -2, 4)], hist=True)
        c.stat("n", "plain", 1)
        metric = c.get_metric("n", "ms")
        assert metric is not None
        assert metric.min[0].percentiles == {"p50": 0, "p99_9": 4}
        assert c.range("n", "ms", "HOUR")[0].percentiles == {"p50": 0, "p99_9": 4}
        assert c.range("n", "plain", "HOUR")[0].percentiles == {}
        assert c.forget("n", "METRIC", "ms") and c.forget("n", "METRIC", "plain")
    finally:
        c.redis.config_set("agg.percentiles", *before.values())
        c.redis.config_set("agg.hist-records", "no")
    ms, plain = (entry.record for entry in c.pop("n", "MIN"))
    assert isinstance(ms, agg.StatRecord) and isinstance(plain, agg.StatRecord)
    assert ms.percentiles == {"p50": 0, "p99_9": 4} and plain.percentiles == {}
    assert ms.hist == agg.Histogram(scale=5, zero=1, pos=(-1, [1, *[0] * 63, 1]), neg=(31, [1]))
    assert plain.hist is None


def test_fields_of_newer_servers_are_ignored() -> None:
    """Adds unknown fields to every kind of reply and record."""
    window = {"start": 0, "end": 300_000, "count": 1, "closed": 1, "new": 1, "": 2, "p": "x"}
    window |= dict.fromkeys(("sum", "avg", "min", "max", "last", "p99_99"), "1.5")
    bucket = records.parse_bucket({k.encode(): v for k, v in window.items()})
    assert bucket.percentiles == {"p99_99": 1.5} and bucket.closed
    numbers = ["at", "samples", "late", "late-min", "restarts", "gaps", "tag-changes", "new"]
    metric: dict[str, Any] = dict.fromkeys(numbers, 1)
    metric |= {"name": "m", "type": "NEW", "last": "1", "tags": [], "min": [window], "hour": []}
    assert records.parse_metric(metric).type == "NEW" and records.parse_metric(metric).total is None
    stat = {**window, "node": "n", "queue": "MIN", "id": 1, "metric": "m", "type": "NEW"}
    stat |= dict.fromkeys(("sum", "avg", "min", "max", "last", "p99_99"), 1.5)
    stat |= {"window": 300, "hist": {"scale": 1, "zero": 2, "pos": [0, []], "neg": [0, []], "x": 1}}
    record = agg.Entry("n", "MIN", 1, 1, json.dumps(stat)).record
    assert isinstance(record, agg.StatRecord) and record.hist is not None
    assert record.hist.zero == 2 and record.percentiles == {"p99_99": 1.5}
    log = {"node": "n", "queue": "LOG", "id": 1, "message": "", "level": 1, "epoch": 1, "x": {}}
    assert isinstance(agg.Entry("n", "LOG", 1, 1, json.dumps(log)).record, agg.LogRecord)
    queue = dict.fromkeys(("length", "bytes", "oldest", "leased", "dropped", "new"), 1)
    names = "metrics errors realities bytes min-window hour-window late late-min clock-back new-one"
    info: dict[str, Any] = dict.fromkeys([*names.split(), "truncated"], 1)
    info |= {"refused": {"new": 1}, "queues": {"NEW": queue, "MIN": queue}}
    assert set(records.parse_info(info).queues) == {"NEW", "MIN"}


def test_times_are_converted(any_client: agg.Client) -> None:
    c = any_client
    now = datetime.now(timezone.utc)
    c.log("n", "x", at=now)
    (entry,) = c.peek("n", "LOG")
    assert isinstance(entry.record, agg.LogRecord)
    assert agg.to_datetime(entry.record.epoch) == now.replace(
        microsecond=now.microsecond // 1000 * 1000
    )
    naive = datetime.fromtimestamp(entry.record.epoch / 1000)
    assert agg.to_ms(naive) == entry.record.epoch
    with pytest.raises(agg.ArgumentError, match="looks like seconds"):
        c.log("n", "x", at=1_760_000_000)


def test_invalid_utf8_is_accepted_in_every_kind_of_report(url: str, client: agg.Client) -> None:
    """Python's file names may contain bytes escaped by `surrogateescape`."""
    name = b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    client.log("n", name)
    client.error("n", name)
    assert client.reality("n", name, "file", {name: [name, "\ud800"]}) == 1
    assert client.reality("n", name, "file", {name: [name, "\ud800"]}) == 0
    with agg.Recorder("n", url) as recorder:
        recorder.reality("other", "file", {"path": name})
    assert recorder.counts == agg.Counts(sent=1)
    line, error, changed, other = (e.record for e in client.pop("n", ["LOG", "ERROR", "REALITY"]))
    shown = "caf\ufffd.txt"
    assert line.message == error.message == shown  # type: ignore[union-attr]
    assert other.json == {"path": shown}  # type: ignore[union-attr]
    ((key, value),) = changed.json.items()  # type: ignore[union-attr]
    # A lone surrogate becomes a question mark, as does every invalid character next to it.
    assert key.replace("?", "\ufffd") == value[0].replace("?", "\ufffd") == shown


def test_errors_and_objects_are_reported_and_read(any_client: agg.Client) -> None:
    c = any_client
    reply = c.error(
        "n", "m", public="p", level=9, type="BUG", tags="a:b c", code="c", func="f", file="p",
        backtrace="b\nb", gid=1, nid=2, key="k", at=HOUR,
    )  # fmt: skip
    assert reply == agg.Occurred("k", 1)
    error = c.get_error("n", "k")
    assert error is not None and error.seen > 0
    (entry,) = c.fetch("n", "ERROR")
    assert entry.record == agg.ErrorRecord(
        "n", "ERROR", entry.id, "k", "m", "p", 9, "BUG", "c", "f", "p", "b\nb", 1, 2, 1, HOUR,
        HOUR, {"a": "b", "c": True}, severity="CRITICAL",
    )  # fmt: skip
    assert c.get_error("n", "other") is None

    nested = {"size": 2**70, "list": [1, None, True, "ü"]}
    assert c.reality("n", "sda", "system.Disk", nested, tags={"a": 1}, ttl=timedelta(hours=1)) == 1
    assert c.reality("n", "sda", "system.Disk", nested, tags={"a": 1}, ttl=3600) == 0
    assert c.reality("n", "sda", "system.Disk", 1, at=HOUR) == -1
    disk = c.get_reality("n", "sda")
    assert disk is not None
    assert (disk.json, disk.gone, disk.tags, disk.model) == (
        nested,
        False,
        {"a": "1"},
        "system.Disk",
    )
    assert c.requeue("n", "REALITY") == 0
    (entry,) = c.pop("n", "REALITY")
    assert isinstance(entry.record, agg.RealityRecord) and entry.record.json == nested
    assert c.requeue("n", "REALITY", match="sd*") == 1
    assert c.pop("n", "REALITY")
    assert c.forget("n", "REALITY", "sda")
    assert c.pop("n", "REALITY")[0].record.gone is True  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="JSON compliant"):
        c.reality("n", "sda", "m", float("nan"))
    assert [name for name, _ in c.scan_values("n", "ERROR")[1]] == ["k"]
    assert c.scan("n", "REALITY") == (0, [])


def test_records_are_leased_released_and_acknowledged(any_client: agg.Client) -> None:
    c = any_client
    levels: list[agg.arguments.Level] = [0, "info", "WARNING", 9]
    ids = [c.log("n", f"line {i}", level=level) for i, level in enumerate(levels)]
    got = c.fetch("n", ["ERROR", "LOG"], count=3, lease=timedelta(minutes=1))
    assert [(e.node, e.queue, e.id, e.deliveries) for e in got] == [
        ("n", "LOG", id, 1) for id in ids[:3]
    ]
    assert [(e.record.level, e.record.severity) for e in got] == [  # type: ignore[union-attr]
        (0, "TRACE"),
        (3, "INFO"),
        (5, "WARNING"),
    ]
    assert c.ack("n", "LOG", ids[0]) == 1
    assert c.nack("n", "LOG", ids[1:3]) == 2
    assert c.extend("n", "LOG", 60_000, ids) == 0
    assert [e.deliveries for e in c.fetch("n", "LOG", lease=60_000)] == [2, 2, 1]
    assert c.extend("n", "LOG", timedelta(seconds=5), ids) == 3
    assert c.fetch("n", "LOG", block=10) == []
    assert c.peek("n", "LOG", start=ids[2], rev=True)[0].id == ids[2]
    info = c.info("n")
    assert info is not None
    assert (info.queues["LOG"].length, info.queues["LOG"].leased) == (3, 3)
    assert info.min_window == 2419200 and info.refused["argument"] == 0
    assert c.info("other") is None
    assert c.nodes() == ["n"] and c.nodes(match="o*") == []
    assert c.server_info()["agg_log_length"] == 3


def test_names_may_contain_any_bytes(any_client: agg.Client) -> None:
    c = any_client
    node = b"n\xff \r\n"
    assert c.stat(node, b"m\xfe", 1)
    (name,) = c.names(node, "METRIC")
    assert name == b"m\xfe".decode("utf-8", "surrogateescape")
    (node_name,) = (
        c.nodes()
        if not c.redis.get_encoder().decode_responses
        else [node.decode("utf-8", "surrogateescape")]
    )
    metric = c.get_metric(node_name, name)
    assert metric is not None and metric.name == name
    c.log(node_name, b"\xff\x00\xfe half \xed")
    (entry,) = c.pop(node_name, "LOG")
    assert entry.node == node_name and entry.record.message == "�\x00� half �"  # type: ignore[union-attr]
    c.log(node, "half a pair \ud800")
    assert c.pop(node, "LOG")[0].record.message == "half a pair ?"  # type: ignore[union-attr]


def test_rejected_commands_raise(any_client: agg.Client) -> None:
    c = any_client
    c.stat("n", "m", 1)
    with pytest.raises(agg.ArgumentError, match=r"^AGG.STAT: metric 'm' is ABS, the sample DIFF"):
        c.stat("n", "m", 1, kind="DIFF")
    with pytest.raises(agg.ArgumentError, match="invalid value 'nan': expected a decimal number"):
        c.stat("n", "m", float("nan"))
    with pytest.raises(agg.ArgumentError, match="wrong number of arguments"):
        c.run(Command([b"AGG.STAT", b"n"], bool))
    with pytest.raises(redis.ResponseError, match="LOGS"):
        c.fetch("n", "LOGS")  # type: ignore[arg-type]
    c.redis.set("text", "x")
    with pytest.raises(agg.WrongTypeError):
        c.log("text", "x")
    c.redis.config_set("agg.max-series", 1)
    try:
        with pytest.raises(agg.FullError, match=r"^AGGFULL .*max-series"):
            c.stat("n", "other", 1)
        assert c.mstat("n", {"other": 1}).refused[0][1].startswith("cannot create metric 'other'")
    finally:
        c.redis.config_set("agg.max-series", 20000)


def test_missing_module_raises(client: agg.Client) -> None:
    unknown = Command([b"AGG.NOSUCH", b"n"], bool)
    with pytest.raises(agg.ModuleMissingError, match="is the module loaded"):
        client.run(unknown)


@pytest.mark.parametrize("transaction", [False, True])
def test_pipeline_returns_parsed_replies_and_errors(
    any_client: agg.Client, transaction: bool
) -> None:
    with any_client.pipeline(transaction) as pipe:
        pipe.stat("n", "m", 1).stat("n", "m", "x").log("n", "l").pop("n", "LOG").info("n")
        assert len(pipe) == 5
        good, bad, id, popped, info = pipe.execute(raise_on_error=False)
        assert good is True and isinstance(bad, agg.ArgumentError)
        assert popped[0].id == id and isinstance(info, agg.NodeInfo)
        assert len(pipe) == 0 and pipe.execute() == []
        with pytest.raises(agg.ArgumentError, match="invalid value 'x'"):
            pipe.stat("n", "m", "x").stat("n", "m", 2).execute()


@pytest.mark.parametrize("protocol", [2, 3])
def test_async_client_has_the_same_methods(url: str, protocol: int) -> None:
    async def main() -> None:
        async with agg.AsyncClient(url, protocol=protocol) as c:
            assert await c.stat("n", "m", 1)
            id = await c.log("n", "l")
            assert [e.id for e in await c.fetch("n", "LOG", block=100)] == [id]
            assert await c.ack("n", "LOG", id) == 1
            assert [name async for name in c.names("n", "METRIC")] == ["m"]
            assert await c.nodes() == ["n"]
            assert (await c.server_info())["agg_metrics"] == 1
            with pytest.raises(agg.ArgumentError):
                await c.stat("n", "m", "x")
            async with c.pipeline() as pipe:
                results: list[Any] = await pipe.stat("n", "m", 2).log("n", "l").execute()
                assert results[0] is True and results[1] > id
                (refused,) = await pipe.stat("n", "m", "x").execute(raise_on_error=False)
                assert isinstance(refused, agg.ArgumentError)

    asyncio.run(main())
