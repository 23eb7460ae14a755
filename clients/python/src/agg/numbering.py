"""Numbers the reports of a recorder (the option SEQ), so that each counts once if it is sent twice.

The server keeps the last number of each source, and ignores a report whose number is not greater.
A report whose reply was lost is therefore sent again under its number, and before any report with a
greater one. An error consumes no number, so a rejected report is sent again under its number, too.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable
from typing import Any

from . import arguments
from .batching import Batch
from .command import Command
from .connection import RETRIABLE
from .errors import ArgumentError, FullError

logger = logging.getLogger("agg")

# The index of the options of each command that has SEQ.
_OPTIONS_AT = {b"AGG.MSTAT": 2, b"AGG.LOG": 3, b"AGG.ERROR": 3}

# A source has at most 256 bytes. Shorter ones take less of the node's memory.
_HOST_BYTES = 64


def new_source() -> bytes:
    """Returns a name that no other recorder and no other process has: host, pid and 8 random bytes.

    >>> new_source() != new_source()
    True
    """
    host = arguments.text(socket.gethostname())[:_HOST_BYTES]
    return b"%s-%d-%s" % (host, os.getpid(), os.urandom(8).hex().encode())


class Numbering:
    """The source of one recorder in one process, and the numbers of its reports.

    Only the recorder's thread uses it.
    """

    def __init__(self) -> None:
        self.source = new_source()
        self._last = 0
        self._is_supported = True
        self._why = ""
        self._has_warned = False

    def assign(self, batches: Iterable[Batch]) -> None:
        """Gives each batch whose command has SEQ the next number, in the order of sending."""
        for batch in batches:
            if self._is_supported and batch.command.args[0] in _OPTIONS_AT:
                self._last += 1
                batch.number = self._last

    def commands(self, batches: Iterable[Batch]) -> list[Command[Any]]:
        """Returns the commands of the batches, with SEQ if they have a number.

        >>> batch = agg.batching.Batch(agg.commands.log("node1", "hello", level=3), 1)
        >>> numbering = agg.numbering.Numbering()
        >>> numbering.source = b"web1-17-cafe"
        >>> numbering.assign([batch])
        >>> print(*numbering.commands([batch]))
        AGG.LOG node1 hello SEQ web1-17-cafe 1 LEVEL 3
        """
        return [self._numbered(batch) if batch.number else batch.command for batch in batches]

    def _numbered(self, batch: Batch) -> Command[Any]:
        args = batch.command.args
        at = _OPTIONS_AT[args[0]]
        seq = [b"SEQ", self.source, b"%d" % batch.number]
        return Command([*args[:at], *seq, *args[at:]], batch.command.parse)

    def sort(
        self, batches: list[Batch], results: list[Any]
    ) -> tuple[list[tuple[Batch, Any]], list[Batch], list[Batch]]:
        """Sorts batches by what their results, exceptions included, require.

        Returns those whose result is final, with the result; those to be sent again at once, now
        without a number; and those to be sent again later, because the server was not able to.
        """
        final: list[tuple[Batch, Any]] = []
        unnumbered: list[Batch] = []
        retry: list[Batch] = []
        for batch, result in zip(batches, results):
            if isinstance(result, RETRIABLE):
                retry.append(batch)
            elif batch.number and self._is_rejection(batch, result):
                batch.number = 0
                unnumbered.append(batch)
            else:
                final.append((batch, result))
        return final, unnumbered, retry

    def _is_rejection(self, batch: Batch, result: Any) -> bool:
        """Returns whether a batch may be taken without its number.

        There are two reasons: the server is older than SEQ, or it has no memory for another source.
        In the latter case it still takes samples of existing metrics, and rejects all else.
        """
        if isinstance(result, ArgumentError) and "unknown option 'SEQ'" in str(result):
            self._is_supported = False
        elif not (isinstance(result, FullError) and batch.command.args[0] == b"AGG.MSTAT"):
            return False
        self._why = str(result)
        return True

    def warn(self) -> None:
        """Logs once that reports are sent without numbers. Not to be called with a lock held."""
        if self._why and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "agg: the server rejects SEQ, reports that are sent again may count twice: %s",
                self._why,
            )
