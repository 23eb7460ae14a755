"""``logging`` into AGG.LOG, and its errors into AGG.ERROR."""

from __future__ import annotations

import copy
import logging
import re
from typing import Any, Optional

from .arguments import Tags, lenient_tags
from .capture import backtrace, bounded_backtrace, group_key, normalised, short_path
from .clock import moment
from .default import recorder as default_recorder
from .recording import Recorder


def level_of(levelno: int) -> int:
    """A level of ``logging`` as one of 0..9.

    ======== ==
    DEBUG    1
    INFO     3
    WARNING  5
    ERROR    7
    CRITICAL 9
    ======== ==

    Those between them lie between: 5 is 0, 25 (a NOTICE of one's own) is 4.

    >>> [level_of(level) for level in (logging.DEBUG, logging.INFO, logging.WARNING)]
    [1, 3, 5]
    >>> level_of(logging.ERROR), level_of(logging.CRITICAL), level_of(5), level_of(25), level_of(99)
    (7, 9, 0, 4, 9)
    """
    return max(0, min(9, (levelno - 5) // 5))


class LogHandler(logging.Handler):
    """A handler that sends lines in the background, by a `Recorder`.

    The line is the message (or what a formatter that was set makes of it), its tag ``logger`` the
    logger's name, its level as `level_of` says. From the level ``errors`` on (None: never) a line
    is also an error condition, with file, function and, where there is one, the traceback. It is
    grouped by the message before its arguments are put in: ``log.error("order %s lost", order)`` is
    one error whatever the order. Numbers and ids of an f-string are taken out, as
    `agg.capture.normalised` does.

    Behind a ``QueueHandler`` or a ``SocketHandler``, which make one text of message and traceback,
    that text is taken apart again. The message has its arguments by then, so numbers and ids are
    all that is taken out of it.

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
        """Report a line. What fails is told as ``logging`` does for all handlers."""
        try:
            to = self._recorder if self._recorder is not None else default_recorder()
            if to.of_own_thread():
                # What sending says of itself would be sent, which says more.
                return
            record = apart(record)
            line = self._line(record)
            level = level_of(record.levelno)
            at = moment(record.created)
            tags = b" ".join(filter(None, [lenient_tags({"logger": record.name}), self._tags]))
            to.log(line, level=level, tags=tags, at=at)
            if self._errors is not None and record.levelno >= self._errors:
                to.error(line, level=level, tags=tags, at=at, **_error(record, line))
        except Exception:
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        if self.formatter is None:
            return record.getMessage()
        return self.formatter.format(record)

    def flush(self) -> None:
        """Do nothing: ``logging`` calls this in places that are not to wait."""


# Where the traceback, and what `logging` adds for stack_info, begin in the text of a message.
_TRACEBACK = re.compile(
    r"^(?:Traceback \(most recent call last\):|  \+ Exception Group Traceback .*:)$", re.M
)
_STACK = re.compile(r"^Stack \(most recent call last\):$", re.M)
# The line behind the frames, which are indented: the exception's class and what it says.
_RAISED = re.compile(r"^(?:  \| )?([^\W\d][\w.<>]*)(?=:|$)", re.M)


def apart(record: logging.LogRecord) -> logging.LogRecord:
    """A record as it was before a traceback became part of its message: that is in ``exc_text``.

    >>> import traceback
    >>> record = logging.LogRecord("shop", 40, "shop.py", 7, "order 17 lost", None, None)
    >>> try:
    ...     1 / 0
    ... except ZeroDivisionError:
    ...     record.msg += chr(10) + traceback.format_exc()
    >>> apart(record).msg, apart(record).exc_text.splitlines()[-1]
    ('order 17 lost', 'ZeroDivisionError: division by zero')
    """
    text = record.msg
    if record.exc_info or record.args or not isinstance(text, str):
        return record
    # Cheap, as all lines come by here.
    if "(most recent call last):" not in text:
        return record
    found = _TRACEBACK.search(text) or _STACK.search(text)
    if found is None:
        return record
    whole = copy.copy(record)
    whole.exc_text = text[found.start() :].rstrip("\n")
    whole.msg = text[: found.start()].rstrip("\n")
    if not whole.msg:
        # Where there is nothing else, what the exception says.
        what = _exception(whole.exc_text)
        whole.msg = what.string[what.start(1) :].partition("\n")[0] if what else "traceback"
    whole.message = whole.msg
    return whole


def _exception(text: str) -> Optional[re.Match[str]]:
    """Where the exception that a traceback's text ended with is named: behind the last frames."""
    last = None
    for last in _TRACEBACK.finditer(text):  # noqa: B007
        pass
    return _RAISED.search(text, last.end()) if last is not None else None


def raised(text: str) -> str:
    """The class of the exception that ended in a traceback's text, as far as that tells it."""
    found = _exception(text)
    return found[1].rpartition(".")[2] if found is not None else ""


def _error(record: logging.LogRecord, line: str) -> dict[str, Any]:
    """What identifies and explains the error condition that a line is."""
    error = record.exc_info[1] if record.exc_info else None
    file = short_path(record.pathname)
    trace: Optional[str] = None
    code = ""
    if error is not None:
        code, trace = type(error).__qualname__, backtrace(error)
    elif record.exc_text:
        code, trace = raised(record.exc_text), bounded_backtrace(record.exc_text)
    said = record.msg if isinstance(record.msg, str) else line
    return {
        "type": "BUG" if code else "UNKNOWN",
        "code": code,
        "func": record.funcName,
        "file": file,
        "backtrace": trace,
        "key": group_key(record.name, code, normalised(said), file, record.funcName or ""),
    }
