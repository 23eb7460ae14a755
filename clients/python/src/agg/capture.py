"""Exceptions as error conditions: AGG.ERROR with file, function and traceback.

The server keeps each distinct error once, so what is the same is to have the same key: an
exception's is a hash over its class, its message without what differs from one occurrence to the
next, and the file and function where it happened, lines aside: they move with every change above
them. The place is the innermost frame of the program itself, not of a library it calls.

Nothing here raises: what cannot be told of an exception is left out.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import os
import re
import sys
import sysconfig
import threading
import traceback
from types import TracebackType
from typing import Any, Callable, Optional, TypeVar

from .arguments import ErrorType, Tags
from .default import recorder as default_recorder
from .recording import Recorder, logger

F = TypeVar("F", bound=Callable[..., Any])

# What differs between two occurrences of the same. Only what begins a word counts, so that sda12,
# utf8 and HTTP2 stay as they are; an underscore separates words. A decimal of any length and an id
# in hex, which may have no letter by chance, become the same.
_BEGINS, _ENDS = r"(?<![^\W_])", r"(?![^\W_])"
_VARYING = [
    (
        re.compile(_BEGINS + r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}" + _ENDS),
        "<id>",
    ),
    (re.compile(_BEGINS + r"0[xX][0-9a-fA-F]+" + _ENDS), "<address>"),
    (
        re.compile(
            _BEGINS + r"(?=[0-9]*[a-fA-F])(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}" + _ENDS,
        ),
        "<n>",
    ),
    # Letters between digits, as container100 and 10000000kB have none.
    (
        re.compile(
            _BEGINS
            + r"(?=(?:[A-Za-z]*[0-9]){3})(?=[A-Za-z0-9]*?[0-9][A-Za-z]+[0-9])[A-Za-z0-9]{10,}"
            + _ENDS
        ),
        "<id>",
    ),
    # With its sign, which is a hyphen behind a word; 1920x1080, 1.5e-07 and 01T15:04 are one.
    (
        re.compile(
            r"(?:(?<![\w)\]>}])[-+])?" + _BEGINS + r"\d+(?:[.,:]?\d|[eE][-+]\d|[A-Za-z]+\d)*"
        ),
        "<n>",
    ),
]

_MAX_MESSAGE = 4096
_MAX_BACKTRACE = 32 * 1024

# Longest first, so that a folder inside another is found before it.
_LIBRARIES = tuple(
    sorted(
        {
            os.path.join(path, "")
            for name in ("stdlib", "platstdlib", "purelib", "platlib")
            if (path := sysconfig.get_path(name))
        }
        | {os.path.join(os.path.dirname(__file__), "")},
        key=len,
        reverse=True,
    )
)


def normalised(message: str) -> str:
    """A message without what differs between two occurrences of the same error.

    >>> print(normalised("order 4711 of 10.1.2.3:5432 took 1.5s at 0x7f3a2b"))
    order <n> of <n> took <n>s at <address>
    >>> print(normalised("no session 5f2c9a1e-0b1d-4c3e-9f00-aabbccddeeff on sda1"))
    no session <id> on sda1
    >>> print(normalised("token deadbeef0123 of request Zk81q0p2Lm9x"))
    token <n> of request <id>
    """
    text = message[:_MAX_MESSAGE]
    for pattern, instead in _VARYING:
        text = pattern.sub(instead, text)
    return text


def group_key(*parts: str) -> str:
    """A key of 128 bits in hex over parts, each with its length, as the server's own is."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        hashed.update(b"%d:" % len(encoded))
        hashed.update(encoded)
    return hashed.hexdigest()


def short_path(path: str) -> str:
    """A file as it is imported, so that it is the same wherever the program lies.

    >>> print(short_path(os.__file__))
    os.py
    """
    found = [base for base in map(_folder, sys.path) if base and path.startswith(base)]
    return path[len(max(found, key=len)) :] if found else path


