"""The asyncio client, with the methods of `agg.Client` as coroutines, and its pipeline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union

import redis.asyncio
from redis.exceptions import ResponseError

from . import commands
from .arguments import ItemType, Text
from .client import (
    NO_DECODE,
    NODE_TYPE,
    BasePipeline,
    copy_signature,
    node_names,
    server_url,
    url_options,
)
from .command import Command
from .errors import translate

if TYPE_CHECKING:
    from typing import Concatenate

    from typing_extensions import ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")


def _client_method(
    build: Callable[P, Command[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.run(build(*args, **kwargs))

    copy_signature(method, build)
    return method


def _pipeline_method(
    build: Callable[P, Command[T]],
) -> Callable[Concatenate[AsyncPipeline, P], AsyncPipeline]:
    def method(self: AsyncPipeline, /, *args: P.args, **kwargs: P.kwargs) -> AsyncPipeline:
        return self.add(build(*args, **kwargs))

    copy_signature(method, build, "AsyncPipeline")
    return method


class AsyncClient:
    """Runs the commands of the module on a ``redis.asyncio`` connection.

    ``server`` is a URL or an existing ``redis.asyncio.Redis`` or ``RedisCluster``. The default is
    that of `agg.Client`.

    >>> import asyncio
    >>> async def main():
    ...     async with agg.AsyncClient(url) as client:
    ...         await client.stat("node1", "cpu.load", 12.5)
    ...         return (await client.get_metric("node1", "cpu.load")).last
    >>> asyncio.run(main())
    12.5
    """

    redis: Any
    """The ``redis.asyncio`` connection."""

    def __init__(self, server: Union[str, Any, None] = None, **options: Any) -> None:
        if server is None or isinstance(server, str):
            self.redis = redis.asyncio.Redis.from_url(server_url(server), **url_options(options))
        else:
            self.redis = server

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection."""
        await self.redis.aclose()

    async def run(self, command: Command[T]) -> T:
        """Sends a command of `agg.commands` and returns its parsed reply."""
        try:
            reply = await self.redis.execute_command(*command.redis_args, **NO_DECODE)
        except ResponseError as error:
            translated = translate(error)
            if translated is error:
                raise
            raise translated from None
        return command.parse(reply)

    def pipeline(self, transaction: bool = False) -> AsyncPipeline:
        """Returns a pipeline, which sends several commands in one round trip.

        Add the commands, then ``await pipe.execute()``.
        """
        return AsyncPipeline(self.redis.pipeline(transaction=transaction))

    stat = _client_method(commands.stat)
    mstat = _client_method(commands.mstat)
    hist = _client_method(commands.hist)
    log = _client_method(commands.log)
    error = _client_method(commands.error)
    reality = _client_method(commands.reality)
    forget = _client_method(commands.forget)
    requeue = _client_method(commands.requeue)
    pop = _client_method(commands.pop)
    fetch = _client_method(commands.fetch)
    ack = _client_method(commands.ack)
    nack = _client_method(commands.nack)
    extend = _client_method(commands.extend)
    peek = _client_method(commands.peek)
    get_metric = _client_method(commands.get_metric)
    get_error = _client_method(commands.get_error)
    get_reality = _client_method(commands.get_reality)
    range = _client_method(commands.range_)
    scan = _client_method(commands.scan)
    scan_values = _client_method(commands.scan_values)
    info = _client_method(commands.info)

    async def names(
        self, node: Text, thing: ItemType, *, match: Optional[Text] = None
    ) -> AsyncIterator[str]:
        """Yields the names of all metrics, errors or objects of a node, using AGG.SCAN.

        A name may be yielded twice.
        """
        cursor = 0
        while True:
            cursor, names = await self.scan(node, thing, cursor, match=match)
            for name in names:
                yield name
            if cursor == 0:
                return

    async def nodes(self, *, match: Optional[Text] = None) -> list[str]:
        """Returns the nodes of the server or of all primaries of a cluster."""
        keys = self.redis.scan_iter(match=match, count=1000, _type=NODE_TYPE)
        return node_names([key async for key in keys])

    async def server_info(self) -> dict[str, Any]:
        """Returns INFO agg: memory used, its limit, queues, rejections and drops of all nodes."""
        info: dict[str, Any] = await self.redis.info("agg")
        return info


class AsyncPipeline(BasePipeline):
    """Sends several commands together. Created by `AsyncClient.pipeline`."""

    async def __aenter__(self) -> AsyncPipeline:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.reset()

    def add(self, command: Command[Any]) -> AsyncPipeline:
        """Adds a command of `agg.commands`."""
        self._add(command)
        return self

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Sends the commands and returns their parsed replies.

        Raises the first error, or, with ``raise_on_error`` False, returns errors in the list.
        """
        try:
            replies = await self._pipe.execute(raise_on_error=False)
        except ResponseError as error:
            self._commands = []
            raise translate(error) from None
        return self._parse(replies, raise_on_error)

    async def reset(self) -> None:
        """Discards the added commands and returns the connection to its pool."""
        self._commands = []
        await self._pipe.reset()

    stat = _pipeline_method(commands.stat)
    mstat = _pipeline_method(commands.mstat)
    hist = _pipeline_method(commands.hist)
    log = _pipeline_method(commands.log)
    error = _pipeline_method(commands.error)
    reality = _pipeline_method(commands.reality)
    forget = _pipeline_method(commands.forget)
    requeue = _pipeline_method(commands.requeue)
    pop = _pipeline_method(commands.pop)
    fetch = _pipeline_method(commands.fetch)
    ack = _pipeline_method(commands.ack)
    nack = _pipeline_method(commands.nack)
    extend = _pipeline_method(commands.extend)
    peek = _pipeline_method(commands.peek)
    get_metric = _pipeline_method(commands.get_metric)
    get_error = _pipeline_method(commands.get_error)
    get_reality = _pipeline_method(commands.get_reality)
    range = _pipeline_method(commands.range_)
    scan = _pipeline_method(commands.scan)
    scan_values = _pipeline_method(commands.scan_values)
    info = _pipeline_method(commands.info)
