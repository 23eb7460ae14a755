"""A ``logging`` handler that reports log records as AGG.LOG and errors as AGG.ERROR."""

from __future__ import annotations

import copy
import logging
import re
from typing import Any, Optional

from .arguments import Tags, lenient_tags
from .capture import backtrace, group_key, normalize_message, short_path, truncate_backtrace
from .clock import moment_of
from .default import recorder as default_recorder
from .recording import Recorder


def level_of(levelno: int) -> int:
    """Maps a level of ``logging`` to one of 0..9.

    ======== ============
    DEBUG    1 (DEBUG)
    INFO     3 (INFO)
    WARNING  5 (WARNING)
    ERROR    7 (ERROR)
    CRITICAL 9 (CRITICAL)
    ======== ============

    Levels in between map to values in between: 5 (a custom TRACE) is 0, and 25 (a custom NOTICE)
    is 4.

    >>> [level_of(level) for level in (logging.DEBUG, logging.INFO, logging.WARNING)]
    [1, 3, 5]
    >>> level_of(logging.ERROR), level_of(logging.CRITICAL), level_of(5), level_of(25), level_of(99)
    (7, 9, 0, 4, 9)
    """
    return max(0, min(9, (levelno - 5) // 5))


class LogHandler(logging.Handler):
    """Reports log records in the background through a `Recorder`.

    The log entry contains the message, formatted if a formatter is set, the level as mapped by
    `level_of`, and the logger's name as the tag ``logger``. From the level ``errors`` on (None:
    never), the record is also reported as an error with file, function and traceback, if any.
    Errors are grouped by the message before its arguments are inserted:
    ``log.error("order %s lost", order)`` is one error for all orders. Numbers and ids, as in an
    f-string, are removed by `agg.capture.normalize_message`.

    A ``QueueHandler`` or a ``SocketHandler`` joins message and traceback into one text, which this
    handler splits again. The arguments are already inserted by then, so errors are grouped by the
    message without numbers and ids.

    >>> recorder = agg.configure("node1", url)
    >>> log = logging.getLogger("shop")
    >>> log.addHandler(agg.LogHandler())
    >>> log.error("order %s lost", "A-17")
    >>> log.error("order %s lost", "B-18")
    >>> recorder.flush()
    True
    >>> for entry in client.pop("node1", ["LOG", "ERROR"]):
    ...     print(entry.queue, entry.record.level, entry.record.message, entry.record.tags)
    LOG 7 order A-17 lost {'logger': 'shop'}
    LOG 7 order B-18 lost {'logger': 'shop'}
    ERROR 7 order B-18 lost {'logger': 'shop'}
    """

    def __init__(
        self,
        recorder: Optional[Recorder] = None,
        *,
        level: int = logging.NOTSET,
        tags: Optional[Tags] = None,
        errors: Optional[int] = logging.ERROR,
    ) -> None:
        super().__init__(level)
        self._recorder = recorder
        self._tags = lenient_tags(tags) if tags is not None else b""
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        """Reports a record. Failures are handled as ``logging`` does for all handlers."""
        try:
            recorder = self._recorder if self._recorder is not None else default_recorder()
            if recorder.in_sender_thread():
                # Reporting what the sender logs would cause it to log more.
                return
            record = split_traceback(record)
            message = self._message(record)
            level = level_of(record.levelno)
            at = moment_of(record.created)
            tags = b" ".join(filter(None, [lenient_tags({"logger": record.name}), self._tags]))
            recorder.log(message, level=level, tags=tags, at=at)
            if self._errors is not None and record.levelno >= self._errors:
                details = _error_details(record, message)
                recorder.error(message, level=level, tags=tags, at=at, **details)
        except Exception:
            self.handleError(record)

    def _message(self, record: logging.LogRecord) -> str:
        if self.formatter is None:
            return record.getMessage()
        return self.formatter.format(record)

    def flush(self) -> None:
        """Does nothing, because ``logging`` calls it where the program must not wait."""


# The first line of a traceback, and of what `logging` adds for stack_info, within a message.
_TRACEBACK = re.compile(
    r"^(?:Traceback \(most recent call last\):|  \+ Exception Group Traceback .*:)$", re.M
)
_STACK = re.compile(r"^Stack \(most recent call last\):$", re.M)
# The line after the indented frames: the class of the exception and its message.
_EXCEPTION = re.compile(r"^(?:  \| )?([^\W\d][\w.<>]*)(?=:|$)", re.M)


def split_traceback(record: logging.LogRecord) -> logging.LogRecord:
    """Moves a traceback that was appended to the message back to ``exc_text``.

    Returns a copy, or the record itself if its message contains no traceback.

    >>> import traceback
    >>> record = logging.LogRecord("shop", 40, "shop.py", 7, "order 17 lost", None, None)
    >>> try:
    ...     1 / 0
    ... except ZeroDivisionError:
    ...     record.msg += chr(10) + traceback.format_exc()
    >>> split = split_traceback(record)
    >>> split.msg, split.exc_text.splitlines()[-1]
    ('order 17 lost', 'ZeroDivisionError: division by zero')
    """
    text = record.msg
    if record.exc_info or record.args or not isinstance(text, str):
        return record
    # A cheap check first, because every log record passes here.
    if "(most recent call last):" not in text:
        return record
    start = _TRACEBACK.search(text) or _STACK.search(text)
    if start is None:
        return record
    split = copy.copy(record)
    split.exc_text = text[start.start() :].rstrip("\n")
    split.msg = text[: start.start()].rstrip("\n")
    if not split.msg:
        # The message was only a traceback: use the exception's own message.
        found = _find_exception(split.exc_text)
        split.msg = found.string[found.start(1) :].partition("\n")[0] if found else "traceback"
    split.message = split.msg
    return split


def _find_exception(text: str) -> Optional[re.Match[str]]:
    """Finds the exception that a traceback ends with, after the last frames."""
    last = None
    for last in _TRACEBACK.finditer(text):  # noqa: B007
        pass
    return _EXCEPTION.search(text, last.end()) if last is not None else None


def exception_class(text: str) -> str:
    """Returns the class of the exception that a traceback ends with, or an empty string."""
    found = _find_exception(text)
    return found[1].rpartition(".")[2] if found is not None else ""


def _error_details(record: logging.LogRecord, message: str) -> dict[str, Any]:
    """Returns the arguments of `Recorder.error` that identify and explain the error."""
    error = record.exc_info[1] if record.exc_info else None
    file = short_path(record.pathname)
    trace: Optional[str] = None
    code = ""
    if error is not None:
        code, trace = type(error).__qualname__, backtrace(error)
    elif record.exc_text:
        code, trace = exception_class(record.exc_text), truncate_backtrace(record.exc_text)
    template = record.msg if isinstance(record.msg, str) else message
    normalized = normalize_message(template)
    return {
        "type": "BUG" if code else "UNKNOWN",
        "code": code,
        "func": record.funcName,
        "file": file,
        "backtrace": trace,
        "key": group_key(record.name, code, normalized, file, record.funcName or ""),
    }
