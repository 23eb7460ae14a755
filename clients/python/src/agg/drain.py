"""Loops that drain queues and acknowledge each record once the loop's body has processed it.

Records are delivered at least once: a record that the body did not finish (an exception, a
``break``, a crash) is delivered again. Therefore write records under ``(node, queue, id)``, and
replace a stored error or object only if its id is smaller. Leases are extended while the body
works, for at most ``hold`` seconds.

Acknowledgements are sent together, at the end of a batch (the records of one FETCH) or after a
second. If the process is killed before that, the records are delivered again.
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
from .arguments import QUEUES, Queues, Text
from .client import Client
from .command import Command
from .records import Entry
from .wakeup import Wakeup

logger = logging.getLogger("agg")

C = TypeVar("C")

_ACK_INTERVAL_S = 1.0
_SETTLE_FAILED = "agg: cannot acknowledge records, they may be delivered again: %s"
# Raised while a server is down, restarts or fails over.
_UNAVAILABLE = (ConnectionError, TimeoutError, ReadOnlyError, OSError)


class _BaseDrain(Generic[C]):
    """The common part of both loops: settings, and the state of the current batch. No I/O."""

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
        self._nodes: Optional[list[Text]] = None
        if nodes is not None:
            self._nodes = [nodes] if isinstance(nodes, (str, bytes)) else list(nodes)
        self._queues = [queues] if isinstance(queues, str) else list(queues)
        self._count = count
        self._lease_ms = int(lease * 1000)
        self._hold = hold
        self._follow = follow
        self._idle = idle
        self._pause = 0.0
        self._stopping = False
        # The current batch: unprocessed records by object id (a record's id is unique only within
        # its queue), and processed records that are not acknowledged yet.
        self._unprocessed: dict[int, Entry] = {}
        self._processed: list[Entry] = []
        self._fetched_at = 0.0
        # FETCH can block for one node. Several nodes have to be polled in turn.
        self._can_block = follow and self._nodes is not None and len(self._nodes) == 1
        self._prepare()

    def _prepare(self) -> None:
        raise NotImplementedError

    def _fetch_command(self, node: Text) -> Command[list[Entry]]:
        block = max(1, int(self._idle * 1000)) if self._can_block else None
        return commands.fetch(
            node, self._queues, count=self._count, lease=self._lease_ms, block=block
        )

    def _begin_batch(self, entries: list[Entry]) -> None:
        self._unprocessed = {id(entry): entry for entry in entries}
        self._fetched_at = time.monotonic()

    def _mark_processed(self, entry: Entry) -> None:
        self._unprocessed.pop(id(entry), None)
        self._processed.append(entry)

    def _take_acks(self) -> list[Command[int]]:
        entries, self._processed = self._processed, []
        return [commands.ack(node, queue, ids) for node, queue, ids in _by_queue(entries)]

    def _take_nacks(self) -> list[Command[int]]:
        entries, self._unprocessed = list(self._unprocessed.values()), {}
        return [commands.nack(node, queue, ids) for node, queue, ids in _by_queue(entries)]

    def _extend_commands(self) -> list[Command[int]]:
        if time.monotonic() - self._fetched_at > self._hold:
            return []
        leased = [*self._unprocessed.copy().values(), *self._processed]
        return [
            commands.extend(node, queue, self._lease_ms, ids)
            for node, queue, ids in _by_queue(leased)
        ]

    def _retry_delay(self, error: Exception) -> float:
        """Returns the seconds to wait for an unavailable server.

        Raises the error if the loop does not follow or is stopping.
        """
        if not self._follow or self._stopping:
            raise error
        if not self._pause:
            logger.warning("agg: server unavailable, draining will be retried: %s", error)
        self._pause = min(5.0, max(0.2, self._pause * 2))
        return self._pause


def _by_queue(entries: Iterable[Entry]) -> Iterator[tuple[str, Any, list[int]]]:
    groups: dict[tuple[str, str], list[int]] = {}
    for entry in entries:
        groups.setdefault((entry.node, entry.queue), []).append(entry.id)
    for (node, queue), ids in groups.items():
        yield node, queue, ids


class Drain(_BaseDrain[Client]):
    """Iterates over the records of one, several or all nodes and acknowledges processed ones.

    ``nodes`` is a name, several names, or None for all nodes, which are listed again in each round.
    ``queues`` defaults to all. Up to ``count`` records are fetched at a time and leased for
    ``lease`` seconds. With ``follow`` False the loop ends when the queues are empty; otherwise it
    waits for more records, and for a server that is down. ``idle`` is the pause in seconds while
    the queues are empty.

    >>> ids = [client.log("node1", f"line {i}") for i in range(3)]
    >>> with agg.Drain(client, "node1", "LOG", follow=False) as entries:
    ...     for entry in entries:
    ...         print(entry.record.message)
    line 0
    line 1
    line 2
    >>> client.info("node1").queues["LOG"].length
    0

    An exception in the body releases the unprocessed records at once:

    >>> ids = [client.log("node1", f"line {i}") for i in range(3)]
    >>> with agg.Drain(client, "node1", "LOG") as entries:
    ...     for entry in entries:
    ...         if entry.id == ids[1]:
    ...             raise OSError("the database is down")
    Traceback (most recent call last):
    OSError: the database is down
    >>> [entry.record.message for entry in client.fetch("node1", "LOG")]
    ['line 1', 'line 2']

    A `Drain` serves one loop. Use `batches` for databases that are written many records at a time.
    Unprocessed records are released at the end of the ``with`` block; without one, when the loop's
    iterator is collected. `stop` ends the loop from another thread or a signal handler, after the
    body has processed its record.
    """

    _extender: Optional[threading.Thread] = None

    def _prepare(self) -> None:
        self._wakeup = Wakeup()
        self._closed = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Drain:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self._settle()
        self._closed.set()

    def __iter__(self) -> Generator[Entry, None, None]:
        for batch in self._fetch_batches():
            try:
                acked = time.monotonic()
                for entry in batch:
                    yield entry
                    self._mark_processed(entry)
                    if self._stopping:
                        break
                    if time.monotonic() - acked > _ACK_INTERVAL_S:
                        self._settle(release=False)
                        acked = time.monotonic()
            finally:
                self._settle()

    def batches(self) -> Generator[list[Entry], None, None]:
        """Yields lists of records, each acknowledged as a whole once the body has processed it.

        >>> ids = [client.log("node1", f"line {i}") for i in range(3)]
        >>> with agg.Drain(client, queues="LOG", count=2, follow=False) as drain:
        ...     for entries in drain.batches():
        ...         print([entry.record.message for entry in entries])
        ['line 0', 'line 1']
        ['line 2']
        """
        for batch in self._fetch_batches():
            try:
                yield batch
                for entry in batch:
                    self._mark_processed(entry)
            finally:
                self._settle()

    def stop(self) -> None:
        """Ends the loop after the body has processed its current record or batch."""
        self._stopping = True
        self._wakeup.set()

    def _fetch_batches(self) -> Iterator[list[Entry]]:
        while not self._stopping:
            found = False
            try:
                nodes = self.client.nodes() if self._nodes is None else self._nodes
                for node in nodes:
                    entries = self.client.run(self._fetch_command(node))
                    if entries:
                        found = True
                        with self._lock:
                            self._begin_batch(entries)
                        self._start_extender()
                        yield entries
                    if self._stopping:
                        return
                self._pause = 0.0
            except _UNAVAILABLE as error:
                self._wakeup.wait(self._retry_delay(error))
                continue
            if not found:
                if not self._follow:
                    return
                if not self._can_block:
                    self._wakeup.wait(self._idle)

    def _settle(self, release: bool = True) -> None:
        """Acknowledges processed records and releases unprocessed ones.

        If that fails, the leases expire.
        """
        try:
            with self._lock:
                settling = [*self._take_acks(), *(self._take_nacks() if release else ())]
            for command in settling:
                self.client.run(command)
        except (RedisError, OSError) as error:
            logger.warning(_SETTLE_FAILED, error)

    def _start_extender(self) -> None:
        if self._extender is None or not self._extender.is_alive():
            self._closed.clear()
            self._extender = threading.Thread(target=self._extend, name="agg-leases", daemon=True)
            self._extender.start()

    def _extend(self) -> None:
        """Extends leases. The thread ends after a few rounds without leased records."""
        idle_rounds = 0
        while idle_rounds < 3 and not self._closed.wait(self._lease_ms / 3000):
            with self._lock:
                extending = self._extend_commands()
            idle_rounds = 0 if extending else idle_rounds + 1
            for command in extending:
                # redis-py raises various exceptions if the client is closed meanwhile. A lease that
                # expires too early only causes a redelivery.
                with suppress(Exception):
                    self.client.run(command)


class AsyncDrain(_BaseDrain[AsyncClient]):
    """The asyncio version of `Drain`, for an `agg.AsyncClient`.

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
        self._extender: Optional[asyncio.Task[None]] = None
        self._wakeup: Optional[asyncio.Event] = None
        self._generators: list[AsyncGenerator[Any, None]] = []

    async def __aenter__(self) -> AsyncDrain:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stop()
        for generator in self._generators:
            await generator.aclose()
        await self._settle()
        if self._extender is not None:
            self._extender.cancel()

    def __aiter__(self) -> AsyncGenerator[Entry, None]:
        return self._track(self._iterate_entries())

    def batches(self) -> AsyncGenerator[list[Entry], None]:
        """Yields lists of records, each acknowledged as a whole once the body has processed it."""
        return self._track(self._iterate_batches())

    def stop(self) -> None:
        """Ends the loop after the body has processed its current record or batch.

        Call it in the thread of the event loop.
        """
        self._stopping = True
        if self._wakeup is not None:
            self._wakeup.set()

    def _track(self, generator: AsyncGenerator[C, None]) -> AsyncGenerator[C, None]:
        self._generators.append(generator)
        return generator

    async def _iterate_entries(self) -> AsyncGenerator[Entry, None]:
        batches = self._fetch_batches()
        try:
            async for batch in batches:
                acked = time.monotonic()
                for entry in batch:
                    yield entry
                    self._mark_processed(entry)
                    if self._stopping:
                        break
                    if time.monotonic() - acked > _ACK_INTERVAL_S:
                        await self._settle(release=False)
                        acked = time.monotonic()
                await self._settle()
        finally:
            await self._settle()
            await batches.aclose()

    async def _iterate_batches(self) -> AsyncGenerator[list[Entry], None]:
        batches = self._fetch_batches()
        try:
            async for batch in batches:
                yield batch
                for entry in batch:
                    self._mark_processed(entry)
                await self._settle()
        finally:
            await self._settle()
            await batches.aclose()

    async def _fetch_batches(self) -> AsyncGenerator[list[Entry], None]:
        if self._wakeup is None:
            self._wakeup = asyncio.Event()
        while not self._stopping:
            found = False
            try:
                nodes = await self.client.nodes() if self._nodes is None else self._nodes
                for node in nodes:
                    entries = await self.client.run(self._fetch_command(node))
                    if entries:
                        found = True
                        self._begin_batch(entries)
                        if self._extender is None or self._extender.done():
                            self._extender = asyncio.create_task(self._extend())
                        yield entries
                    if self._stopping:
                        return
                self._pause = 0.0
            except _UNAVAILABLE as error:
                await self._sleep(self._retry_delay(error))
                continue
            if not found:
                if not self._follow:
                    return
                if not self._can_block:
                    await self._sleep(self._idle)

    async def _sleep(self, seconds: float) -> None:
        assert self._wakeup is not None
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wakeup.wait(), seconds)

    async def _settle(self, release: bool = True) -> None:
        try:
            for command in [*self._take_acks(), *(self._take_nacks() if release else ())]:
                await self.client.run(command)
        except (RedisError, OSError) as error:
            logger.warning(_SETTLE_FAILED, error)

    async def _extend(self) -> None:
        idle_rounds = 0
        while idle_rounds < 3:
            await asyncio.sleep(self._lease_ms / 3000)
            extending = self._extend_commands()
            idle_rounds = 0 if extending else idle_rounds + 1
            for command in extending:
                with suppress(RedisError, OSError):
                    await self.client.run(command)
