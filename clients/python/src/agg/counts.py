"""The counts of a recorder's reports."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Counts:
    """The numbers of reports by what happened to them. Each report is in one of the first four.

    ``dropped`` counts by reason: ``full`` (the queue was full), ``unusable`` (an invalid value or
    tag), ``refused`` (rejected by the server: an invalid argument, AGGFULL, a missing permission),
    ``unsent`` (pending when the recorder was closed, or no thread could be started), ``closed``
    (reported after that), ``internal`` (a bug of the recorder, which is logged).

    The server says how many samples of a command were late, but not which. If increments were added
    up, the first samples of the command are taken to be the late ones.
    """

    sent: int = 0
    late: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    failures: int = 0
    """Failed attempts to send. Their reports are retried."""
    last_error: str = ""
