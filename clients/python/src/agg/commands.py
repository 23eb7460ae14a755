"""The protocol: each command of the module, what it takes and what it answers.

A function here makes a `Command`: the words that go to the server and how its answer is read. It
does no input or output; `agg.Client`, `agg.AsyncClient` and their pipelines have a method of the
same name and the same arguments for each, which sends it. In the examples ``client`` is an
`agg.Client`, and the line above a call is what anyone without this package would send, by
redis-cli, say. The tests run the examples and compare that line with what was sent.

One key is one node; every command names it first. Times are Unix milliseconds (or a ``datetime``),
the server's clock is the default. Names are binary safe; options that are ``None`` are not sent.
"""

from __future__ import annotations

import json as _json
import shlex
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Callable, Generic, Optional, TypeVar, Union

from . import arguments, records
from .arguments import (
    At,
    ErrorType,
    Format,
    Kind,
    Ms,
    Number,
    Queue,
    Seconds,
    State,
    Tags,
    Text,
    Thing,
    Window,
)
from .records import Bucket, Entry, ErrorRecord, Metric, NodeInfo, Occurred, RealityRecord, Taken

T = TypeVar("T")

Queues = Union[Queue, Iterable[Queue]]
Ids = Union[int, Iterable[int]]


class Command(Generic[T]):
    """A command's words, and how its answer is read.

    >>> print(stat("node1", "cpu.load", 12.5, tags="unit:percent"))
    AGG.STAT node1 cpu.load 12.5 TAGS unit:percent
    """

    __slots__ = ("args", "parse")

    def __init__(self, args: list[bytes], parse: Callable[[Any], T]) -> None:
        self.args = args
        self.parse = parse

    def __str__(self) -> str:
        return shlex.join(records.as_text(word) for word in self.args)

    @property
    def sent(self) -> list[Union[str, bytes]]:
        """Its words as redis-py wants them: the name as text."""
        return [self.args[0].decode(), *self.args[1:]]

    @property
    def size(self) -> int:
        """Its words together, in bytes."""
        return sum(map(len, self.args))


def stat(
    node: Text,
    metric: Text,
    value: Number,
    *,
    kind: Optional[Kind] = None,
    tags: Optional[Tags] = None,
    at: Optional[At] = None,
) -> Command[bool]:
    """AGG.STAT node metric value [ABS|DIFF] [TAGS tags] [AT ms]

    Report a sample. ``ABS``, the default, is a gauge: the value itself counts. ``DIFF`` is a
    counter's total: its increase counts, as a rate per second. The name alone identifies the
    metric, tags describe it; several of a kind have an instance behind ``@``. Answers True, or
    False where the sample was too late to count.

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
    kind: Optional[Kind] = None,
    tags: Optional[Tags] = None,
    at: Optional[At] = None,
    atomic: bool = False,
) -> Command[Taken]:
    """AGG.MSTAT node [ABS|DIFF] [TAGS tags] [AT ms] [ATOMIC] VALUES metric value [metric value ...]

    Report many samples, 10,000 at most. One that is refused does not hold up the others: its index
    (from 0) and the reason are told. With ``atomic`` a bad one is an error, and none is taken.

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
    return Command(words, taken)


