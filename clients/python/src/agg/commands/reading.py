"""Commands that read and change nothing."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Optional, Union

from .. import arguments, records
from ..arguments import At, Format, ItemType, Queues, Text, Window
from ..command import Command
from ..records import Bucket, Entry, ErrorRecord, Metric, NodeInfo, RealityRecord
from .words import node_name, option


def peek(
    node: Text,
    queues: Queues,
    *,
    count: Optional[int] = None,
    start: Optional[int] = None,
    rev: bool = False,
    format: Optional[Format] = None,
) -> Command[list[Entry]]:
    """AGG.PEEK node queue [queue ...] [COUNT n] [FROM id] [REV] [FORMAT JSON|LINE]

    Returns records, leased ones included, without changing anything. Works on replicas. ``start``
    is the first id. With ``rev`` the newest records come first and ``start`` is the highest id.

    >>> id = client.log("node1", "going down")
    >>> # AGG.PEEK node1 LOG COUNT 1 REV
    >>> client.peek("node1", "LOG", count=1, rev=True)[0].record.message
    'going down'
    """
    words = [b"AGG.PEEK", arguments.text(node), *arguments.queues(queues)]
    option(words, b"COUNT", count, arguments.integer)
    option(words, b"FROM", start, arguments.integer)
    if rev:
        words.append(b"REV")
    option(words, b"FORMAT", format, str.encode)
    return Command(words, partial(records.parse_entries, node_name(node)))


def get_metric(node: Text, name: Text) -> Command[Optional[Metric]]:
    """AGG.GET node METRIC name

    Returns a metric with its open windows, or None if it does not exist.

    >>> client.stat("node1", "cpu.load", 12.5, tags={"unit": "percent"})
    True
    >>> # AGG.GET node1 METRIC cpu.load
    >>> metric = client.get_metric("node1", "cpu.load")
    >>> metric.type, metric.tags, metric.last, metric.samples, metric.min[0].avg
    ('ABS', {'unit': 'percent'}, 12.5, 1, 12.5)
    """
    return Command(_get(node, b"METRIC", name), partial(records.optional, records.parse_metric))


def get_error(node: Text, key: Text) -> Command[Optional[ErrorRecord]]:
    """AGG.GET node ERROR key

    Returns the current state of an error, or None if it does not exist. ``id`` is 0 if it is not
    queued.

    >>> client.error("node1", "order 17 was lost", key="order-lost")
    Occurred(key='order-lost', occurrences=1)
    >>> # AGG.GET node1 ERROR order-lost
    >>> client.get_error("node1", "order-lost").message
    'order 17 was lost'
    """
    return Command(_get(node, b"ERROR", key), partial(records.optional, records.parse_error))


def get_reality(node: Text, key: Text) -> Command[Optional[RealityRecord]]:
    """AGG.GET node REALITY key

    Returns the current state of an object, or None if it does not exist. ``id`` is 0 if it is not
    queued.

    >>> client.reality("node1", "sda", "system.Disk", {"size": 480103981056})
    1
    >>> # AGG.GET node1 REALITY sda
    >>> client.get_reality("node1", "sda").json
    {'size': 480103981056}
    """
    return Command(_get(node, b"REALITY", key), partial(records.optional, records.parse_reality))


def range_(
    node: Text,
    metric: Text,
    window: Window,
    *,
    start: Optional[At] = None,
    end: Optional[At] = None,
) -> Command[list[Bucket]]:
    """AGG.RANGE node metric MIN|HOUR [FROM ms] [TO ms]

    Returns the stored windows of a metric, the oldest first. A reply has at most 5,000; continue
    with ``start`` set to the ``end`` of the last one.

    >>> client.stat("node1", "cpu.load", 12.5)
    True
    >>> # AGG.RANGE node1 cpu.load MIN FROM 1760000100000
    >>> for bucket in client.range("node1", "cpu.load", "MIN", start=1760000100000):
    ...     print(bucket.count, bucket.avg, bucket.closed)
    1 12.5 False
    """
    words = [b"AGG.RANGE", arguments.text(node), arguments.text(metric), window.encode()]
    option(words, b"FROM", start, arguments.at)
    option(words, b"TO", end, arguments.at)
    return Command(words, lambda reply: [records.parse_bucket(each) for each in reply])


def scan(
    node: Text,
    thing: ItemType,
    cursor: int = 0,
    *,
    match: Optional[Text] = None,
    count: Optional[int] = None,
) -> Command[tuple[int, list[str]]]:
    """AGG.SCAN node METRIC|ERROR|REALITY cursor [MATCH glob] [COUNT n]

    Returns names in pages. Start with cursor 0 and continue with the returned cursor until it is 0,
    as `agg.Client.names` does.

    >>> client.stat("node1", "cpu.load", 12.5)
    True
    >>> # AGG.SCAN node1 METRIC 0 MATCH cpu.*
    >>> client.scan("node1", "METRIC", match="cpu.*")
    (0, ['cpu.load'])
    """
    words = _scan(node, thing, cursor, match, count)
    return Command(
        words, lambda reply: (int(reply[0]), [records.to_str(name) for name in reply[1]])
    )


def scan_values(
    node: Text,
    thing: ItemType,
    cursor: int = 0,
    *,
    match: Optional[Text] = None,
    count: Optional[int] = None,
) -> Command[tuple[int, list[tuple[str, Union[Metric, ErrorRecord, RealityRecord]]]]]:
    """AGG.SCAN node METRIC|ERROR|REALITY cursor [MATCH glob] [COUNT n] WITHVALUES

    Returns names like `scan`, each with what AGG.GET returns for it.

    >>> client.stat("node1", "cpu.load", 12.5)
    True
    >>> # AGG.SCAN node1 METRIC 0 WITHVALUES
    >>> cursor, found = client.scan_values("node1", "METRIC")
    >>> [(name, metric.last) for name, metric in found]
    [('cpu.load', 12.5)]
    """
    words = [*_scan(node, thing, cursor, match, count), b"WITHVALUES"]
    parsers: dict[str, Callable[[Any], Union[Metric, ErrorRecord, RealityRecord]]] = {
        "METRIC": records.parse_metric,
        "ERROR": records.parse_error,
        "REALITY": records.parse_reality,
    }
    parse_value = parsers[thing]

    def parse(
        reply: Any,
    ) -> tuple[int, list[tuple[str, Union[Metric, ErrorRecord, RealityRecord]]]]:
        pairs = zip(reply[1][::2], reply[1][1::2])
        return int(reply[0]), [(records.to_str(name), parse_value(value)) for name, value in pairs]

    return Command(words, parse)


def info(node: Text) -> Command[Optional[NodeInfo]]:
    """AGG.INFO node

    Returns the contents of the node and the numbers of late samples, truncations, rejections and
    drops since the server started, or None if the node does not exist.

    >>> id = client.log("node1", "going down")
    >>> # AGG.INFO node1
    >>> client.info("node1").queues["LOG"].length
    1
    """
    return Command(
        [b"AGG.INFO", arguments.text(node)], partial(records.optional, records.parse_info)
    )


def _get(node: Text, thing: bytes, name: Text) -> list[bytes]:
    return [b"AGG.GET", arguments.text(node), thing, arguments.text(name)]


def _scan(
    node: Text, thing: ItemType, cursor: int, match: Optional[Text], count: Optional[int]
) -> list[bytes]:
    words = [b"AGG.SCAN", arguments.text(node), thing.encode(), arguments.integer(cursor)]
    option(words, b"MATCH", match, arguments.text)
    option(words, b"COUNT", count, arguments.integer)
    return words
