"""What comes out: records of the queues, and what reading commands answer.

Fields have the names of the protocol (``-`` becomes ``_``). Times are Unix milliseconds;
`agg.to_datetime` makes a ``datetime`` of one. A server that is newer may tell more: what is not
known here is left out, and `Entry.text` has all of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from typing import Any, Callable, TypeVar, Union

from .arguments import Queue

Tags = dict[str, Union[str, bool]]


@dataclass(frozen=True)
class StatRecord:
    """A metric in a window that has closed (queues ``MIN`` and ``HOUR``).

    Of a ``DIFF`` metric ``sum`` is the increase, ``avg``, ``min``, ``max`` and ``last`` are rates
    per second.
    """

    node: str
    queue: str
    id: int
    metric: str
    type: str
    window: int
    start: int
    end: int
    count: int
    sum: float
    avg: float
    min: float
    max: float
    last: float
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True)
class LogRecord:
    """A line (queue ``LOG``)."""

    node: str
    queue: str
    id: int
    message: str
    level: int
    epoch: int
    tags: Tags = field(default_factory=dict)


@dataclass(frozen=True)
class ErrorRecord:
    """An error with its count (queue ``ERROR``); ``seen`` is told by AGG.GET alone."""

    node: str
    queue: str
    id: int
    key: str
    message: str
    public: str
    level: int
    type: str
    code: str
    func: str
    file: str
    backtrace: str
    gid: int
    nid: int
    occurrences: int
    first: int
    last: int
    tags: Tags = field(default_factory=dict)
    seen: int = 0


@dataclass(frozen=True)
class RealityRecord:
    """An object that is new, has changed or is gone (queue ``REALITY``)."""

    node: str
    queue: str
    id: int
    key: str
    model: str
    json: Any
    epoch: int
    gone: bool
    tags: Tags = field(default_factory=dict)
    seen: int = 0


Record = Union[StatRecord, LogRecord, ErrorRecord, RealityRecord]

_RECORDS: dict[str, Callable[..., Record]] = {
    "MIN": StatRecord,
    "HOUR": StatRecord,
    "LOG": LogRecord,
    "ERROR": ErrorRecord,
    "REALITY": RealityRecord,
}


@dataclass(frozen=True)
class Entry:
    """An entry of a queue, as POP, FETCH and PEEK hand it out.

    ``(node, queue, id)`` is a primary key: what is written twice under it does no harm.
    ``deliveries`` is 1 the first time.
    """

    node: str
    queue: Queue
    id: int
    deliveries: int
    text: str
    """The record as it came: JSON, or line protocol where that was asked for."""

    @cached_property
    def record(self) -> Record:
        """The record, read when it is first asked for."""
        told = json.loads(self.text)
        return made(_RECORDS[self.queue], told)


@dataclass(frozen=True)
class Bucket:
    """A metric in a window, as AGG.RANGE has it; one that is open has ``closed`` False."""

    start: int
    end: int
    count: int
    sum: float
    avg: float
    min: float
    max: float
    last: float
    closed: bool


@dataclass(frozen=True)
class Metric:
    """A metric as it stands: its open windows, and what became of its samples."""

    name: str
    type: str
    tags: Tags
    last: Union[int, float]
    at: int
    min: list[Bucket]
    hour: list[Bucket]
    samples: int
    late: int
    late_min: int
    restarts: int
    gaps: int
    tag_changes: int
    #: 0 where the server's version does not know it.
    late_hour: int = 0


@dataclass(frozen=True)
class QueueInfo:
    """A queue: what waits in it, the age of the oldest in ms, and what was dropped."""

    length: int
    bytes: int
    oldest: int
    leased: int
    dropped: int


@dataclass(frozen=True)
class NodeInfo:
    """AGG.INFO: what a node holds, and what was late, cut and refused since the server's start."""

    metrics: int
    errors: int
    realities: int
    bytes: int
    min_window: int
    hour_window: int
    late: int
    late_min: int
    clock_back: int
    truncated: int
    refused: dict[str, int]
    queues: dict[str, QueueInfo]
    #: 0 where the server's version does not know it.
    late_hour: int = 0