def log(
    node: Text,
    message: Text,
    *,
    level: Optional[int] = None,
    tags: Optional[Tags] = None,
    at: Optional[At] = None,
) -> Command[int]:
    """AGG.LOG node message [LEVEL 0..9] [TAGS tags] [AT ms]

    Report a line. Levels go from 0 to 9, 5 where none is given (`agg.LogHandler` says how those of
    ``logging`` map). Answers the entry's id.

    >>> # AGG.LOG node1 'backup finished' LEVEL 3 TAGS job:nightly
    >>> id = client.log("node1", "backup finished", level=3, tags={"job": "nightly"})
    """
    words = [b"AGG.LOG", arguments.text(node), arguments.text(message)]
    _option(words, b"LEVEL", level, _int)
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

    Report an error condition. The server keeps each once, with its count; it is queued when it is
    new and then at most every five minutes. What identifies it is ``key`` or, without one, a hash
    over message, public, code, func and file: leave out of the message what differs from one
    occurrence to the next, or give a key. `agg.capture_exceptions` does so for exceptions.

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
    _option(words, b"LEVEL", level, _int)
    _option(words, b"TYPE", type, str.encode)
    _option(words, b"TAGS", tags, arguments.tags)
    _option(words, b"CODE", code, arguments.text)
    _option(words, b"FUNC", func, arguments.text)
    _option(words, b"FILE", file, arguments.text)
    _option(words, b"BACKTRACE", backtrace, arguments.text)
    _option(words, b"GID", gid, _int)
    _option(words, b"NID", nid, _int)
    _option(words, b"KEY", key, arguments.text)
    _option(words, b"AT", at, arguments.at)
    return Command(words, lambda reply: Occurred(records.as_text(reply[0]), reply[1]))


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

    Report what is true of an object. It is queued when it is new or has changed; the same content
    in other spacing or order is no change. ``json`` is any value that ``json`` can write, or
    ``bytes`` that are JSON; bytes that ``surrogateescape`` carries are U+FFFD there, as the server
    shows them in other texts. Not reported for ``ttl`` seconds (0: never), it is gone. Answers 1
    new or changed, 0 unchanged, -1 older than what is held.

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
        # JSON is UTF-8, whatever names of files and the like are.
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


def forget(node: Text, thing: Thing, name: Text) -> Command[bool]:
    """AGG.FORGET node METRIC|ERROR|REALITY name

    Forget a metric (its windows are closed first), an error or an object (which is then reported as
    gone). A metric that is to change between ABS and DIFF is forgotten first. Answers whether it
    was there.

    >>> # AGG.FORGET node1 METRIC fan.speed
    >>> client.forget("node1", "METRIC", "fan.speed")
    False
    """
    words = [b"AGG.FORGET", arguments.text(node), thing.encode(), arguments.text(name)]
    return Command(words, bool)


def requeue(node: Text, thing: State, *, match: Optional[Text] = None) -> Command[int]:
    """AGG.REQUEUE node ERROR|REALITY [MATCH glob]

    Queue once more what is held, for a database that has lost it, say. Answers how many entries.

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

    Take entries and remove them at once: what is lost on its way is lost. `fetch` is for those who
    want each at least once. Queues come in the order named, in each the oldest first. ``count`` is
    100 where it is not given, 10,000 at most; a reply ends at about 1 MiB, so fewer does not mean
    that the queue is empty.

    >>> id = client.log("node1", "going down")
    >>> # AGG.POP node1 LOG COUNT 10
    >>> for entry in client.pop("node1", "LOG", count=10):
    ...     print(entry.queue, entry.deliveries, entry.record.message)
    LOG 1 going down
    """
    words = [b"AGG.POP", arguments.text(node), *_queues(queues)]
    _option(words, b"COUNT", count, _int)
    _option(words, b"FORMAT", format, str.encode)
    return Command(words, partial(records.entries, _name(node)))


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

    Take entries for ``lease`` ms (30,000): nobody else gets them meanwhile. `ack` removes them;
    what is not acknowledged comes again, with ``deliveries`` one higher. ``block`` waits so many ms
    (0: without limit) while nothing is there; keep it below the connection's ``socket_timeout``.
    With the format ``LINE`` the texts of MIN and HOUR are InfluxDB line protocol. `agg.Drain` does
    all of this in a loop.

    >>> id = client.log("node1", "going down")
    >>> # AGG.FETCH node1 LOG ERROR LEASE 60000 BLOCK 1000
    >>> entries = client.fetch("node1", ["LOG", "ERROR"], lease=60_000, block=1000)
    >>> entries[0].record.message, entries[0].id == id
    ('going down', True)
    >>> client.fetch("node1", "LOG")
    []
    """
    words = [b"AGG.FETCH", arguments.text(node), *_queues(queues)]
    _option(words, b"COUNT", count, _int)
    _option(words, b"LEASE", lease, arguments.ms)
    _option(words, b"BLOCK", block, arguments.ms)
    _option(words, b"FORMAT", format, str.encode)
    return Command(words, partial(records.entries, _name(node)))


def ack(node: Text, queue: Queue, ids: Ids) -> Command[int]:
    """AGG.ACK node queue id [id ...]

    Remove entries, leased or not, 10,000 at most. Answers how many: an error or object that has
    changed since has a new id, so a late acknowledgement cannot remove the news.

    >>> id = client.log("node1", "going down")
    >>> entries = client.fetch("node1", "LOG")
    >>> client.ack("node1", "LOG", [entry.id for entry in entries])
    1
    >>> # AGG.ACK node1 LOG 17 18
    >>> client.ack("node1", "LOG", [17, 18])
    0
    """
    return Command([b"AGG.ACK", arguments.text(node), queue.encode(), *_ids(ids)], int)


def nack(node: Text, queue: Queue, ids: Ids) -> Command[int]:
    """AGG.NACK node queue id [id ...]

    Give leases back: the entries can be had again at once. Answers how many.

    >>> # AGG.NACK node1 LOG 17
    >>> client.nack("node1", "LOG", 17)
    0
    """
    return Command([b"AGG.NACK", arguments.text(node), queue.encode(), *_ids(ids)], int)


def extend(node: Text, queue: Queue, lease: Ms, ids: Ids) -> Command[int]:
    """AGG.EXTEND node queue ms id [id ...]

    Let leases end ``lease`` ms from now, for work that takes longer. Answers how many there were.

    >>> # AGG.EXTEND node1 LOG 60000 17
    >>> client.extend("node1", "LOG", 60_000, 17)
    0
    """
    words = [b"AGG.EXTEND", arguments.text(node), queue.encode(), arguments.ms(lease)]
    return Command([*words, *_ids(ids)], int)


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

    Look at entries, leased ones too, and change nothing; works on replicas. ``start`` is the id to
    begin with; with ``rev`` the newest come first and it is the upper end.

    >>> id = client.log("node1", "going down")
    >>> # AGG.PEEK node1 LOG COUNT 1 REV
    >>> client.peek("node1", "LOG", count=1, rev=True)[0].record.message
    'going down'
    """
    words = [b"AGG.PEEK", arguments.text(node), *_queues(queues)]
    _option(words, b"COUNT", count, _int)
    _option(words, b"FROM", start, _int)
    if rev:
        words.append(b"REV")
    _option(words, b"FORMAT", format, str.encode)
    return Command(words, partial(records.entries, _name(node)))


