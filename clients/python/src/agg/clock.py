"""The server's time for reports that are sent later than they are made.

A report is stamped with a counter that is never set (`ticks`). The server's time at that moment is
computed when the report is sent, from the server's reply to TIME. Therefore neither a wrong local
clock nor one that is set in between shifts a report, and a report that had to wait for the server
keeps its true time.
"""

from __future__ import annotations

import time
from decimal import Decimal
from functools import partial
from typing import Any, Callable, Optional

import redis

from .arguments import At
from .client import Client
from .errors import UnavailableError, translate

# Prefers the counter that keeps counting while the machine sleeps.
ticks: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)

_SYNC_INTERVAL_S = 10.0


class Moment(float):
    """A time in `ticks`, as opposed to a Unix time that the caller passes."""


def moment_of(created: float) -> Moment:
    """Converts a past result of ``time.time()`` of this process to ticks, by its age."""
    return Moment(ticks() - max(0.0, time.time() - created))


def unix_time(at: At) -> At:
    """Returns a time passed by the caller, as anything but a float: a float would mean ticks."""
    return Decimal(at) if at.__class__ is float else at


class ServerClock:
    """Tracks the offset of the server's clock from `ticks`, measured with TIME."""

    def __init__(self) -> None:
        self.offset: Optional[float] = None
        """Seconds to add to ticks. None before the first reply."""
        self._synced_at = 0.0

    def ms(self, moment: float) -> int:
        """Converts ticks to the server's Unix milliseconds."""
        return int((moment + (self.offset or 0.0)) * 1000)

    def is_due(self) -> bool:
        """Returns whether to measure again. Either clock may have been set since."""
        return self.offset is None or ticks() - self._synced_at >= _SYNC_INTERVAL_S

    def expire(self) -> None:
        """Forces a measurement before the next use: the next server may be a different one."""
        self._synced_at = ticks() - _SYNC_INTERVAL_S

    def sync(self, client: Client, node: bytes) -> str:
        """Measures the offset of the server that holds the node.

        Returns an empty string on success. If the server rejects TIME, the offset is taken from the
        local clock and the reason is returned. Raises the exception of a failed connection.
        """
        # The first round trip of a connection takes much longer than the next.
        for _ in range(2 if self.offset is None else 1):
            before = ticks()
            try:
                server = _server_time(client.redis, node)
            except (redis.ConnectionError, redis.TimeoutError, OSError):
                raise
            except Exception as error:
                if isinstance(error, redis.ResponseError):
                    unavailable = translate(error)
                    if isinstance(unavailable, UnavailableError):
                        raise unavailable from None
                self.offset = time.time() - ticks()
                self._synced_at = ticks()
                return f"{type(error).__name__}: {error}"
            self._synced_at = after = ticks()
            lowest, highest = server - after, server - before
            # An offset that is still possible is kept, so that intervals between reports are exact.
            if self.offset is None or not lowest <= self.offset <= highest:
                self.offset = (lowest + highest) / 2
        return ""


def _server_time(connection: Any, node: bytes) -> float:
    # In a cluster, each server has its own clock.
    node_of = getattr(connection, "get_node_from_key", None)
    target = {} if node_of is None else {"target_nodes": node_of(node)}
    seconds, microseconds = connection.execute_command("TIME", **target)
    return int(seconds) + int(microseconds) / 1e6
