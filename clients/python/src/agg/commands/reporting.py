"""Commands of programs that report.

A report with ``seq=(source, n)`` may be sent again if its reply was lost, and counts once. The
source (1 to 256 bytes) names one stream of reports of one start of a program, and n (0 to 2^63 - 1)
increases from report to report of a node. A report whose n is not greater than the last one of its
source is a repetition: it changes nothing and its result is empty. Every reply that is not an
exception consumes n. After an exception of the server, AGGFULL for example, send the same n again.
"""

from __future__ import annotations

import json as _json
from collections.abc import Iterable, Mapping
from typing import Any, Optional, Union

from .. import arguments, records
from ..arguments import (
    At,
    ErrorType,
    ItemType,
    Kind,
    Level,
    Number,
    Sample,
    Seconds,
    Seq,
    Tags,
    Text,
)
from ..command import Command
from ..records import Occurred, Taken
from .words import option


def stat(
    node: Text,
    metric: Text,
    value: Number,
    *,
    kind: Optional[Kind] = None,
    hist: bool = False,
    times: int = 1,
    tags: Optional[Tags] = None,
    at: Optional[At] = None,
    seq: Optional[Seq] = None,
) -> Command[Optional[bool]]:
    """AGG.STAT node metric value [ABS|ADD|DIFF|INC] [HIST] [TIMES n] [TAGS tags] [AT ms]
    [SEQ source n]

    Reports a sample. Its ``kind`` says what the value is: of a gauge the value (``ABS``, the
    default) or the change since the last one (``ADD``); of a counter an increment (``INC``) or,
    if there is a single reporter, the total (``DIFF``). Increases are aggregated as rates per
    second. The name alone identifies the metric; tags describe it. Instances of the same metric are
    named ``metric@instance``. With ``hist``, the windows that open from then on have a histogram,
    and their records percentiles. An ``ABS`` or ``INC`` value that occurred n times, as sampled
    ones do, has ``times=n``. Returns True, False if the sample was too late to count, or None for a
    repetition (``seq``).

    Several processes that report their totals to one ``DIFF`` metric look like a counter that
    restarts with each sample. Report increments, or name a metric for each process.

    >>> # AGG.STAT node1 cpu.load 12.5 TAGS 'unit:percent rack:a1'
    >>> client.stat("node1", "cpu.load", 12.5, tags={"unit": "percent", "rack": "a1"})
    True
    >>> # AGG.STAT node1 net.rx@eth0 123456 DIFF
    >>> client.stat("node1", "net.rx@eth0", 123456, kind="DIFF")
    True
    >>> # AGG.STAT node1 orders 3 INC
    >>> client.stat("node1", "orders", 3, kind="INC")
    True
    >>> # AGG.STAT node1 sessions -1 ADD
    >>> client.stat("node1", "sessions", -1, kind="ADD")
    True
    >>> # AGG.STAT node1 page.ms 320 HIST TIMES 10
    >>> client.stat("node1", "page.ms", 320, hist=True, times=10)
    True
    >>> # AGG.STAT node1 cpu.load 9.5 AT 1760000100000
    >>> client.stat("node1", "cpu.load", 9.5, at=1760000100000)
    False
    >>> # AGG.STAT node1 http.ms 12.5 HIST SEQ web1-1760000000 1
    >>> client.stat("node1", "http.ms", 12.5, hist=True, seq=("web1-1760000000", 1))
    True
    >>> print(client.stat("node1", "http.ms", 12.5, hist=True, seq=("web1-1760000000", 1)))
    None
    """
    words = [b"AGG.STAT", arguments.text(node), arguments.text(metric), arguments.number(value)]
    _sample_options(words, kind, hist, tags, at)
    if times != 1:
        words += (b"TIMES", arguments.integer(times))
    _seq_option(words, seq)
    return Command(words, records.parse_stat)


