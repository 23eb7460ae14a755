"""Converts Python values to command arguments.

Every function here returns ``bytes``, so no setting of the connection (its encoding, for example)
changes what the server receives. Text is encoded as UTF-8. Bytes that are not valid UTF-8 pass
through ``str`` by ``surrogateescape``, as in Python's file names, so every name survives a round
trip.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Literal, NamedTuple, Optional, Union

Text = Union[str, bytes]
Number = Union[int, float, Decimal, str]
TagValue = Union[str, bytes, int, float, bool, None]
Tags = Union[str, bytes, Mapping[str, TagValue]]
At = Union[int, datetime]
Ms = Union[int, timedelta]
Seconds = Union[int, timedelta]

Seq = tuple[Text, int]
"""The source of a numbered report and its number; see `agg.commands.reporting`."""

Kind = Literal["ABS", "ADD", "DIFF", "INC"]
"""What the value of a sample is; see `agg.commands.stat`."""

Window = Literal["MIN", "HOUR"]
Queue = Literal["MIN", "HOUR", "LOG", "ERROR", "REALITY"]
ItemType = Literal["METRIC", "ERROR", "REALITY"]
RequeueType = Literal["ERROR", "REALITY"]
Level = Union[int, str]
ErrorType = Literal["BUG", "PERF", "OPS", "UNKNOWN"]
Format = Literal["JSON", "LINE"]

Queues = Union[Queue, Iterable[Queue]]
Ids = Union[int, Iterable[int]]


class Sample(NamedTuple):
    """A sample of `agg.commands.mstat` with options of its own.

    ``None`` and ``times`` 1 leave an option to the command.
    """

    metric: Text
    value: Number
    kind: Optional[Kind] = None
    hist: Optional[bool] = None
    times: int = 1
    tags: Optional[Tags] = None
    at: Optional[At] = None


QUEUES: tuple[Queue, ...] = ("MIN", "HOUR", "LOG", "ERROR", "REALITY")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MS = timedelta(milliseconds=1)
_NOT_IN_TAG_NAMES = frozenset(" :=")
_CLEAN_TAG_NAME = str.maketrans(" :=", "___")


def text(value: Text) -> bytes:
    """Encodes a name or a text.

    >>> text("größe"), text(b"\\xff")
    (b'gr\\xc3\\xb6\\xc3\\x9fe', b'\\xff')
    """
    if isinstance(value, bytes):
        return value
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # A lone surrogate has no encoding.
        return value.encode("utf-8", "replace")


def number(value: Number) -> bytes:
    """Encodes the value of a sample as the shortest decimal that reads back to the same number.

    >>> number(17), number(0.1), number(True), number(Decimal("1.50"))
    (b'17', b'0.1', b'1', b'1.50')
    """
    if value.__class__ is float:
        return repr(value).encode()
    # Calls the base class, because subclasses (numpy's numbers, for example) may print differently.
    if isinstance(value, float):
        return float.__repr__(value).encode()
    if isinstance(value, int):
        return int.__repr__(value).encode()
    return text(str(value))


def integer(value: int) -> bytes:
    """Encodes an integer."""
    return b"%d" % value


def seq(value: Seq) -> list[bytes]:
    """Encodes the source and the number of a report.

    >>> seq(("web1-1760000000", 17))
    [b'web1-1760000000', b'17']
    """
    source, n = value
    return [text(source), integer(n)]


def queues(value: Queues) -> list[bytes]:
    """Encodes one or several names of queues."""
    return [value.encode()] if isinstance(value, str) else [queue.encode() for queue in value]


def ids(value: Ids) -> list[bytes]:
    """Encodes one or several ids of records."""
    return [integer(value)] if isinstance(value, int) else [integer(id) for id in value]


def level(value: Level) -> bytes:
    """Encodes a level given as a number or as a name.

    >>> level(3), level("WARNING")
    (b'3', b'WARNING')
    """
    return value.encode() if isinstance(value, str) else integer(value)


def tags(value: Tags) -> bytes:
    """Encodes tags as words ``name:value`` separated by spaces.

    A text is sent as it is; the server also takes ``name=value``. ``True`` becomes a word without
    a value. ``None`` leaves the tag out.

    >>> tags({"app": "shop", "canary": True, "shard": 3, "owner": None})
    b'app:shop canary shard:3'
    >>> tags("app:shop canary")
    b'app:shop canary'
    >>> tags({"title": "two words"})
    Traceback (most recent call last):
    ValueError: tag 'title': the value must not contain a space: 'two words'
    """
    if isinstance(value, (str, bytes)):
        return text(value)
    words = []
    for name, tag_value in value.items():
        if not name or not _NOT_IN_TAG_NAMES.isdisjoint(name):
            raise ValueError(
                f"tag {name!r}: the name must not be empty or contain a space, a colon or '='"
            )
        if tag_value is None:
            continue
        if tag_value is True:
            words.append(text(name))
            continue
        word = tag_value if isinstance(tag_value, bytes) else text(_tag_text(tag_value))
        if b" " in word:
            raise ValueError(f"tag {name!r}: the value must not contain a space: {tag_value!r}")
        words.append(text(name) + b":" + word)
    return b" ".join(words)


def lenient_tags(value: Tags) -> bytes:
    """Encodes tags for callers that must not fail: invalid characters become ``_``.

    >>> lenient_tags({"a title": "two words", "": 1})
    b'a_title:two_words'
    """
    if isinstance(value, (str, bytes)):
        return text(value)
    clean: dict[str, TagValue] = {}
    for name, tag_value in value.items():
        clean_name = str(name).translate(_CLEAN_TAG_NAME)
        if not clean_name:
            continue
        if tag_value is None or tag_value is True:
            clean[clean_name] = tag_value
        elif isinstance(tag_value, bytes):
            clean[clean_name] = tag_value.replace(b" ", b"_")
        else:
            clean[clean_name] = _tag_text(tag_value).replace(" ", "_")
    return tags(clean)


def _tag_text(value: Union[str, float, bool]) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def at(value: At) -> bytes:
    """Encodes a time given in Unix milliseconds or as a ``datetime`` (naive ones are local time).

    >>> at(1760000100000), at(datetime(2025, 10, 9, 8, 55, tzinfo=timezone.utc))
    (b'1760000100000', b'1760000100000')
    """
    return b"%d" % to_ms(value)


def to_ms(value: At) -> int:
    """Converts a time to Unix milliseconds."""
    if isinstance(value, datetime):
        return (value.astimezone(timezone.utc) - _EPOCH) // _MS
    return int(value)


def to_datetime(ms: int) -> datetime:
    """Converts Unix milliseconds to a ``datetime`` in UTC.

    >>> to_datetime(1760000100250)
    datetime.datetime(2025, 10, 9, 8, 55, 0, 250000, tzinfo=datetime.timezone.utc)
    """
    return _EPOCH + ms * _MS


def ms(value: Ms) -> bytes:
    """Encodes a duration in milliseconds.

    >>> ms(1500), ms(timedelta(seconds=1.5))
    (b'1500', b'1500')
    """
    return b"%d" % (value // _MS if isinstance(value, timedelta) else value)


def seconds(value: Seconds) -> bytes:
    """Encodes a duration in seconds.

    >>> seconds(60), seconds(timedelta(minutes=1))
    (b'60', b'60')
    """
    return b"%d" % (value // timedelta(seconds=1) if isinstance(value, timedelta) else value)
