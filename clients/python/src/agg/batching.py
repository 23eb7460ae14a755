"""Turns queued samples into AGG.MSTAT commands.

An AGG.MSTAT has one metric type, HIST or not, one tag list and one time for all of its samples, so
samples that share these are sent together. The times of gauges are rounded down to steps. Windows
start at whole seconds, so no sample moves to another window. Totals (``DIFF``) keep their
millisecond, because their rates depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional, Union

from . import arguments, records
from .arguments import At, MetricType, Number, Tags, Text
from .command import Command

Sample = tuple[Text, Number, MetricType, bool, Optional[Tags], Union[float, At]]
"""Metric, value, type, HIST, tags and time. A float is a time in `agg.clock.ticks`."""

_SAMPLES_PER_COMMAND = 1000


class Batch:
    """A command to be sent, the number of reports that it carries, and its sequence number."""

    __slots__ = ("command", "number", "reports")

    def __init__(self, command: Command[Any], reports: int) -> None:
        self.command = command
        self.reports = reports
        self.number = 0
        """The number of the option SEQ; 0: none."""


def encode_samples(
    node: bytes, samples: Iterable[Sample], common_tags: bytes, resolution: int, offset: float
) -> tuple[list[Batch], int, str]:
    """Encodes samples as AGG.MSTAT commands, in the order in which they were reported.

    ``common_tags`` are added to every sample, ``resolution`` is the step of gauge times in ms, and
    ``offset`` converts ticks to server time. Returns the batches, the number of unusable samples,
    and the reason for the last of these.

    >>> samples = [("a", 1, "ABS", False, None, 100.123), ("b", 2.5, "ABS", False, None, 100.189),
    ...            ("c", 3, "DIFF", True, "x:y", 100.189), ("d", None, "ABS", False, None, "now")]
    >>> batches, unusable, why = agg.batching.encode_samples(
    ...     b"n", samples, b"app:shop", 100, 1760000000.0)
    >>> for batch in batches:
    ...     print(batch.command)
    AGG.MSTAT n ABS TAGS app:shop AT 1760000100100 VALUES a 1 b 2.5
    AGG.MSTAT n DIFF HIST TAGS 'app:shop x:y' AT 1760000100189 VALUES c 3
    >>> unusable, why
    (1, "ValueError: invalid literal for int() with base 10: 'now'")
    """
    groups: dict[tuple[bytes, bool, Optional[bytes], int], list[bytes]] = {}
    # Consecutive samples mostly share a group, and the same few names recur.
    last: tuple[object, bool, object, int] = (None, False, None, -1)
    words: list[bytes] = []
    names: dict[Text, bytes] = {}
    unusable, why = 0, ""
    number, text = arguments.number, arguments.text
    for metric, value, kind, hist, tags, at in samples:
        try:
            if at.__class__ is float:
                ms = int((at + offset) * 1000)
                if kind == "ABS":
                    ms -= ms % resolution
            else:
                ms = arguments.to_ms(at)  # type: ignore[arg-type]
            if ms != last[3] or tags is not last[2] or kind is not last[0] or hist is not last[1]:
                group = (text(kind), hist, merge_tags(common_tags, tags), ms)
                words = groups.setdefault(group, [])
                last = (kind, hist, tags, ms)
            name = names.get(metric)
            if name is None:
                name = names[metric] = text(metric)
            words += (name, number(value))
        except Exception as error:
            unusable, why = unusable + 1, describe(error)
    batches = []
    for (kind_word, hist, tag_words, ms), words in groups.items():
        head = [b"AGG.MSTAT", node, kind_word]
        head += [b"HIST"] if hist else []
        head += [b"TAGS", tag_words] if tag_words else []
        head += [b"AT", b"%d" % ms, b"VALUES"]
        for i in range(0, len(words), 2 * _SAMPLES_PER_COMMAND):
            part = words[i : i + 2 * _SAMPLES_PER_COMMAND]
            batches.append(Batch(Command(head + part, records.parse_mstat), len(part) // 2))
    return batches, unusable, why


def merge_tags(common: bytes, own: Optional[Tags]) -> Optional[bytes]:
    """Appends a report's own tags to the common ones. The server keeps the last of equal names."""
    words = arguments.lenient_tags(own) if own is not None else b""
    return (common + b" " + words if common and words else common or words) or None


def describe(reason: object) -> str:
    """Returns a reason, usually an exception, as text. Never raises."""
    try:
        if isinstance(reason, BaseException):
            return f"{type(reason).__name__}: {reason}"
        return str(reason)
    except Exception:
        return type(reason).__name__