def mstat(
    node: Text,
    values: Union[Mapping[str, Number], Iterable[Union[tuple[Text, Number], Sample]]],
    *,
    kind: Optional[Kind] = None,
    hist: bool = False,
    tags: Optional[Tags] = None,
    at: Optional[At] = None,
    atomic: bool = False,
    seq: Optional[Seq] = None,
) -> Command[Taken]:
    """AGG.MSTAT node [ABS|ADD|DIFF|INC] [HIST] [TAGS tags] [AT ms] [ATOMIC] [SEQ source n]
    VALUES metric value [metric value ...]|COLUMNS column [column ...] VALUES value [value ...]

    Reports up to 10,000 samples. A rejected sample does not affect the others; its index (from 0)
    and the reason are returned. With ``atomic``, an invalid sample is an error and none counts.
    The options are those of `stat`, for all samples. An `agg.Sample` has options of its own, which
    are sent as columns. A partly rejected command consumes its ``seq``: send the rejected samples
    again under a new one. For a repetition, ``is_repetition`` of the result is True.

    >>> # AGG.MSTAT node1 VALUES mem.used 4096 mem.free lots
    >>> client.mstat("node1", {"mem.used": 4096, "mem.free": "lots"})
    Taken(taken=1, late=0, refused=[(1, "invalid value 'lots': expected a decimal number")])
    >>> # AGG.MSTAT node1 DIFF TAGS nic:eth0 ATOMIC VALUES net.rx 1 net.tx 2
    >>> client.mstat("node1", [("net.rx", 1), ("net.tx", 2)], kind="DIFF", tags={"nic": "eth0"},
    ...              atomic=True)
    Taken(taken=2, late=0, refused=[])
    >>> # AGG.MSTAT node1 TAGS rack:a1 COLUMNS METRIC VALUE TYPE VALUES load 0.7 '' hits 3 INC
    >>> client.mstat("node1", [("load", 0.7), agg.Sample("hits", 3, "INC")], tags="rack:a1")
    Taken(taken=2, late=0, refused=[])
    >>> # AGG.MSTAT node1 SEQ web1-1760000000 2 VALUES mem.used 4096
    >>> client.mstat("node1", {"mem.used": 4096}, seq=("web1-1760000000", 2))
    Taken(taken=1, late=0, refused=[])
    >>> client.mstat("node1", {"mem.used": 4096}, seq=("web1-1760000000", 2)).is_repetition
    True
    """
    words = [b"AGG.MSTAT", arguments.text(node)]
    _sample_options(words, kind, hist, tags, at)
    if atomic:
        words.append(b"ATOMIC")
    _seq_option(words, seq)
    rows = list(values.items() if isinstance(values, Mapping) else values)
    if any(isinstance(row, Sample) for row in rows):
        words += _columns([row if isinstance(row, Sample) else Sample(*row) for row in rows], hist)
    else:
        words.append(b"VALUES")
        for row in rows:
            words.append(arguments.text(row[0]))
            words.append(arguments.number(row[1]))
    return Command(words, records.parse_mstat)


def hist(
    node: Text,
    metric: Text,
    values: Union[Mapping[Any, int], Iterable[tuple[Number, int]]],
    *,
    sum: Optional[Number] = None,
    min: Optional[Number] = None,
    max: Optional[Number] = None,
    tags: Optional[Tags] = None,
    at: Optional[At] = None,
    seq: Optional[Seq] = None,
) -> Command[Optional[bool]]:
    """AGG.HIST node metric [SUM s] [MIN m] [MAX m] [TAGS tags] [AT ms] [SEQ source n] VALUES value
    times [value times ...]

    Reports samples of a gauge with a histogram that were aggregated before: up to 10,000 values,
    each with the number of its occurrences, as a mapping (a ``Counter``, for example) or as pairs.
    If the values stand for buckets, ``sum``, ``min`` and ``max`` are those of the samples. Returns
    what `stat` returns.

    >>> # AGG.HIST node1 http.ms SUM 331.5 MIN 4.2 MAX 187.5 VALUES 5 12 10 7 200 1
    >>> client.hist("node1", "http.ms", {5: 12, 10: 7, 200: 1}, sum=331.5, min=4.2, max=187.5)
    True
    >>> client.get_metric("node1", "http.ms").min[0].count
    20
    """
    words = [b"AGG.HIST", arguments.text(node), arguments.text(metric)]
    option(words, b"SUM", sum, arguments.number)
    option(words, b"MIN", min, arguments.number)
    option(words, b"MAX", max, arguments.number)
    option(words, b"TAGS", tags, arguments.tags)
    option(words, b"AT", at, arguments.at)
    _seq_option(words, seq)
    words.append(b"VALUES")
    for value, times in values.items() if isinstance(values, Mapping) else values:
        words += (arguments.number(value), arguments.integer(times))
    return Command(words, records.parse_stat)


def log(
    node: Text,
    message: Text,
    *,
    level: Optional[Level] = None,
    tags: Optional[Tags] = None,
    at: Optional[At] = None,
    seq: Optional[Seq] = None,
) -> Command[int]:
    """AGG.LOG node message [LEVEL level] [TAGS tags] [AT ms] [SEQ source n]

    Reports a log entry. A level is 0 to 9 or a name: TRACE 0, DEBUG 1, INFO 3, NOTICE 4, WARNING 5,
    ERROR 7, CRITICAL 9; the default is INFO. Returns the id of the queued record, or 0 for a
    repetition (``seq``).

    >>> # AGG.LOG node1 'disk is nearly full' LEVEL WARNING TAGS disk:sda
    >>> id = client.log("node1", "disk is nearly full", level="WARNING", tags={"disk": "sda"})
    >>> # AGG.LOG node1 started SEQ web1-1760000000 3
    >>> id = client.log("node1", "started", seq=("web1-1760000000", 3))
    >>> client.log("node1", "started", seq=("web1-1760000000", 3))
    0
    """
    words = [b"AGG.LOG", arguments.text(node), arguments.text(message)]
    option(words, b"LEVEL", level, arguments.level)
    option(words, b"TAGS", tags, arguments.tags)
    option(words, b"AT", at, arguments.at)
    _seq_option(words, seq)
    return Command(words, records.parse_log)