@dataclass(frozen=True)
class Taken:
    """What AGG.MSTAT did: samples that counted, that were late, and (index, why) of the others."""

    taken: int
    late: int
    refused: list[tuple[int, str]]


@dataclass(frozen=True)
class Occurred:
    """What AGG.ERROR answers: the error's key, and how often it has occurred."""

    key: str
    occurrences: int


T = TypeVar("T")


@cache
def _names(cls: Any) -> frozenset[str]:
    return frozenset(each.name for each in fields(cls))


def made(cls: Callable[..., T], told: dict[str, Any]) -> T:
    """A record of what was told, less what it has no field for."""
    names = _names(cls)
    return cls(**{name: value for name, value in told.items() if name in names})


def as_text(reply: Any) -> str:
    """A text of a reply. A connection that decodes in MULTI hands out ``str``."""
    return reply if isinstance(reply, str) else reply.decode("utf-8", "surrogateescape")


def as_map(reply: Any) -> dict[str, Any]:
    """A map: one of its own in RESP3, a flat list in RESP2. Names get ``_`` for ``-``."""
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2])
    return {as_text(name).replace("-", "_"): value for name, value in pairs}


def entries(node: str, reply: Any) -> list[Entry]:
    """What POP, FETCH and PEEK answer; nil where a BLOCK ended without any."""
    return [
        Entry(node, as_text(queue), id, deliveries, as_text(record))  # type: ignore[arg-type]
        for queue, id, deliveries, record in reply or ()
    ]


def bucket(reply: Any) -> Bucket:
    """A window of AGG.RANGE and AGG.GET."""
    told = as_map(reply)
    for name in ("sum", "avg", "min", "max", "last"):
        told[name] = float(told[name])
    told["closed"] = bool(told["closed"])
    return made(Bucket, told)


def metric(reply: Any) -> Metric:
    """AGG.GET METRIC."""
    told = as_map(reply)
    told["name"] = as_text(told["name"])
    told["type"] = as_text(told["type"])
    told["tags"] = _tags(told["tags"])
    last = as_text(told["last"])
    told["last"] = int(last) if last.lstrip("+-").isdigit() else float(last)
    told["min"] = [bucket(each) for each in told["min"]]
    told["hour"] = [bucket(each) for each in told["hour"]]
    return made(Metric, told)


def error(reply: Any) -> ErrorRecord:
    """AGG.GET ERROR."""
    return made(ErrorRecord, _state(reply))


def reality(reply: Any) -> RealityRecord:
    """AGG.GET REALITY."""
    told = _state(reply)
    told["json"] = json.loads(told["json"])
    told["gone"] = bool(told["gone"])
    return made(RealityRecord, told)


def info(reply: Any) -> NodeInfo:
    """AGG.INFO."""
    told = as_map(reply)
    told["refused"] = _counts(told["refused"])
    told["queues"] = {
        name: made(QueueInfo, as_map(of_it)) for name, of_it in _items(told["queues"])
    }
    return made(NodeInfo, told)


def _state(reply: Any) -> dict[str, Any]:
    told = as_map(reply)
    tags = _tags(told.pop("tags"))
    plain = {n: as_text(v) if isinstance(v, (bytes, str)) else v for n, v in told.items()}
    return {**plain, "tags": tags}


def _items(reply: Any) -> list[tuple[str, Any]]:
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2])
    return [(as_text(name), value) for name, value in pairs]


def _counts(reply: Any) -> dict[str, int]:
    return dict(_items(reply))


def _tags(reply: Any) -> Tags:
    # Here a word without a value comes as the text `true`, in records as true.
    return {n: True if (v := as_text(value)) == "true" else v for n, value in _items(reply)}
