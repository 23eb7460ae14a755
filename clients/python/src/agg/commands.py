"""The commands of the module: their arguments and replies.

Each function builds an `agg.command.Command`, which holds the words to send and the parser of the
reply. The functions do no I/O. `agg.Client`, `agg.AsyncClient` and their pipelines have a method
with the same name and arguments for each function, which also sends the command.

In the examples, ``client`` is an `agg.Client`. The comment above a call shows the raw command, as
you would type it in redis-cli. The tests run the examples and compare the comments with what is
sent.

A node is one key, and every command names it first. Times are Unix milliseconds or a ``datetime``
and default to the server's clock. Names are binary safe. Options that are ``None`` are not sent.
"""

from __future__ import annotations

import json as _json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Callable, Optional, Union

from . import arguments, records
from .arguments import (
    At,
    ErrorType,
    Format,
    Ids,
    ItemType,
    MetricType,
    Ms,
    Number,
    Queue,
    Queues,
    RequeueType,
    Seconds,
    Tags,
    Text,
    Window,
)
from .command import Command
from .records import Bucket, Entry, ErrorRecord, Metric, NodeInfo, Occurred, RealityRecord, Taken


def stat(
    node: Text,
    metric: Text,
    value: Number,
    *,
    kind: Optional[MetricType] = None,
    tags: Optional[Tags] = None,
    at: Optional[At] = None,
) -> Command[bool]:
    """AGG.STAT node metric value [ABS|DIFF] [TAGS tags] [AT ms]

    Reports a sample. ``ABS``, the default, is a gauge, whose value is aggregated. ``DIFF`` is the
    total of a counter, whose increase is aggregated as a rate per second. The name alone identifies
    the metric; tags describe it. Instances of the same metric are named ``metric@instance``.
    Returns True, or False if the sample was too late to count.

    >>> # AGG.STAT node1 cpu.load 12.5 TAGS 'unit:percent rack:a1'
    >>> client.stat("node1", "cpu.load", 12.5, tags={"unit": "percent", "rack": "a1"})
    True
    >>> # AGG.STAT node1 net.rx@eth0 123456 DIFF
    >>> client.stat("node1", "net.rx@eth0", 123456, kind="DIFF")
    True
    >>> # AGG.STAT node1 cpu.load 9.5 AT 1760000100000
    >>> client.stat("node1", "cpu.load", 9.5, at=1760000100000)
    False
    """
    words = [b"AGG.STAT", arguments.text(node), arguments.text(metric), arguments.number(value)]
    _sample_options(words, kind, tags, at)
    return Command(words, bool)


def mstat(
    node: Text,
    values: Union[Mapping[str, Number], Iterable[tuple[Text, Number]]],
    *,
    kind: Optional[MetricType] = None,
    tags: Optional[Tags] = None,
    at: Optional[At] = None,
    atomic: bool = False,
) -> Command[Taken]:
    """AGG.MSTAT node [ABS|DIFF] [TAGS tags] [AT ms] [ATOMIC] VALUES metric value [metric value ...]

    Reports up to 10,000 samples. A refused sample does not affect the others; its index (from 0)
    and the reason are returned. With ``atomic``, a bad sample is an error and none is accepted.

    >>> # AGG.MSTAT node1 VALUES mem.used 4096 mem.free lots
    >>> client.mstat("node1", {"mem.used": 4096, "mem.free": "lots"})
    Taken(taken=1, late=0, refused=[(1, "value 'lots' is not a decimal number")])
    >>> # AGG.MSTAT node1 DIFF TAGS nic:eth0 ATOMIC VALUES net.rx 1 net.tx 2
    >>> client.mstat("node1", [("net.rx", 1), ("net.tx", 2)], kind="DIFF", tags={"nic": "eth0"},
    ...              atomic=True)
    Taken(taken=2, late=0, refused=[])
    """
    words = [b"AGG.MSTAT", arguments.text(node)]
    _sample_options(words, kind, tags, at)
    if atomic:
        words.append(b"ATOMIC")
    words.append(b"VALUES")
    for metric, value in values.items() if isinstance(values, Mapping) else values:
        words.append(arguments.text(metric))
        words.append(arguments.number(value))
    return Command(words, records.parse_mstat)


