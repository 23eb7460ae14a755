"""Records delivered by queues, and the replies of commands that read.

Fields have the names of the protocol, with ``_`` for ``-``. Times are Unix milliseconds;
`agg.to_datetime` converts them. Fields that a newer server adds are ignored here; `Entry.text` has
them all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from typing import Any, Callable, Optional, TypeVar, Union

from .arguments import Queue

Tags = dict[str, Union[str, bool]]


Percentiles = dict[str, float]
"""The percentiles of a window by name, in ascending order: ``{"p50": 14.0, "p99_9": 840.0}``.

They are those of the server's setting ``agg.percentiles``, and empty without a histogram.
"""

BucketCounts = tuple[int, list[int]]
"""The index of the first bucket that has values, and the counts from there on."""


@dataclass(frozen=True)
class Histogram:
    """The histogram of a window, with the meaning that OpenTelemetry defines.

    Bucket i of ``pos`` has the values above b^i, up to b^(i+1), where b is 2^(2^-scale). ``neg``
    has the negative values by their magnitudes, and ``zero`` is the number of zeros.
    """

    scale: int
    zero: int
    pos: BucketCounts
    neg: BucketCounts


@dataclass(frozen=True)
class StatRecord:
    """A closed window of a metric (queues ``MIN`` and ``HOUR``).

    For a ``DIFF`` or ``INC`` metric, ``sum`` is the increase, and ``avg``, ``min``, ``max`` and
    ``last`` are rates per second. A metric with a histogram has ``percentiles``, of the rates for
    these two types.
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
    percentiles: Percentiles = field(default_factory=dict)
    hist: Optional[Histogram] = None
    """Only with the setting ``agg.hist-records``."""


@dataclass(frozen=True)
class LogRecord:
    """A log entry (queue ``LOG``)."""

    node: str
    queue: str
    id: int
    message: str
    level: int
    epoch: int
    tags: Tags = field(default_factory=dict)
    severity: str = ""
    """The name of the level or of the next below; empty from servers older than 0.2."""


@dataclass(frozen=True)
class ErrorRecord:
    """An error with its count (queue ``ERROR``). Only AGG.GET sets ``seen``."""

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
    severity: str = ""
    """The name of the level or of the next below; empty from servers older than 0.2."""


@dataclass(frozen=True)
class RealityRecord:
    """A new, changed or removed object (queue ``REALITY``). Only AGG.GET sets ``seen``."""

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

_RECORD_TYPES: dict[str, Callable[..., Record]] = {
    "MIN": StatRecord,
    "HOUR": StatRecord,
    "LOG": LogRecord,
    "ERROR": ErrorRecord,
    "REALITY": RealityRecord,
}


@dataclass(frozen=True)
class Entry:
    """A record as delivered by POP, FETCH or PEEK, with its queue, id and delivery count.

    ``(node, queue, id)`` is a primary key: writing the same record twice under it does no harm.
    ``deliveries`` is 1 the first time.
    """

    node: str
    queue: Queue
    id: int
    deliveries: int
    text: str
    """The unparsed record: JSON, or line protocol if that was requested."""

    @cached_property
    def record(self) -> Record:
        """The record, parsed on first access."""
        values = json.loads(self.text)
        if self.queue in ("MIN", "HOUR"):
            values["percentiles"] = {n: v for n, v in values.items() if _is_percentile(n)}
            if "hist" in values:
                values["hist"] = _parse_histogram(values["hist"])
        return from_fields(_RECORD_TYPES[self.queue], values)


@dataclass(frozen=True)
class Bucket:
    """One window of a metric, as returned by AGG.RANGE. ``closed`` is False for an open one."""

    start: int
    end: int
    count: int
    sum: float
    avg: float
    min: float
    max: float
    last: float
    closed: bool
    percentiles: Percentiles = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """The current state of a metric: its open windows and the counters of its samples.

    ``last`` is the value that arrived last; of an ``INC`` metric the last increment.
    """

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
    #: 0 if the server's version does not report it.
    late_hour: int = 0
    total: Optional[float] = None
    """The sum of all increases of a ``DIFF`` or ``INC`` metric since it exists, else None."""


@dataclass(frozen=True)
class QueueInfo:
    """A queue: its length, the age of its oldest record in ms, and the number of drops."""

    length: int
    bytes: int
    oldest: int
    leased: int
    dropped: int


@dataclass(frozen=True)
class NodeInfo:
    """The reply of AGG.INFO: the contents of a node and its counters since the server started."""

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
    #: 0 if the server's version does not report it, like the following.
    late_hour: int = 0
    sources: int = 0
    sources_dropped: int = 0
    inc_slot: int = 0
    suspect_diff: int = 0
    """Windows of ``DIFF`` metrics to which several processes seem to report their totals."""
    forgotten: int = 0
    forgotten_dropped: int = 0
    imported: int = 0
    """Records of other servers that ``AGG.IMPORT`` stored."""
    import_duplicates: int = 0
    import_refused: int = 0


@dataclass(frozen=True)
class Taken:
    """The reply of AGG.MSTAT: accepted and late samples, and (index, reason) of rejected ones.

    Rejected samples that are sent again need a new ``seq``. For a repetition, all are zero.
    """

    taken: int
    late: int
    refused: list[tuple[int, str]]

    @property
    def is_repetition(self) -> bool:
        """True if the server had executed the command before, under the same ``seq``."""
        return not (self.taken or self.late or self.refused)


