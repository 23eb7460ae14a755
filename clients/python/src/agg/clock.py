"""The server's time of reports that are sent later: the clock of this machine may be wrong.

A report is stamped by a clock that only counts (`ticks`). What the server's clock showed at that
moment is worked out when the report is sent, from an answer to TIME. So neither a wrong clock nor
one that is set in between moves a report, and what waited for the server keeps its true time.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Callable, Optional

import redis

from .client import Client

# The one that goes on while the machine sleeps, where there is one.
ticks: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)

_SYNC_EVERY = 10.0


class Moment(float):
    """A moment by `ticks`, in place of a time that the caller gives."""


def moment(created: float) -> Moment:
    """A moment of this process that was noted by ``time.time()``: its age is what counts."""
    return Moment(ticks() - max(0.0, time.time() - created))


class ServerClock:
    """How far the server's clock is from `ticks`, by its answers to TIME."""

    def __init__(self) -> None:
        self.offset: Optional[float] = None
        """Seconds to be added to ticks; None before the first answer."""
        self._asked = 0.0

    def ms(self, moment: float) -> int:
        """A moment as the server's Unix milliseconds."""
        return int((moment + (self.offset or 0.0)) * 1000)

    def is_due(self) -> bool:
        """Whether it is time to ask again: either clock may have been set."""
        return self.offset is None or ticks() - self._asked >= _SYNC_EVERY

    def expire(self) -> None:
        """Ask before the next use: the next connection may be to another server."""
        self._asked = ticks() - _SYNC_EVERY

    def sync(self, client: Client, node: bytes) -> str:
        """Ask the server that has the node. Raises what a broken connection raises.

        Where the server does not tell its time, that of this machine has to do; the answer is then
        why, else it is empty.
        """
        # The first round trip of a connection takes much longer than the others.
        for _ in range(2 if self.offset is None else 1):
            before = ticks()
            try:
                server = _server_time(client.redis, node)
            except (redis.ConnectionError, redis.TimeoutError, OSError):
                raise
            except Exception as error:
                self.offset = time.time() - ticks()
                self._asked = ticks()
                return f"{type(error).__name__}: {error}"
            self._asked = after = ticks()
            least, most = server - after, server - before
            # What is still possible stays as it is, so that distances between reports are exact.
            if self.offset is None or not least <= self.offset <= most:
                self.offset = (least + most) / 2
        return ""


def _server_time(connection: Any, node: bytes) -> float:
    # In a cluster each server has a clock of its own.
    node_of = getattr(connection, "get_node_from_key", None)
    where = {} if node_of is None else {"target_nodes": node_of(node)}
    seconds, microseconds = connection.execute_command("TIME", **where)
    return int(seconds) + int(microseconds) / 1e6
