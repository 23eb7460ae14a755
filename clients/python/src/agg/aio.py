"""The client for asyncio: the same methods as `agg.Client`, to be awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union

import redis.asyncio
from redis.exceptions import ResponseError

from . import commands
from .arguments import Text, Thing
from .client import NODE_TYPE, RAW, Queued, named, node_names, server_url, url_options
from .commands import Command
from .errors import translate

if TYPE_CHECKING:
    from typing import Concatenate

    from typing_extensions import ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")


def _sent(
    build: Callable[P, Command[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.run(build(*args, **kwargs))

    named(method, build)
    return method


def _queued(
    build: Callable[P, Command[T]],
) -> Callable[Concatenate[AsyncPipeline, P], AsyncPipeline]:
    def method(self: AsyncPipeline, /, *args: P.args, **kwargs: P.kwargs) -> AsyncPipeline:
        return self.add(build(*args, **kwargs))

    named(method, build, "AsyncPipeline")
    return method


class AsyncClient:
    """The commands of the module on a connection of ``redis.asyncio``.

    ``server`` is a URL, or a ``redis.asyncio.Redis`` or ``RedisCluster`` that is there already;
    without one it is as in `agg.Client`.

    >>> import asyncio
    >>> async def main():
    ...     async with agg.AsyncClient(url) as client:
    ...         await client.stat("node1", "cpu.load", 12.5)
    ...         return (await client.get_metric("node1", "cpu.load")).last
    >>> asyncio.run(main())
    12.5
    """

    redis: Any
    """The connection."""

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
        """Close the connections."""
        await self.redis.aclose()

    async def run(self, command: Command[T]) -> T:
        """Send a command of `agg.commands`."""
        try:
            reply = await self.redis.execute_command(*command.sent, **RAW)
        except ResponseError as error:
            clear = translate(error)
            if clear is error:
                raise
            raise clear from None
        return command.parse(reply)

    def pipeline(self, transaction: bool = False) -> AsyncPipeline:
        """Several commands in one round trip: add them, then ``await pipe.execute()``."""
        return AsyncPipeline(self.redis.pipeline(transaction=transaction))

    stat = _sent(commands.stat)
    mstat = _sent(commands.mstat)
    log = _sent(commands.log)
    error = _sent(commands.error)
    reality = _sent(commands.reality)
    forget = _sent(commands.forget)
    requeue = _sent(commands.requeue)
    pop = _sent(commands.pop)
    fetch = _sent(commands.fetch)
    ack = _sent(commands.ack)
    nack = _sent(commands.nack)
    extend = _sent(commands.extend)
    peek = _sent(commands.peek)
    get_metric = _sent(commands.get_metric)
    get_error = _sent(commands.get_error)
    get_reality = _sent(commands.get_reality)
    range = _sent(commands.range_)
    scan = _sent(commands.scan)
    scan_values = _sent(commands.scan_values)
    info = _sent(commands.info)

    async def names(
        self, node: Text, thing: Thing, *, match: Optional[Text] = None
    ) -> AsyncIterator[str]:
        """All metrics, errors or objects of a node, by AGG.SCAN; one may come twice."""
        cursor = 0
        while True:
            cursor, names = await self.scan(node, thing, cursor, match=match)
            for name in names:
                yield name
            if cursor == 0:
                return

    async def nodes(self, *, match: Optional[Text] = None) -> list[str]:
        """The nodes of the server, or of all primaries of a cluster."""
        keys = self.redis.scan_iter(match=match, count=1000, _type=NODE_TYPE)
        return node_names([key async for key in keys])

    async def server_info(self) -> dict[str, Any]:
        """INFO agg: memory held and its ceiling, queues, refusals and drops, all nodes together."""
        info: dict[str, Any] = await self.redis.info("agg")
        return info


class AsyncPipeline(Queued):
    """Commands that go out together; `AsyncClient.pipeline` makes one."""

    async def __aenter__(self) -> AsyncPipeline:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.reset()

    def add(self, command: Command[Any]) -> AsyncPipeline:
        """Add a command of `agg.commands`."""
        self._add(command)
        return self

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send the commands. Refusals are raised (the first of them), or are in the list."""
        try:
            replies = await self._pipe.execute(raise_on_error=False)
        except ResponseError as error:
            self._commands = []
            raise translate(error) from None
        return self._read(replies, raise_on_error)

    async def reset(self) -> None:
        """Forget what was added and give the connection back."""
        self._commands = []
        await self._pipe.reset()

    stat = _queued(commands.stat)
    mstat = _queued(commands.mstat)
    log = _queued(commands.log)
    error = _queued(commands.error)
    reality = _queued(commands.reality)
    forget = _queued(commands.forget)
    requeue = _queued(commands.requeue)
    pop = _queued(commands.pop)
    fetch = _queued(commands.fetch)
    ack = _queued(commands.ack)
    nack = _queued(commands.nack)
    extend = _queued(commands.extend)
    peek = _queued(commands.peek)
    get_metric = _queued(commands.get_metric)
    get_error = _queued(commands.get_error)
    get_reality = _queued(commands.get_reality)
    range = _queued(commands.range_)
    scan = _queued(commands.scan)
    scan_values = _queued(commands.scan_values)
    info = _queued(commands.info)