def get_metric(node: Text, name: Text) -> Command[Optional[Metric]]:
    """AGG.GET node METRIC name

    A metric with its open windows; None where there is none.

    >>> client.stat("node1", "cpu.load", 12.5, tags={"unit": "percent"})
    True
    >>> # AGG.GET node1 METRIC cpu.load
    >>> metric = client.get_metric("node1", "cpu.load")
    >>> metric.type, metric.tags, metric.last, metric.samples, metric.min[0].avg
    ('ABS', {'unit': 'percent'}, 12.5, 1, 12.5)
    """
    return Command(_get(node, b"METRIC", name), partial(_maybe, records.metric))


def get_error(node: Text, key: Text) -> Command[Optional[ErrorRecord]]:
    """AGG.GET node ERROR key

    An error as it stands; None where there is none. ``id`` is 0 where it does not wait.

    >>> client.error("node1", "order 17 was lost", key="order-lost")
    Occurred(key='order-lost', occurrences=1)
    >>> # AGG.GET node1 ERROR order-lost
    >>> client.get_error("node1", "order-lost").message
    'order 17 was lost'
    """
    return Command(_get(node, b"ERROR", key), partial(_maybe, records.error))


def get_reality(node: Text, key: Text) -> Command[Optional[RealityRecord]]:
    """AGG.GET node REALITY key

    An object as it stands; None where there is none. ``id`` is 0 where it does not wait.

    >>> client.reality("node1", "sda", "system.Disk", {"size": 480103981056})
    1
    >>> # AGG.GET node1 REALITY sda
    >>> client.get_reality("node1", "sda").json
    {'size': 480103981056}
    """
    return Command(_get(node, b"REALITY", key), partial(_maybe, records.reality))