def error(
    node: Text,
    message: Text,
    *,
    public: Optional[Text] = None,
    level: Optional[Level] = None,
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
    seq: Optional[Seq] = None,
) -> Command[Occurred]:
    """AGG.ERROR node message [PUBLIC text] [LEVEL level] [TYPE BUG|PERF|OPS|UNKNOWN] [TAGS tags]
    [CODE c] [FUNC f] [FILE p] [BACKTRACE b] [GID n] [NID n] [KEY k] [AT ms]
    [SEQ source n]

    Reports an error. The server stores each distinct error once, with a count, and queues it when
    it is new and then at most every five minutes. An error is identified by ``key`` or, without
    one, by a hash of message, public, code, func and file. Therefore keep variable parts out of the
    message, or pass a key, as `agg.capture_exceptions` does for exceptions. The level, as of
    `log`, defaults to ERROR. For a repetition (``seq``), ``is_repetition`` of the result is True.

    >>> # AGG.ERROR node1 'disk sda: read failed' LEVEL CRITICAL TYPE OPS FILE disk.c
    >>> client.error("node1", "disk sda: read failed", type="OPS", file="disk.c", level="CRITICAL")
    Occurred(key='f53a25f6de0821fec78bdac29e2e9f3d', occurrences=1)
    >>> # AGG.ERROR node1 'order 17 was lost' KEY order-lost
    >>> client.error("node1", "order 17 was lost", key="order-lost")
    Occurred(key='order-lost', occurrences=1)
    >>> # AGG.ERROR node1 'order 18 was lost' KEY order-lost
    >>> client.error("node1", "order 18 was lost", key="order-lost")
    Occurred(key='order-lost', occurrences=2)
    >>> # AGG.ERROR node1 'order 19 was lost' KEY order-lost SEQ web1-1760000000 4
    >>> client.error("node1", "order 19 was lost", key="order-lost", seq=("web1-1760000000", 4))
    Occurred(key='order-lost', occurrences=3)
    """
    words = [b"AGG.ERROR", arguments.text(node), arguments.text(message)]
    option(words, b"PUBLIC", public, arguments.text)
    option(words, b"LEVEL", level, arguments.level)
    option(words, b"TYPE", type, str.encode)
    option(words, b"TAGS", tags, arguments.tags)
    option(words, b"CODE", code, arguments.text)
    option(words, b"FUNC", func, arguments.text)
    option(words, b"FILE", file, arguments.text)
    option(words, b"BACKTRACE", backtrace, arguments.text)
    option(words, b"GID", gid, arguments.integer)
    option(words, b"NID", nid, arguments.integer)
    option(words, b"KEY", key, arguments.text)
    option(words, b"AT", at, arguments.at)
    _seq_option(words, seq)
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
    option(words, b"TAGS", tags, arguments.tags)
    option(words, b"AT", at, arguments.at)
    option(words, b"TTL", ttl, arguments.seconds)
    return Command(words, int)


def forget(node: Text, thing: ItemType, name: Text) -> Command[bool]:
    """AGG.FORGET node METRIC|ERROR|REALITY name

    Removes a metric (after closing its windows), an error, or an object (which is then reported as
    gone). Remove a metric to change its type. Returns whether it existed.

    >>> # AGG.FORGET node1 METRIC fan.speed
    >>> client.forget("node1", "METRIC", "fan.speed")
    False
    """
    words = [b"AGG.FORGET", arguments.text(node), thing.encode(), arguments.text(name)]
    return Command(words, bool)


def _sample_options(
    words: list[bytes],
    kind: Optional[Kind],
    hist: bool,
    tags: Optional[Tags],
    at: Optional[At],
) -> None:
    if kind is not None:
        words.append(kind.encode())
    if hist:
        words.append(b"HIST")
    option(words, b"TAGS", tags, arguments.tags)
    option(words, b"AT", at, arguments.at)


def _columns(samples: list[Sample], hist: bool) -> list[bytes]:
    """Returns the columns and their values, without columns that the command's options suffice for.

    ``hist`` is the option of the command, which a cell cannot leave to it as the others can.
    """
    default_hist = b"1" if hist else b"0"
    columns: dict[bytes, tuple[bytes, list[bytes]]] = {
        b"TYPE": (b"", [(each.kind or "").encode() for each in samples]),
        b"HIST": (
            default_hist,
            [default_hist if each.hist is None else b"%d" % each.hist for each in samples],
        ),
        b"TIMES": (b"", [_times(each.times) for each in samples]),
        b"TAGS": (
            b"",
            [b"" if each.tags is None else arguments.tags(each.tags) for each in samples],
        ),
        b"AT": (b"", [b"" if each.at is None else arguments.at(each.at) for each in samples]),
    }
    used = {name: cells for name, (default, cells) in columns.items() if set(cells) != {default}}
    words = [b"COLUMNS", b"METRIC", b"VALUE", *used, b"VALUES"] if used else [b"VALUES"]
    for sample, *cells in zip(samples, *used.values()):
        words += (arguments.text(sample.metric), arguments.number(sample.value), *cells)
    return words


def _times(n: int) -> bytes:
    return b"" if n == 1 else arguments.integer(n)


def _seq_option(words: list[bytes], seq: Optional[Seq]) -> None:
    if seq is not None:
        words += (b"SEQ", *arguments.seq(seq))
