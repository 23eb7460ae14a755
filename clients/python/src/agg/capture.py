"""Reports exceptions as AGG.ERROR, with file, function and traceback.

The server stores each distinct error once, so occurrences of the same error must have the same key.
The key is a hash of the exception's class, its message without variable parts, and the file and
function where it was raised. Line numbers are left out, because every edit above them changes them.
The location is the innermost frame of the program itself, not of a library that it calls.

Reporting never raises. Details that cannot be read from an exception are left out.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
import os
import sys
import sysconfig
import threading
import traceback
from types import TracebackType
from typing import Any, Callable, Optional, TypeVar

from .arguments import ErrorType, Level, Tags
from .default import recorder as default_recorder
from .grouping import normalize_message as normalize_message  # noqa: PLC0414  # re-exported
from .recording import Recorder, logger

F = TypeVar("F", bound=Callable[..., Any])

_MAX_MESSAGE = 4096
_MAX_BACKTRACE = 32 * 1024

# The longest first, so that a nested folder matches before its parent.
_LIBRARY_FOLDERS = tuple(
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


def group_key(*parts: str) -> str:
    """Returns a 128-bit hash in hex of the parts and their lengths, like the server's own keys."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        hashed.update(b"%d:" % len(encoded))
        hashed.update(encoded)
    return hashed.hexdigest()


def short_path(path: str) -> str:
    """Returns a file's path as it is imported, wherever the program is installed.

    >>> print(short_path(os.__file__))
    os.py
    """
    bases = [base for base in map(_folder, sys.path) if base and path.startswith(base)]
    return path[len(max(bases, key=len)) :] if bases else path


def _folder(path: str) -> str:
    return os.path.join(os.path.abspath(path), "") if isinstance(path, str) else ""


def report_exception(
    error: BaseException,
    *,
    recorder: Optional[Recorder] = None,
    public: Optional[str] = None,
    level: Optional[Level] = None,
    type: Optional[ErrorType] = None,
    tags: Optional[Tags] = None,
    message: Optional[str] = None,
) -> None:
    """Reports an exception as an error. Never raises.

    The type defaults to OPS for failures of the environment (``OSError``, which includes network
    errors and timeouts, and ``MemoryError``) and to BUG otherwise. The level defaults to ERROR. The
    code is the class of the exception. ``message`` replaces the exception's own message.

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
        recorder = recorder if recorder is not None else default_recorder()
        if recorder.in_sender_thread():
            return
        name = _class_name(error)
        text = _truncate_middle(message if message is not None else _message(error), _MAX_MESSAGE)
        file, func = locate(error.__traceback__)
        if type is None:
            type = "OPS" if isinstance(error, (OSError, MemoryError)) else "BUG"
        recorder.error(
            f"{name}: {text}" if text else name,
            public=public,
            level="ERROR" if level is None else level,
            type=type,
            tags=tags,
            code=name,
            func=func,
            file=file,
            backtrace=backtrace(error),
            key=group_key(name, normalize_message(text), file, func),
        )
    except Exception:
        logger.debug("agg: cannot report an exception", exc_info=True)


def _class_name(error: BaseException) -> str:
    cls = error.__class__
    unqualified = cls.__module__ in ("builtins", "__main__")
    return cls.__qualname__ if unqualified else f"{cls.__module__}.{cls.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        # Part of the error's key: another text would report known errors as new ones.
        return "<an exception that cannot be printed>"


def _truncate_middle(text: str, limit: int) -> str:
    """Removes the middle of a text that is too long. Both ends are more informative."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters ...]\n{text[-half:]}"


def backtrace(error: BaseException) -> str:
    """Returns the traceback of an exception and of its causes, truncated."""
    try:
        lines = traceback.format_exception(
            error.__class__, error, error.__traceback__, limit=-50, chain=True
        )
    except Exception:
        # For example, the message of a cause cannot be printed: report only the frames.
        lines = traceback.format_tb(error.__traceback__, limit=-50)
    return truncate_backtrace("".join(lines))


def truncate_backtrace(text: str) -> str:
    """Truncates the text of a traceback to what is reported."""
    return _truncate_middle(text, _MAX_BACKTRACE)


def locate(tb: Optional[TracebackType]) -> tuple[str, str]:
    """Returns file and function of the innermost frame of the program itself.

    If all frames are of libraries, the innermost of them is used.
    """
    innermost = own = None
    while tb is not None:
        code = tb.tb_frame.f_code
        innermost = code
        if not _is_library(code.co_filename):
            own = code
        tb = tb.tb_next
    chosen = own or innermost
    if chosen is None:
        return "", ""
    func = getattr(chosen, "co_qualname", chosen.co_name)  # qualified since Python 3.11
    return short_path(chosen.co_filename), func


def _is_library(file: str) -> bool:
    # sysconfig does not know the folder of Debian's own packages.
    return file.startswith((*_LIBRARY_FOLDERS, "<frozen")) or "-packages" + os.sep in file


class capture_exceptions:
    """Reports exceptions of a block or a function and lets them propagate.

    With ``swallow`` they do not propagate. KeyboardInterrupt, SystemExit and cancelled tasks are
    not errors: they are neither reported nor swallowed. Other options are those of
    `report_exception`.

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
        level: Optional[Level] = None,
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
        """Decorates a function or a coroutine function."""
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
    """Reports uncaught exceptions of the program, its threads and its finalizers.

    Hooks that were installed before are still called. Returns a function that uninstalls the hooks.
    An asyncio loop has its own hook; see `watch_loop`.
    """
    previous = sys.excepthook, threading.excepthook, sys.unraisablehook

    def uncaught(
        cls: type[BaseException], error: BaseException, tb: Optional[TracebackType]
    ) -> None:
        _report_uncaught(error, 9, recorder)
        previous[0](cls, error, tb)

    def in_thread(args: threading.ExceptHookArgs) -> None:
        _report_uncaught(args.exc_value, 8, recorder)
        previous[1](args)

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        _report_uncaught(args.exc_value, 6, recorder)
        previous[2](args)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, unraisable

    def uninstall() -> None:
        # A hook that was installed after ours calls ours, so ours stays beneath it.
        if sys.excepthook is uncaught:
            sys.excepthook = previous[0]
        if threading.excepthook is in_thread:
            threading.excepthook = previous[1]
        if sys.unraisablehook is unraisable:
            sys.unraisablehook = previous[2]

    return uninstall


def watch_loop(
    loop: Optional[asyncio.AbstractEventLoop] = None, recorder: Optional[Recorder] = None
) -> None:
    """Reports exceptions of asyncio tasks that are never awaited.

    ``loop`` defaults to the running loop. Its previous exception handler, or the default one, is
    still called.
    """
    watched = loop if loop is not None else asyncio.get_running_loop()
    previous = watched.get_exception_handler()

    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        _report_uncaught(context.get("exception"), 7, recorder)
        if previous is not None:
            previous(loop, context)
        else:
            loop.default_exception_handler(context)

    watched.set_exception_handler(handler)


def _report_uncaught(
    error: Optional[BaseException], level: Level, recorder: Optional[Recorder]
) -> None:
    if isinstance(error, Exception):
        report_exception(error, level=level, recorder=recorder)
