"""The connection of a recorder, opened on first use, with the clock of its server.

Only the recorder's thread uses it, except for `Connection.release_after_fork`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Callable, Optional, Union

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.retry import Retry

from . import forking
from .client import Client, server_url, url_options
from .clock import ServerClock
from .command import Command
from .errors import UnavailableError

logger = logging.getLogger("agg")

# Raised by `Connection` if the server is unavailable. An AGG_REDIS that is not a URL causes a
# ValueError.
UNAVAILABLE = (RedisError, OSError, ValueError)

# Results of commands that a server is temporarily unable to take.
RETRIABLE = (
    BusyLoadingError,
    ReadOnlyError,
    MasterDownError,
    TryAgainError,
    ClusterDownError,
    OutOfMemoryError,
    MovedError,
    AskError,
    UnavailableError,
)

Server = Union[str, Callable[[], Any], Any, None]
"""A URL, a redis-py connection, a function that creates one, or None for the default."""


class Connection:
    """A lazily opened connection to the server that holds the recorder's node."""

    def __init__(self, server: Server, node: bytes) -> None:
        self._server = server
        self._node = node
        self.client: Optional[Client] = None
        self.clock = ServerClock()
        self.uses_local_time = False
        """True if the server has rejected TIME."""

    def sync_clock(self) -> None:
        """Measures the server's clock if that is due. Raises one of `UNAVAILABLE`."""
        if not self.clock.is_due():
            return
        why = self.clock.sync(self._open(), self._node)
        if why and not self.uses_local_time:
            self.uses_local_time = True
            logger.warning(
                "agg: cannot read the server's time, reports carry the local time: %s", why
            )

    def execute(self, commands: Iterable[Command[Any]]) -> list[Any]:
        """Sends commands in one pipeline and returns their results, exceptions included.

        Raises one of `UNAVAILABLE` if no reply was received.
        """
        with self._open().pipeline() as pipe:
            for command in commands:
                pipe.add(command)
            return pipe.execute(raise_on_error=False)

    def close(self) -> None:
        """Closes the connection, unless the program passed it in."""
        if self.client is not None and self.client.redis is not self._server:
            self.client.close()

    def release_after_fork(self) -> None:
        """Releases the parent's connection in the child, without disturbing the parent."""
        if self.client is None:
            return
        if self.client.redis is self._server:
            forking.reset_locks(self.client.redis)
        else:
            forking.abandon(self.client.redis)

    def _open(self) -> Client:
        if self.client is None:
            if callable(self._server):
                self.client = Client(self._server())
            elif self._server is not None and not isinstance(self._server, str):
                self.client = Client(self._server)
            else:
                # The recorder retries by itself; retries of the connection would only delay it.
                options: dict[str, Any] = {
                    "socket_timeout": 5.0,
                    "socket_connect_timeout": 2.0,
                    "retry": Retry(NoBackoff(), 0),
                }
                url = server_url(self._server)
                self.client = Client(redis.Redis.from_url(url, **url_options(options)))
        return self.client