@dataclass(frozen=True)
class Occurred:
    """The reply of AGG.ERROR: the error's key and its number of occurrences.

    For a repetition, the key is empty and the number 0.
    """

    key: str
    occurrences: int

    @property
    def is_repetition(self) -> bool:
        """True if the server had executed the command before, under the same ``seq``."""
        return not self.occurrences


T = TypeVar("T")


@cache
def _field_names(cls: Any) -> frozenset[str]:
    return frozenset(each.name for each in fields(cls))


def from_fields(cls: Callable[..., T], values: dict[str, Any]) -> T:
    """Creates a dataclass from a map, ignoring names that it has no field for."""
    names = _field_names(cls)
    return cls(**{name: value for name, value in values.items() if name in names})


def to_str(reply: Any) -> str:
    """Decodes a string of a reply. A connection that decodes in MULTI already returns ``str``."""
    return reply if isinstance(reply, str) else reply.decode("utf-8", "surrogateescape")


def parse_map(reply: Any) -> dict[str, Any]:
    """Parses a map, which RESP2 sends as a flat list, and replaces ``-`` in names by ``_``."""
    return {name.replace("-", "_"): value for name, value in _items(reply)}


def optional(parse: Callable[[Any], T], reply: Any) -> Optional[T]:
    """Parses a reply that is nil if the requested item does not exist."""
    return None if reply is None else parse(reply)


def parse_stat(reply: Any) -> Optional[bool]:
    """Parses the reply of AGG.STAT. That of a repetition is nil."""
    return optional(bool, reply)


def parse_log(reply: Any) -> int:
    """Parses the reply of AGG.LOG. That of a repetition is nil."""
    return int(reply or 0)


def parse_mstat(reply: Any) -> Taken:
    """Parses the reply of AGG.MSTAT. That of a repetition is nil."""
    if reply is None:
        return Taken(0, 0, [])
    return Taken(reply[0], reply[1], [(index, to_str(why)) for index, why in reply[2]])


def parse_occurred(reply: Any) -> Occurred:
    """Parses the reply of AGG.ERROR. That of a repetition is nil."""
    if reply is None:
        return Occurred("", 0)
    return Occurred(to_str(reply[0]), reply[1])


def parse_entries(node: str, reply: Any) -> list[Entry]:
    """Parses the reply of POP, FETCH and PEEK. A BLOCK that timed out replies nil."""
    return [
        Entry(node, to_str(queue), id, deliveries, to_str(record))  # type: ignore[arg-type]
        for queue, id, deliveries, record in reply or ()
    ]


def parse_bucket(reply: Any) -> Bucket:
    """Parses one window of AGG.RANGE or AGG.GET."""
    values = parse_map(reply)
    for name in ("sum", "avg", "min", "max", "last"):
        values[name] = float(values[name])
    values["percentiles"] = {n: float(v) for n, v in values.items() if _is_percentile(n)}
    values["closed"] = bool(values["closed"])
    return from_fields(Bucket, values)


def parse_metric(reply: Any) -> Metric:
    """Parses the reply of AGG.GET METRIC."""
    values = parse_map(reply)
    values["name"] = to_str(values["name"])
    values["type"] = to_str(values["type"])
    values["tags"] = _parse_tags(values["tags"])
    last = to_str(values["last"])
    values["last"] = int(last) if last.lstrip("+-").isdigit() else float(last)
    if "total" in values:
        values["total"] = float(values["total"])
    values["min"] = [parse_bucket(each) for each in values["min"]]
    values["hour"] = [parse_bucket(each) for each in values["hour"]]
    return from_fields(Metric, values)


def parse_error(reply: Any) -> ErrorRecord:
    """Parses the reply of AGG.GET ERROR."""
    return from_fields(ErrorRecord, _decode_map(reply))


def parse_reality(reply: Any) -> RealityRecord:
    """Parses the reply of AGG.GET REALITY."""
    values = _decode_map(reply)
    values["json"] = json.loads(values["json"])
    values["gone"] = bool(values["gone"])
    return from_fields(RealityRecord, values)


def parse_info(reply: Any) -> NodeInfo:
    """Parses the reply of AGG.INFO."""
    values = parse_map(reply)
    values["refused"] = dict(_items(values["refused"]))
    values["queues"] = {
        name: from_fields(QueueInfo, parse_map(queue)) for name, queue in _items(values["queues"])
    }
    return from_fields(NodeInfo, values)


def _is_percentile(name: str) -> bool:
    return name[:1] == "p" and name[1:2].isdigit()


def _parse_histogram(value: dict[str, Any]) -> Histogram:
    sides = {side: tuple(value[side]) for side in ("pos", "neg")}
    return from_fields(Histogram, {**value, **sides})


def _decode_map(reply: Any) -> dict[str, Any]:
    values = parse_map(reply)
    tags = _parse_tags(values.pop("tags"))
    decoded = {n: to_str(v) if isinstance(v, (bytes, str)) else v for n, v in values.items()}
    return {**decoded, "tags": tags}


def _items(reply: Any) -> list[tuple[str, Any]]:
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2])
    return [(to_str(name), value) for name, value in pairs]


def _parse_tags(reply: Any) -> Tags:
    # A tag without a value is the text `true` here, but a JSON true in records.
    return {n: True if (v := to_str(value)) == "true" else v for n, value in _items(reply)}