def range_(
    node: Text,
    metric: Text,
    window: Window,
    *,
    start: Optional[At] = None,
    end: Optional[At] = None,
) -> Command[list[Bucket]]:
    """AGG.RANGE node metric MIN|HOUR [FROM ms] [TO ms]

    A metric's windows that are kept, the oldest first. A reply has 5000 at most: go on with
    ``start`` at the ``end`` of the last.

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
    return Command(words, lambda reply: [records.bucket(each) for each in reply])


def scan(
    node: Text,
    thing: Thing,
    cursor: int = 0,
    *,
    match: Optional[Text] = None,
    count: Optional[int] = None,
) -> Command[tuple[int, list[str]]]:
    """AGG.SCAN node METRIC|ERROR|REALITY cursor [MATCH glob] [COUNT n]

    Names, a few at a time: begin with the cursor 0 and go on with the one that was answered until
    that is 0. `agg.Client.names` does so.

    >>> client.stat("node1", "cpu.load", 12.5)
    True
    >>> # AGG.SCAN node1 METRIC 0 MATCH cpu.*
    >>> client.scan("node1", "METRIC", match="cpu.*")
    (0, ['cpu.load'])
    """
    words = _scan(node, thing, cursor, match, count)
    return Command(
        words, lambda reply: (int(reply[0]), [records.as_text(name) for name in reply[1]])
    )


def scan_values(
    node: Text,
    thing: Thing,
    cursor: int = 0,
    *,
    match: Optional[Text] = None,
    count: Optional[int] = None,
) -> Command[tuple[int, list[tuple[str, Union[Metric, ErrorRecord, RealityRecord]]]]]:
    """AGG.SCAN node METRIC|ERROR|REALITY cursor [MATCH glob] [COUNT n] WITHVALUES

    The same with what AGG.GET tells of each.

    >>> client.stat("node1", "cpu.load", 12.5)
    True
    >>> # AGG.SCAN node1 METRIC 0 WITHVALUES
    >>> cursor, found = client.scan_values("node1", "METRIC")
    >>> [(name, metric.last) for name, metric in found]
    [('cpu.load', 12.5)]
    """
    words = [*_scan(node, thing, cursor, match, count), b"WITHVALUES"]
    reads: dict[str, Callable[[Any], Union[Metric, ErrorRecord, RealityRecord]]] = {
        "METRIC": records.metric,
        "ERROR": records.error,
        "REALITY": records.reality,
    }
    read = reads[thing]

    def parse(
        reply: Any,
    ) -> tuple[int, list[tuple[str, Union[Metric, ErrorRecord, RealityRecord]]]]:
        pairs = zip(reply[1][::2], reply[1][1::2])
        return int(reply[0]), [(records.as_text(name), read(value)) for name, value in pairs]

    return Command(words, parse)


def info(node: Text) -> Command[Optional[NodeInfo]]:
    """AGG.INFO node

    What the node holds, and what was late, cut, refused and dropped since the server's start. None
    where there is no such node.

    >>> id = client.log("node1", "going down")
    >>> # AGG.INFO node1
    >>> client.info("node1").queues["LOG"].length
    1
    """
    return Command([b"AGG.INFO", arguments.text(node)], partial(_maybe, records.info))


def taken(reply: Any) -> Taken:
    """The answer of AGG.MSTAT."""
    return Taken(reply[0], reply[1], [(index, records.as_text(why)) for index, why in reply[2]])


def _sample_options(
    words: list[bytes], kind: Optional[Kind], tags: Optional[Tags], at: Optional[At]
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


def _int(value: int) -> bytes:
    return b"%d" % value


def _queues(queues: Queues) -> list[bytes]:
    return [queues.encode()] if isinstance(queues, str) else [queue.encode() for queue in queues]


def _ids(ids: Ids) -> list[bytes]:
    return [_int(ids)] if isinstance(ids, int) else [_int(id) for id in ids]


def _name(node: Text) -> str:
    return records.as_text(arguments.text(node))


def _get(node: Text, thing: bytes, name: Text) -> list[bytes]:
    return [b"AGG.GET", arguments.text(node), thing, arguments.text(name)]


def _scan(
    node: Text, thing: Thing, cursor: int, match: Optional[Text], count: Optional[int]
) -> list[bytes]:
    words = [b"AGG.SCAN", arguments.text(node), thing.encode(), _int(cursor)]
    _option(words, b"MATCH", match, arguments.text)
    _option(words, b"COUNT", count, _int)
    return words


def _maybe(read: Callable[[Any], T], reply: Any) -> Optional[T]:
    return None if reply is None else read(reply)