def _folder(path: str) -> str:
    return os.path.join(os.path.abspath(path), "") if isinstance(path, str) else ""


def report_exception(
    error: BaseException,
    *,
    recorder: Optional[Recorder] = None,
    public: Optional[str] = None,
    level: Optional[int] = None,
    type: Optional[ErrorType] = None,
    tags: Optional[Tags] = None,
    message: Optional[str] = None,
) -> None:
    """Report an exception as an error condition; never raises.

    The type is OPS where the surroundings are to blame (``OSError`` with those of the network and
    of time, ``MemoryError``), else BUG; the level is 7 where none is given, the code the class of
    the exception. ``message`` stands in place of the exception's own.

    >>> recorder = agg.configure("node1", url)
    >>> def pay(order):
    ...     raise ValueError(f"order {order} has no price")
    >>> for order in (17, 18):
    ...     try:
    ...         pay(order)
    ...     except ValueError as error:
    ...         agg.report_exception(error)
    >>> recorder.flush()
    True
    >>> [entry] = client.pop("node1", "ERROR")
    >>> entry.record.occurrences, entry.record.message, entry.record.func, entry.record.type
    (2, 'ValueError: order 18 has no price', 'pay', 'BUG')
    """
    try:
        to = recorder if recorder is not None else default_recorder()
        if to.of_own_thread():
            return
        name = _class_name(error)
        said = _bounded(message if message is not None else _said(error), _MAX_MESSAGE)
        file, func = place(error.__traceback__)
        if type is None:
            type = "OPS" if isinstance(error, (OSError, MemoryError)) else "BUG"
        to.error(
            f"{name}: {said}" if said else name,
            public=public,
            level=7 if level is None else level,
            type=type,
            tags=tags,
            code=name,
            func=func,
            file=file,
            backtrace=backtrace(error),
            key=group_key(name, normalised(said), file, func),
        )
    except Exception:
        logger.debug("agg: an exception could not be reported", exc_info=True)


def _class_name(error: BaseException) -> str:
    cls = error.__class__
    own = cls.__module__ in ("builtins", "__main__")
    return cls.__qualname__ if own else f"{cls.__module__}.{cls.__qualname__}"


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "<an exception that cannot be printed>"