def log(
    node: Text,
    message: Text,
    *,
    level: Optional[int] = None,
    tags: Optional[Tags] = None,
    at: Optional[At] = None,
) -> Command[int]:
    """AGG.LOG node message [LEVEL 0..9] [TAGS tags] [AT ms]

    Reports a log entry. Levels range from 0 to 9; the default is 5. `agg.LogHandler` documents how
    the levels of ``logging`` map to them. Returns the id of the queued record.

    >>> # AGG.LOG node1 'backup finished' LEVEL 3 TAGS job:nightly
    >>> id = client.log("node1", "backup finished", level=3, tags={"job": "nightly"})
    """
    words = [b"AGG.LOG", arguments.text(node), arguments.text(message)]
    _option(words, b"LEVEL", level, arguments.integer)
    _option(words, b"TAGS", tags, arguments.tags)
    _option(words, b"AT", at, arguments.at)
    return Command(words, int)


def error(
    node: Text,
    message: Text,
    *,
    public: Optional[Text] = None,
    level: Optional[int] = None,
    type: Optional[ErrorType] = None,
    tags: Optional[Tags] = None,
    code: Optional[Text] = None,
    func: Optional[Text] = None,
    file: Optional[Text] = None,
    backtrace: Optional[Text] = None,
    gid: Optional[int] = None,
    nid: Optional[int] = None,
    key: Optional[Text] = None,
    at: Optional[At] = None,
) -> Command[Occurred]:
    """AGG.ERROR node message [PUBLIC text] [LEVEL 0..9] [TYPE BUG|PERF|OPS|UNKNOWN] [TAGS tags]
    [CODE c] [FUNC f] [FILE p] [BACKTRACE b] [GID n] [NID n] [KEY k] [AT ms]

    Reports an error. The server stores each distinct error once, with a count, and queues it when
    it is new and then at most every five minutes. An error is identified by ``key`` or, without
    one, by a hash of message, public, code, func and file. Therefore keep variable parts out of the
    message, or pass a key, as `agg.capture_exceptions` does for exceptions.

    >>> # AGG.ERROR node1 'disk sda: read failed' LEVEL 7 TYPE OPS FILE disk.c
    >>> client.error("node1", "disk sda: read failed", type="OPS", file="disk.c", level=7)
    Occurred(key='f53a25f6de0821fec78bdac29e2e9f3d', occurrences=1)
    >>> # AGG.ERROR node1 'order 17 was lost' KEY order-lost
    >>> client.error("node1", "order 17 was lost", key="order-lost")
    Occurred(key='order-lost', occurrences=1)
    >>> # AGG.ERROR node1 'order 18 was lost' KEY order-lost
    >>> client.error("node1", "order 18 was lost", key="order-lost")
    Occurred(key='order-lost', occurrences=2)
    """
    words = [b"AGG.ERROR", arguments.text(node), arguments.text(message)]
    _option(words, b"PUBLIC", public, arguments.text)
    _option(words, b"LEVEL", level, arguments.integer)
    _option(words, b"TYPE", type, str.encode)
    _option(words, b"TAGS", tags, arguments.tags)
    _option(words, b"CODE", code, arguments.text)
    _option(words, b"FUNC", func, arguments.text)
    _option(words, b"FILE", file, arguments.text)
    _option(words, b"BACKTRACE", backtrace, arguments.text)
    _option(words, b"GID", gid, arguments.integer)
    _option(words, b"NID", nid, arguments.integer)
    _option(words, b"KEY", key, arguments.text)
    _option(words, b"AT", at, arguments.at)
    return Command(words, records.parse_occurred)


