"""Loops that drain queues: an entry is acknowledged when the loop's body is done with it.

At least once: what a body did not finish (an exception, a ``break``, a crash) comes again, so what
is written is written under ``(node, queue, id)``, and of errors and objects only a smaller stored
id is replaced. While a body works its leases are extended, for at most ``hold`` seconds.

Acknowledgements go out together: at the end of what one FETCH brought, or after a second. Those of
a process that is killed meanwhile are lost, and their entries come again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from contextlib import suppress
from typing import Any, Generic, Optional, TypeVar, Union

from redis.exceptions import ConnectionError, ReadOnlyError, RedisError, TimeoutError

from . import commands
from .aio import AsyncClient
from .arguments import QUEUES, Text
from .bell import Bell
from .client import Client
from .commands import Command, Queues
from .records import Entry

logger = logging.getLogger("agg")

C = TypeVar("C")

_ACK_EVERY_S = 1.0
_MAY_COME_AGAIN = "agg: entries that were done may come again: %s"
# What a server that is away, restarts or fails over answers.
_AWAY = (ConnectionError, TimeoutError, ReadOnlyError, OSError)


class _Draining(Generic[C]):
    """What both loops share: the settings, and which entries are held."""

    def __init__(
        self,
        client: C,
        nodes: Union[Text, Iterable[Text], None] = None,
        queues: Queues = QUEUES,
        *,
        count: int = 100,
        lease: float = 30.0,
        hold: float = 3600.0,
        follow: bool = True,
        idle: float = 1.0,
    ) -> None:
        self.client = client
        self._given: Optional[list[Text]] = None
        if nodes is not None:
            self._given = [nodes] if isinstance(nodes, (str, bytes)) else list(nodes)
        self._queues = [queues] if isinstance(queues, str) else list(queues)
        self._count = count
        self._lease_ms = int(lease * 1000)
        self._hold = hold
        self._follow = follow
        self._idle = idle
        self._pause = 0.0
        self._stopping = False
        # Of one FETCH at a time: entries whose body is not done, and those that wait for their ACK.
        self._held: dict[int, Entry] = {}
        self._done: list[Entry] = []
        self._since = 0.0
        # Of a single node the server waits for news; of several nobody can but ask in turn.
        self._blocks = follow and self._given is not None and len(self._given) == 1
        self._prepare()

    def _prepare(self) -> None:
        raise NotImplementedError

    def _fetch(self, node: Text) -> Command[list[Entry]]:
        block = max(1, int(self._idle * 1000)) if self._blocks else None
        return commands.fetch(
            node, self._queues, count=self._count, lease=self._lease_ms, block=block
        )

    def _took(self, entries: list[Entry]) -> None:
        # An id is unique in its queue only.
        self._held = {id(entry): entry for entry in entries}
        self._since = time.monotonic()

    def _finished(self, entry: Entry) -> None:
        self._held.pop(id(entry), None)
        self._done.append(entry)

    def _acks(self) -> list[Command[int]]:
        done, self._done = self._done, []
        return [commands.ack(node, queue, ids) for node, queue, ids in _by_queue(done)]

    def _nacks(self) -> list[Command[int]]:
        held, self._held = list(self._held.values()), {}
        return [commands.nack(node, queue, ids) for node, queue, ids in _by_queue(held)]

    def _extensions(self) -> list[Command[int]]:
        if time.monotonic() - self._since > self._hold:
            return []
        held = [*self._held.copy().values(), *self._done]
        return [
            commands.extend(node, queue, self._lease_ms, ids)
            for node, queue, ids in _by_queue(held)
        ]

    def _away(self, error: Exception) -> float:
        """How long to wait for a server that cannot be had; raises where nobody is to wait."""
        if not self._follow or self._stopping:
            raise error
        if not self._pause:
            logger.warning("agg: draining waits, the server cannot be had: %s", error)
        self._pause = min(5.0, max(0.2, self._pause * 2))
        return self._pause


def _by_queue(entries: Iterable[Entry]) -> Iterator[tuple[str, Any, list[int]]]:
    groups: dict[tuple[str, str], list[int]] = {}
    for entry in entries:
        groups.setdefault((entry.node, entry.queue), []).append(entry.id)
    for (node, queue), ids in groups.items():
        yield node, queue, ids


class Drain(_Draining[Client]):
    """Entries of one node, several, or all of the server, each acknowledged when it is done.

    ``nodes`` is a name, some names, or None: all nodes, looked for anew in each turn. ``queues``
    are all where none are named. ``count`` are fetched at a time, for ``lease`` seconds. With
    ``follow`` False the loop ends when nothing is left; else it waits for more, and for a server
    that is away. ``idle`` is the pause in seconds while nothing is there.

    >>> ids = [client.log("node1", f"line {i}") for i in range(3)]
    >>> with agg.Drain(client, "node1", "LOG", follow=False) as entries:
    ...     for entry in entries:
    ...         print(entry.record.message)
    line 0
    line 1
    line 2
    >>> client.info("node1").queues["LOG"].length
    0

    An exception in the body gives back what it has not done, at once:

    >>> ids = [client.log("node1", f"line {i}") for i in range(3)]
    >>> with agg.Drain(client, "node1", "LOG") as entries:
    ...     for entry in entries:
    ...         if entry.id == ids[1]:
    ...             raise OSError("the database is away")
    Traceback (most recent call last):
    OSError: the database is away
    >>> [entry.record.message for entry in client.fetch("node1", "LOG")]
    ['line 1', 'line 2']

    A `Drain` is for one loop. For databases that are given many at a time there is `batches`. The
    ``with`` says when the loop is over; without it that is when the loop's iterator is collected.
    `stop` ends the loop from another thread or a signal's handler, when the body is done with its
    entry.
    """

    _keeper: Optional[threading.Thread] = None

    def _prepare(self) -> None:
        self._wake = Bell()
        self._over = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Drain:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self._settle()
        self._over.set()

    def __iter__(self) -> Generator[Entry, None, None]:
        for batch in self._batches():
            try:
                acked = time.monotonic()
                for entry in batch:
                    yield entry
                    self._finished(entry)
                    if self._stopping:
                        break
                    if time.monotonic() - acked > _ACK_EVERY_S:
                        self._settle(give_back=False)
                        acked = time.monotonic()
            finally:
                self._settle()

    def batches(self) -> Generator[list[Entry], None, None]:
        """Lists of entries, each acknowledged as a whole when the body is done with it.

        >>> ids = [client.log("node1", f"line {i}") for i in range(3)]
        >>> with agg.Drain(client, queues="LOG", count=2, follow=False) as drain:
        ...     for entries in drain.batches():
        ...         print([entry.record.message for entry in entries])
        ['line 0', 'line 1']
        ['line 2']
        """
        for batch in self._batches():
            try:
                yield batch
                for entry in batch:
                    self._finished(entry)
            finally:
                self._settle()

    def stop(self) -> None:
        """End the loop when the body is done with what it has."""
        self._stopping = True
        self._wake.ring()

    def _batches(self) -> Iterator[list[Entry]]:
        while not self._stopping:
            found = False
            try:
                nodes = self.client.nodes() if self._given is None else self._given
                for node in nodes:
                    entries = self.client.run(self._fetch(node))
                    if entries:
                        found = True
                        with self._lock:
                            self._took(entries)
                        self._keep()
                        yield entries
                    if self._stopping:
                        return
                self._pause = 0.0
            except _AWAY as error:
                self._wake.wait(self._away(error))
                continue
            if not found:
                if not self._follow:
                    return
                if not self._blocks:
                    self._wake.wait(self._idle)

    def _settle(self, give_back: bool = True) -> None:
        """Acknowledges what is done, gives back what is not. Where that fails the leases end."""
        try:
            with self._lock:
                settled = [*self._acks(), *(self._nacks() if give_back else ())]
            for command in settled:
                self.client.run(command)
        except (RedisError, OSError) as error:
            logger.warning(_MAY_COME_AGAIN, error)

    def _keep(self) -> None:
        if self._keeper is None or not self._keeper.is_alive():
            self._over.clear()
            self._keeper = threading.Thread(target=self._extend, name="agg-leases", daemon=True)
            self._keeper.start()

    def _extend(self) -> None:
        """The thread that extends leases. It ends when nothing was held for a while."""
        quiet = 0
        while quiet < 3 and not self._over.wait(self._lease_ms / 3000):
            with self._lock:
                extensions = self._extensions()
            quiet = 0 if extensions else quiet + 1
            for command in extensions:
                # Of a client that is closed meanwhile redis-py raises this and that. A lease that
                # ends too early costs one more delivery.
                with suppress(Exception):
                    self.client.run(command)


class AsyncDrain(_Draining[AsyncClient]):
    """The same for asyncio, with an `agg.AsyncClient`.

    >>> import asyncio
    >>> id = client.log("node1", "line")
    >>> async def main():
    ...     async with agg.AsyncClient(url) as client:
    ...         async with agg.AsyncDrain(client, "node1", follow=False) as entries:
    ...             async for entry in entries:
    ...                 print(entry.record.message)
    >>> asyncio.run(main())
    line
    """

    def _prepare(self) -> None:
        self._keeper: Optional[asyncio.Task[None]] = None
        self._wake: Optional[asyncio.Event] = None
        self._running: list[AsyncGenerator[Any, None]] = []

    async def __aenter__(self) -> AsyncDrain:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stop()
        for generator in self._running:
            await generator.aclose()
        await self._settle()
        if self._keeper is not None:
            self._keeper.cancel()

    def __aiter__(self) -> AsyncGenerator[Entry, None]:
        return self._run(self._entries())

    def batches(self) -> AsyncGenerator[list[Entry], None]:
        """Lists of entries, each acknowledged as a whole when the body is done with it."""
        return self._run(self._lists())

    def stop(self) -> None:
        """End the loop when the body is done with what it has; for the loop's own thread."""
        self._stopping = True
        if self._wake is not None:
            self._wake.set()

    def _run(self, generator: AsyncGenerator[C, None]) -> AsyncGenerator[C, None]:
        self._running.append(generator)
        return generator

    async def _entries(self) -> AsyncGenerator[Entry, None]:
        batches = self._batches()
        try:
            async for batch in batches:
                acked = time.monotonic()
                for entry in batch:
                    yield entry
                    self._finished(entry)
                    if self._stopping:
                        break
                    if time.monotonic() - acked > _ACK_EVERY_S:
                        await self._settle(give_back=False)
                        acked = time.monotonic()
                await self._settle()
        finally:
            await self._settle()
            await batches.aclose()

    async def _lists(self) -> AsyncGenerator[list[Entry], None]:
        batches = self._batches()
        try:
            async for batch in batches:
                yield batch
                for entry in batch:
                    self._finished(entry)
                await self._settle()
        finally:
            await self._settle()
            await batches.aclose()

    async def _batches(self) -> AsyncGenerator[list[Entry], None]:
        if self._wake is None:
            self._wake = asyncio.Event()
        while not self._stopping:
            found = False
            try:
                nodes = await self.client.nodes() if self._given is None else self._given
                for node in nodes:
                    entries = await self.client.run(self._fetch(node))
                    if entries:
                        found = True
                        self._took(entries)
                        if self._keeper is None or self._keeper.done():
                            self._keeper = asyncio.create_task(self._extend())
                        yield entries
                    if self._stopping:
                        return
                self._pause = 0.0
            except _AWAY as error:
                await self._sleep(self._away(error))
                continue
            if not found:
                if not self._follow:
                    return
                if not self._blocks:
                    await self._sleep(self._idle)

    async def _sleep(self, seconds: float) -> None:
        assert self._wake is not None
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _settle(self, give_back: bool = True) -> None:
        try:
            for command in [*self._acks(), *(self._nacks() if give_back else ())]:
                await self.client.run(command)
        except (RedisError, OSError) as error:
            logger.warning(_MAY_COME_AGAIN, error)

    async def _extend(self) -> None:
        quiet = 0
        while quiet < 3:
            await asyncio.sleep(self._lease_ms / 3000)
            extensions = self._extensions()
            quiet = 0 if extensions else quiet + 1
            for command in extensions:
                with suppress(RedisError, OSError):
                    await self.client.run(command)