def _bounded(text: str, most: int) -> str:
    """A text with its middle left out where it is too long: both ends tell more."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters ...]\n{text[-half:]}"


def backtrace(error: BaseException) -> str:
    """The traceback with those of its causes, bounded."""
    try:
        lines = traceback.format_exception(
            error.__class__, error, error.__traceback__, limit=-50, chain=True
        )
    except Exception:
        # A message that cannot be printed, say: the frames alone.
        lines = traceback.format_tb(error.__traceback__, limit=-50)
    return bounded_backtrace("".join(lines))


def bounded_backtrace(text: str) -> str:
    """The text of a traceback, bounded."""
    return _bounded(text, _MAX_BACKTRACE)


def place(tb: Optional[TracebackType]) -> tuple[str, str]:
    """File and function of the innermost frame of the program, or of all where none is its own."""
    innermost = own = None
    while tb is not None:
        code = tb.tb_frame.f_code
        innermost = code
        if not _of_library(code.co_filename):
            own = code
        tb = tb.tb_next
    found = own or innermost
    if found is None:
        return "", ""
    func = getattr(found, "co_qualname", found.co_name)  # qualified from 3.11 on
    return short_path(found.co_filename), func


def _of_library(file: str) -> bool:
    # Debian's own packages lie where sysconfig does not say.
    return file.startswith((*_LIBRARIES, "<frozen")) or "-packages" + os.sep in file


class capture_exceptions:
    """Report the exceptions of a block or a function, which go on their way.

    With ``swallow`` they end here. What is no error (KeyboardInterrupt, SystemExit, a cancelled
    task) is neither reported nor swallowed. Options are those of `report_exception`.

    >>> recorder = agg.configure("node1", url)
    >>> with agg.capture_exceptions(tags={"job": "nightly"}, swallow=True):
    ...     open("/does/not/exist")
    >>> @agg.capture_exceptions(public="The order could not be placed.")
    ... def order():
    ...     raise KeyError("price")
    >>> order()
    Traceback (most recent call last):
    KeyError: 'price'
    >>> recorder.flush()
    True
    >>> for entry in client.pop("node1", "ERROR"):
    ...     print(entry.record.code, entry.record.type, entry.record.tags, entry.record.public)
    FileNotFoundError OPS {'job': 'nightly'}...
    KeyError BUG {} The order could not be placed.
    """

    def __init__(
        self,
        *,
        swallow: bool = False,
        recorder: Optional[Recorder] = None,
        public: Optional[str] = None,
        level: Optional[int] = None,
        type: Optional[ErrorType] = None,
        tags: Optional[Tags] = None,
    ) -> None:
        self._swallow = swallow
        self._options: dict[str, Any] = {
            "recorder": recorder,
            "public": public,
            "level": level,
            "type": type,
            "tags": tags,
        }

    def __enter__(self) -> capture_exceptions:
        return self

    def __exit__(
        self,
        cls: Optional[type[BaseException]],
        error: Optional[BaseException],
        tb: Optional[TracebackType],
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        report_exception(error, **self._options)
        return self._swallow

    async def __aenter__(self) -> capture_exceptions:
        return self

    async def __aexit__(
        self,
        cls: Optional[type[BaseException]],
        error: Optional[BaseException],
        tb: Optional[TracebackType],
    ) -> bool:
        return self.__exit__(cls, error, tb)

    def __call__(self, function: F) -> F:
        """As a decorator, of a coroutine's function too."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def captured_coroutine(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return captured_coroutine  # type: ignore[return-value]

        @functools.wraps(function)
        def captured(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return captured  # type: ignore[return-value]


def install_hooks(recorder: Optional[Recorder] = None) -> Callable[[], None]:
    """Report what nobody catches: exceptions of the program, of its threads, of finalizers.

    What was installed before goes on being called. The answer takes the hooks off again. A loop of
    asyncio has a hook of its own: `watch_loop`.
    """
    before = sys.excepthook, threading.excepthook, sys.unraisablehook

    def uncaught(
        cls: type[BaseException], error: BaseException, tb: Optional[TracebackType]
    ) -> None:
        _uncaught(error, 9, recorder)
        before[0](cls, error, tb)

    def in_thread(args: threading.ExceptHookArgs) -> None:
        _uncaught(args.exc_value, 8, recorder)
        before[1](args)

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        _uncaught(args.exc_value, 6, recorder)
        before[2](args)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, unraisable

    def uninstall() -> None:
        # Not where somebody else has come after us: their hook calls ours.
        if sys.excepthook is uncaught:
            sys.excepthook = before[0]
        if threading.excepthook is in_thread:
            threading.excepthook = before[1]
        if sys.unraisablehook is unraisable:
            sys.unraisablehook = before[2]

    return uninstall


def watch_loop(
    loop: Optional[asyncio.AbstractEventLoop] = None, recorder: Optional[Recorder] = None
) -> None:
    """Report what a loop of asyncio (the running one) is told of tasks that nobody awaits.

    The handler that was set before, or the loop's own, goes on being called.
    """
    watched = loop if loop is not None else asyncio.get_running_loop()
    before = watched.get_exception_handler()

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        _uncaught(context.get("exception"), 7, recorder)
        if before is not None:
            before(loop, context)
        else:
            loop.default_exception_handler(context)

    watched.set_exception_handler(handler)


def _uncaught(error: Optional[BaseException], level: int, recorder: Optional[Recorder]) -> None:
    if isinstance(error, Exception):
        report_exception(error, level=level, recorder=recorder)
