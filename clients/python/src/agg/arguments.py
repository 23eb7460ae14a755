"""Python's values as arguments of commands.

Everything that leaves here is ``bytes``, so that no setting of the connection (an encoding, say)
changes what the server is told. Text is UTF-8; bytes that are not are carried through ``str`` by
``surrogateescape``, as Python does with names of files, so that any name comes back as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Literal, Union

Text = Union[str, bytes]
Number = Union[int, float, Decimal, str]
TagValue = Union[str, bytes, int, float, bool, None]
Tags = Union[str, bytes, Mapping[str, TagValue]]
At = Union[int, datetime]
Ms = Union[int, timedelta]
Seconds = Union[int, timedelta]

Kind = Literal["ABS", "DIFF"]
Window = Literal["MIN", "HOUR"]
Queue = Literal["MIN", "HOUR", "LOG", "ERROR", "REALITY"]
State = Literal["ERROR", "REALITY"]
Thing = Literal["METRIC", "ERROR", "REALITY"]
ErrorType = Literal["BUG", "PERF", "OPS", "UNKNOWN"]
Format = Literal["JSON", "LINE"]

QUEUES: tuple[Queue, ...] = ("MIN", "HOUR", "LOG", "ERROR", "REALITY")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MS = timedelta(milliseconds=1)


def text(value: Text) -> bytes:
    """A name or a text.

    >>> text("größe"), text(b"\\xff")
    (b'gr\\xc3\\xb6\\xc3\\x9fe', b'\\xff')
    """
    if isinstance(value, bytes):
        return value
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Half of a surrogate pair is no character at all.
        return value.encode("utf-8", "replace")


def number(value: Number) -> bytes:
    """A sample's value: the shortest decimal that reads back to the same number.

    >>> number(17), number(0.1), number(True), number(Decimal("1.50"))
    (b'17', b'0.1', b'1', b'1.50')
    """
    if value.__class__ is float:
        return repr(value).encode()
    # The base classes' own: what derives from them (numpy's numbers do) may print otherwise.
    if isinstance(value, float):
        return float.__repr__(value).encode()
    if isinstance(value, int):
        return int.__repr__(value).encode()
    return text(str(value))


def tags(value: Tags) -> bytes:
    """Tags as the protocol has them: words ``name:value``, separated by blanks.

    ``True`` is a word without a value, ``None`` leaves the tag out.

    >>> tags({"app": "shop", "canary": True, "shard": 3, "owner": None})
    b'app:shop canary shard:3'
    >>> tags("app:shop canary")
    b'app:shop canary'
    >>> tags({"title": "two words"})
    Traceback (most recent call last):
    ValueError: tag 'title': a value holds no blank: 'two words'
    """
    if isinstance(value, (str, bytes)):
        return text(value)
    words = []
    for name, of_it in value.items():
        if not name or ":" in name or " " in name:
            raise ValueError(f"tag {name!r}: a name is not empty and holds no blank and no colon")
        if of_it is None:
            continue
        if of_it is True:
            words.append(text(name))
            continue
        word = of_it if isinstance(of_it, bytes) else text(_worded(of_it))
        if b" " in word:
            raise ValueError(f"tag {name!r}: a value holds no blank: {of_it!r}")
        words.append(text(name) + b":" + word)
    return b" ".join(words)


def lenient_tags(value: Tags) -> bytes:
    """The same for those who must not fail: what a tag cannot hold becomes ``_``.

    >>> lenient_tags({"a title": "two words", "": 1})
    b'a_title:two_words'
    """
    if isinstance(value, (str, bytes)):
        return text(value)
    clean: dict[str, TagValue] = {}
    for name, of_it in value.items():
        kept = str(name).replace(" ", "_").replace(":", "_")
        if not kept:
            continue
        if of_it is None or of_it is True:
            clean[kept] = of_it
        elif isinstance(of_it, bytes):
            clean[kept] = of_it.replace(b" ", b"_")
        else:
            clean[kept] = _worded(of_it).replace(" ", "_")
    return tags(clean)


def _worded(value: Union[str, float, bool]) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def at(value: At) -> bytes:
    """A time: Unix milliseconds or a ``datetime`` (without a zone it is local, as always there).

    >>> at(1760000100000), at(datetime(2025, 10, 9, 8, 55, tzinfo=timezone.utc))
    (b'1760000100000', b'1760000100000')
    """
    return b"%d" % to_ms(value)


def to_ms(value: At) -> int:
    """A time as Unix milliseconds."""
    if isinstance(value, datetime):
        return (value.astimezone(timezone.utc) - _EPOCH) // _MS
    return int(value)


def to_datetime(ms: int) -> datetime:
    """Unix milliseconds as a time in UTC.

    >>> to_datetime(1760000100250)
    datetime.datetime(2025, 10, 9, 8, 55, 0, 250000, tzinfo=datetime.timezone.utc)
    """
    return _EPOCH + ms * _MS


def ms(value: Ms) -> bytes:
    """A duration in milliseconds.

    >>> ms(1500), ms(timedelta(seconds=1.5))
    (b'1500', b'1500')
    """
    return b"%d" % (value // _MS if isinstance(value, timedelta) else value)


def seconds(value: Seconds) -> bytes:
    """A duration in seconds.

    >>> seconds(60), seconds(timedelta(minutes=1))
    (b'60', b'60')
    """
    return b"%d" % (value // timedelta(seconds=1) if isinstance(value, timedelta) else value)
