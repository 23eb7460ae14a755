"""Samples as commands: what the recorder's thread makes of those that came.

AGG.MSTAT has one type, one tag list and one time for all its samples, so those that share these go
together. The times of gauges are rounded down to steps: a window begins at a whole second, so each
sample stays in its own. Totals keep their millisecond, as their rates depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional, Union

from . import arguments, commands
from .arguments import At, Kind, Number, Tags, Text
from .commands import Command

Sample = tuple[Text, Number, Kind, Optional[Tags], Union[float, At]]
"""Metric, value, type, tags, and the time: as it was given, or `agg.clock.ticks` as a float."""

_SAMPLES_A_COMMAND = 1000


class Flight:
    """A command on its way, with the number of reports in it."""

    __slots__ = ("command", "reports")

    def __init__(self, command: Command[Any], reports: int) -> None:
        self.command = command
        self.reports = reports


def mstats(
    node: bytes, samples: Iterable[Sample], tags: bytes, resolution: int, offset: float
) -> tuple[list[Flight], int, str]:
    """Samples as AGG.MSTATs, in the order in which they came.

    ``tags`` are those of all, ``resolution`` the step of gauges' times in ms, ``offset`` what makes
    the server's time of ticks. Answers also how many are no samples at all, and what is wrong with
    the last of these.

    >>> came = [("a", 1, "ABS", None, 100.123), ("b", 2.5, "ABS", None, 100.189),
    ...         ("c", 3, "DIFF", "x:y", 100.189), ("d", None, "ABS", None, "now")]
    >>> flights, unusable, why = agg.batching.mstats(b"n", came, b"app:shop", 100, 1760000000.0)
    >>> for flight in flights:
    ...     print(flight.command)
    AGG.MSTAT n ABS TAGS app:shop AT 1760000100100 VALUES a 1 b 2.5
    AGG.MSTAT n DIFF TAGS 'app:shop x:y' AT 1760000100189 VALUES c 3
    >>> unusable, why
    (1, "ValueError: invalid literal for int() with base 10: 'now'")
    """
    groups: dict[tuple[bytes, Optional[bytes], int], list[bytes]] = {}
    # Neighbours are mostly alike, and the same few names come again and again.
    last: tuple[object, object, int] = (None, None, -1)
    words: list[bytes] = []
    names: dict[Text, bytes] = {}
    unusable, why = 0, ""
    number, text = arguments.number, arguments.text
    for metric, value, kind, own, at in samples:
        try:
            if at.__class__ is float:
                ms = int((at + offset) * 1000)
                if kind == "ABS":
                    ms -= ms % resolution
            else:
                ms = arguments.to_ms(at)  # type: ignore[arg-type]
            if ms != last[2] or own is not last[1] or kind is not last[0]:
                words = groups.setdefault((text(kind), tagged(tags, own), ms), [])
                last = (kind, own, ms)
            name = names.get(metric)
            if name is None:
                name = names[metric] = text(metric)
            words += (name, number(value))
        except Exception as error:
            unusable, why = unusable + 1, told(error)
    flights = []
    for (kind_word, tag_words, ms), words in groups.items():
        head = [b"AGG.MSTAT", node, kind_word]
        head += [b"TAGS", tag_words] if tag_words else []
        head += [b"AT", b"%d" % ms, b"VALUES"]
        for i in range(0, len(words), 2 * _SAMPLES_A_COMMAND):
            part = words[i : i + 2 * _SAMPLES_A_COMMAND]
            flights.append(Flight(Command(head + part, commands.taken), len(part) // 2))
    return flights, unusable, why


def tagged(common: bytes, own: Optional[Tags]) -> Optional[bytes]:
    """Tags of one report behind those of all: of a name given twice the last holds."""
    words = arguments.lenient_tags(own) if own is not None else b""
    return (common + b" " + words if common and words else common or words) or None


def told(why: object) -> str:
    """A reason as text, whatever it is."""
    try:
        return f"{type(why).__name__}: {why}" if isinstance(why, BaseException) else str(why)
    except Exception:
        return type(why).__name__