def reality(
    node: Text,
    key: Text,
    model: Text,
    json: Any,
    *,
    tags: Optional[Tags] = None,
    at: Optional[At] = None,
    ttl: Optional[Seconds] = None,
) -> Command[int]:
    """AGG.REALITY node key model json [TAGS tags] [AT ms] [TTL seconds]

    Reports the state of an object, which is queued when it is new or has changed. Different spacing
    or key order is not a change. ``json`` is any value that the ``json`` module can serialize, or
    ``bytes`` that already are JSON. Bytes escaped by ``surrogateescape`` become U+FFFD, as the
    server shows them in other texts. An object that is not reported for ``ttl`` seconds expires
    (0: never). Returns 1 if the object is new or changed, 0 if it is unchanged, and -1 if the
    report is older than the stored one.

    >>> # AGG.REALITY node1 sda system.Disk '{"size":480103981056,"mounted":true}' TTL 3600
    >>> client.reality("node1", "sda", "system.Disk", {"size": 480103981056, "mounted": True},
    ...                ttl=3600)
    1
    >>> # AGG.REALITY node1 sda system.Disk '{"mounted":true, "size":480103981056}' TTL 3600
    >>> client.reality("node1", "sda", "system.Disk", b'{"mounted":true, "size":480103981056}',
    ...                ttl=3600)
    0
    """
    if not isinstance(json, bytes):
        json = _json.dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        # JSON must be UTF-8, even if it contains file names that are not.
        json = arguments.text(json).decode("utf-8", "replace")
    words = [
        b"AGG.REALITY",
        arguments.text(node),
        arguments.text(key),
        arguments.text(model),
        arguments.text(json),
    ]
    _option(words, b"TAGS", tags, arguments.tags)
    _option(words, b"AT", at, arguments.at)
    _option(words, b"TTL", ttl, arguments.seconds)
    return Command(words, int)


def forget(node: Text, thing: ItemType, name: Text) -> Command[bool]:
    """AGG.FORGET node METRIC|ERROR|REALITY name

    Removes a metric (after closing its windows), an error, or an object (which is then reported as
    gone). Remove a metric to change it between ABS and DIFF. Returns whether it existed.

    >>> # AGG.FORGET node1 METRIC fan.speed
    >>> client.forget("node1", "METRIC", "fan.speed")
    False
    """
    words = [b"AGG.FORGET", arguments.text(node), thing.encode(), arguments.text(name)]
    return Command(words, bool)


def requeue(node: Text, thing: RequeueType, *, match: Optional[Text] = None) -> Command[int]:
    """AGG.REQUEUE node ERROR|REALITY [MATCH glob]

    Queues stored errors or objects again, for example after a database has lost them. Returns the
    number of records queued.

    >>> # AGG.REQUEUE node1 REALITY MATCH sd*
    >>> client.requeue("node1", "REALITY", match="sd*")
    0
    """
    words = [b"AGG.REQUEUE", arguments.text(node), thing.encode()]
    _option(words, b"MATCH", match, arguments.text)
    return Command(words, int)


def pop(
    node: Text, queues: Queues, *, count: Optional[int] = None, format: Optional[Format] = None
) -> Command[list[Entry]]:
    """AGG.POP node queue [queue ...] [COUNT n] [FORMAT JSON|LINE]

    Delivers records and removes them at once, so a lost reply loses records. Use `fetch` for
    delivery at least once. Queues are read in the given order, the oldest records first. ``count``
    defaults to 100 and is at most 10,000. A reply ends at about 1 MiB, so fewer records do not mean
    that the queue is empty.

    >>> id = client.log("node1", "going down")
    >>> # AGG.POP node1 LOG COUNT 10
    >>> for entry in client.pop("node1", "LOG", count=10):
    ...     print(entry.queue, entry.deliveries, entry.record.message)
    LOG 1 going down
    """
    words = [b"AGG.POP", arguments.text(node), *arguments.queues(queues)]
    _option(words, b"COUNT", count, arguments.integer)
    _option(words, b"FORMAT", format, str.encode)
    return Command(words, partial(records.parse_entries, _name(node)))


def fetch(
    node: Text,
    queues: Queues,
    *,
    count: Optional[int] = None,
    lease: Optional[Ms] = None,
    block: Optional[Ms] = None,
    format: Optional[Format] = None,
) -> Command[list[Entry]]:
    """AGG.FETCH node queue [queue ...] [COUNT n] [LEASE ms] [BLOCK ms] [FORMAT JSON|LINE]

    Delivers records and leases them for ``lease`` ms (30,000 by default); other consumers do not
    receive them meanwhile. `ack` removes them. Unacknowledged records are redelivered, with
    ``deliveries`` incremented. ``block`` waits up to that many ms for records (0: no limit); keep
    it below the connection's ``socket_timeout``. With the format ``LINE``, records of MIN and HOUR
    are InfluxDB line protocol. `agg.Drain` does all of this in a loop.

    >>> id = client.log("node1", "going down")
    >>> # AGG.FETCH node1 LOG ERROR LEASE 60000 BLOCK 1000
    >>> entries = client.fetch("node1", ["LOG", "ERROR"], lease=60_000, block=1000)
    >>> entries[0].record.message, entries[0].id == id
    ('going down', True)
    >>> client.fetch("node1", "LOG")
    []
    """
    words = [b"AGG.FETCH", arguments.text(node), *arguments.queues(queues)]
    _option(words, b"COUNT", count, arguments.integer)
    _option(words, b"LEASE", lease, arguments.ms)
    _option(words, b"BLOCK", block, arguments.ms)
    _option(words, b"FORMAT", format, str.encode)
    return Command(words, partial(records.parse_entries, _name(node)))


