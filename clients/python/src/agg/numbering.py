"""Numbers the reports of a recorder (the option SEQ), so that each counts once if it is sent twice.

The server keeps the last number of each source, and ignores a report whose number is not greater.
A report whose reply was lost is therefore sent again under its number, and before any report with a
greater one. An error consumes no number, so a rejected report is sent again under its number, too,
unless a later one was accepted: then it gets a new number.

A server that has no memory for another source answers AGGFULL. The report is then sent again later
under its number, three times within a second; then, if it is of samples, without a number, because
samples of existing metrics need no memory. A server that is older than SEQ or COLUMNS rejects them
as unknown, and gets the same samples without.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable
from typing import Any, NamedTuple, Optional

from . import arguments
from .batching import Batch, SampleBatch
from .command import Command
from .connection import RETRIABLE
from .errors import ArgumentError, FullError

logger = logging.getLogger("agg")

# The commands that have SEQ, and those of them whose samples need no memory.
_WITH_SEQ = {b"AGG.MSTAT", b"AGG.HIST", b"AGG.LOG", b"AGG.ERROR"}
_OF_SAMPLES = {b"AGG.MSTAT", b"AGG.HIST"}

# A source has at most 256 bytes. Shorter ones take less of the node's memory.
_HOST_BYTES = 64

_WAITS_FOR_MEMORY = 3


def new_source() -> bytes:
    """Returns a name that no other recorder and no other process has: host, pid and 8 random bytes.

    >>> new_source() != new_source()
    True
    """
    host = arguments.text(socket.gethostname())[:_HOST_BYTES]
    return b"%s-%d-%s" % (host, os.getpid(), os.urandom(8).hex().encode())


class Outcome(NamedTuple):
    """What has to be done with batches after their results."""

    final: list[tuple[Batch, Any]]
    """Those whose result is final, with the result."""
    at_once: list[Batch]
    """To be sent again at once, changed."""
    later: list[Batch]
    """To be sent again later, because the server was not able to take them."""
    why: Optional[Exception]
    """The first result of ``later``."""


class Numbering:
    """The source of one recorder in one process, and the numbers of its reports.

    Only the recorder's thread uses it.
    """

    def __init__(self) -> None:
        self.source = new_source()
        self._last = 0
        self._is_supported = True
        self._has_columns = True
        self._is_known = False
        self._waits = _WAITS_FOR_MEMORY
        self._why = ""
        self._has_warned = False

    def assign(self, batches: Iterable[Batch]) -> None:
        """Gives each batch whose command has SEQ the next number, in the order of sending."""
        for batch in batches:
            if self._is_supported and batch.command.args[0] in _WITH_SEQ:
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
        return [
            batch.command.with_option(b"SEQ", self.source, b"%d" % batch.number)
            if batch.number
            else batch.command
            for batch in batches
        ]

    def adapt(self, batches: list[SampleBatch]) -> list[SampleBatch]:
        """Returns batches that the server takes: without COLUMNS, if it does not know them."""
        if self._has_columns:
            return batches
        return [part for batch in batches for part in batch.without_columns()]

    def expect_upgrade(self) -> None:
        """Assumes again that the server knows all options. To be called if it may have changed."""
        self._is_supported = self._has_columns = True
        self._is_known = False

    def sort(self, batches: list[Batch], results: list[Any]) -> Outcome:
        """Sorts batches by what their results, exceptions included, require."""
        outcome = Outcome([], [], [], None)
        is_overtaken = False
        accepted = [
            i
            for i, (batch, result) in enumerate(zip(batches, results))
            if batch.number and not isinstance(result, Exception)
        ]
        if accepted:
            self._is_known = True
            self._waits = _WAITS_FOR_MEMORY
        # A number that is sent again must not be lower than one that was accepted.
        may_wait_from = accepted[-1] if accepted else -1
        for i, (batch, result) in enumerate(zip(batches, results)):
            if isinstance(result, RETRIABLE) or (
                i > may_wait_from and self._waits > 0 and self._is_source_rejected(batch, result)
            ):
                is_overtaken |= i < may_wait_from
                outcome.later.append(batch)
                outcome = outcome._replace(why=outcome.why or result)
            elif parts := self._changed(batch, result):
                outcome.at_once.extend(parts)
            else:
                outcome.final.append((batch, result))
        if is_overtaken:
            self.assign(outcome.later)
        if outcome.why is not None and not isinstance(outcome.why, RETRIABLE):
            self._waits -= 1
        return outcome

    def _is_source_rejected(self, batch: Batch, result: Any) -> bool:
        """Returns whether the server may have no memory for another source.

        Without memory for the source it rejects every numbered report. Once it knows the source it
        never rejects a whole AGG.MSTAT with AGGFULL, but it may reject other reports.
        """
        is_full = bool(batch.number) and isinstance(result, FullError)
        return is_full and (not self._is_known or isinstance(batch, SampleBatch))

    def _changed(self, batch: Batch, result: Any) -> list[Batch]:
        """Returns the batches that the server may take in place of one that it has rejected."""
        if isinstance(result, ArgumentError) and "unknown option 'COLUMNS'" in str(result):
            self._has_columns = False
            parts = batch.without_columns() if isinstance(batch, SampleBatch) else []
            # Higher numbers may have been accepted, or are assigned to batches still to be sent.
            return [*parts] if len(parts) > 1 else []
        if not batch.number:
            return []
        if isinstance(result, ArgumentError) and "unknown option 'SEQ'" in str(result):
            self._is_supported = False
        elif not (isinstance(result, FullError) and batch.command.args[0] in _OF_SAMPLES):
            return []
        self._why = str(result)
        batch.number = 0
        return [batch]

    def warn(self) -> None:
        """Logs once that reports are sent without numbers. Not to be called with a lock held."""
        if self._why and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "agg: the server rejects SEQ, reports that are sent again may count twice: %s",
                self._why,
            )