def ack(node: Text, queue: Queue, ids: Ids) -> Command[int]:
    """AGG.ACK node queue id [id ...]

    Removes up to 10,000 records, leased or not. Returns the number removed. An error or object that
    has changed since delivery has a new id, so a late acknowledgement cannot remove the change.

    >>> id = client.log("node1", "going down")
    >>> entries = client.fetch("node1", "LOG")
    >>> client.ack("node1", "LOG", [entry.id for entry in entries])
    1
    >>> # AGG.ACK node1 LOG 17 18
    >>> client.ack("node1", "LOG", [17, 18])
    0
    """
    return Command([b"AGG.ACK", arguments.text(node), queue.encode(), *arguments.ids(ids)], int)


def nack(node: Text, queue: Queue, ids: Ids) -> Command[int]:
    """AGG.NACK node queue id [id ...]

    Releases leases, so that the records are available again at once. Returns the number released.

    >>> # AGG.NACK node1 LOG 17
    >>> client.nack("node1", "LOG", 17)
    0
    """
    return Command([b"AGG.NACK", arguments.text(node), queue.encode(), *arguments.ids(ids)], int)


def extend(node: Text, queue: Queue, lease: Ms, ids: Ids) -> Command[int]:
    """AGG.EXTEND node queue ms id [id ...]

    Extends leases to ``lease`` ms from now. Returns the number extended.

    >>> # AGG.EXTEND node1 LOG 60000 17
    >>> client.extend("node1", "LOG", 60_000, 17)
    0
    """
    words = [b"AGG.EXTEND", arguments.text(node), queue.encode(), arguments.ms(lease)]
    return Command([*words, *arguments.ids(ids)], int)


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
    _option(words, b"COUNT", count, arguments.integer)
    _option(words, b"FROM", start, arguments.integer)
    if rev:
        words.append(b"REV")
    _option(words, b"FORMAT", format, str.encode)
    return Command(words, partial(records.parse_entries, _name(node)))


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
    _option(words, b"FROM", start, arguments.at)
    _option(words, b"TO", end, arguments.at)
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

    Returns the contents of the node and the numbers of late samples, truncations, refusals and
    drops since the server started, or None if the node does not exist.

    >>> id = client.log("node1", "going down")
    >>> # AGG.INFO node1
    >>> client.info("node1").queues["LOG"].length
    1
    """
    return Command(
        [b"AGG.INFO", arguments.text(node)], partial(records.optional, records.parse_info)
    )


def _sample_options(
    words: list[bytes], kind: Optional[MetricType], tags: Optional[Tags], at: Optional[At]
) -> None:
    if kind is not None:
        words.append(kind.encode())
    _option(words, b"TAGS", tags, arguments.tags)
    _option(words, b"AT", at, arguments.at)


def _option(
    words: list[bytes], keyword: bytes, value: Optional[Any], encode: Callable[[Any], bytes]
) -> None:
    if value is not None:
        words.append(keyword)
        words.append(encode(value))


def _name(node: Text) -> str:
    return records.to_str(arguments.text(node))


def _get(node: Text, thing: bytes, name: Text) -> list[bytes]:
    return [b"AGG.GET", arguments.text(node), thing, arguments.text(name)]


def _scan(
    node: Text, thing: ItemType, cursor: int, match: Optional[Text], count: Optional[int]
) -> list[bytes]:
    words = [b"AGG.SCAN", arguments.text(node), thing.encode(), arguments.integer(cursor)]
    _option(words, b"MATCH", match, arguments.text)
    _option(words, b"COUNT", count, arguments.integer)
    return words
