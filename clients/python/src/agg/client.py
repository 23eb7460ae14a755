"""The blocking client, with one method per command, and its pipeline."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union

import redis
from redis.exceptions import ResponseError

from . import commands
from .arguments import ItemType, Text
from .command import Command
from .errors import translate
from .records import to_str

if TYPE_CHECKING:
    from typing import Concatenate

    from typing_extensions import ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")

# Makes redis-py return bytes even if the connection decodes, because names need not be UTF-8.
NO_DECODE: dict[str, Any] = {"NEVER_DECODE": True}

NODE_TYPE = "aggr-node"


def server_url(url: Optional[str]) -> str:
    """Returns the given URL, else AGG_REDIS, else the default port on this machine."""
    return url or os.environ.get("AGG_REDIS") or "redis://127.0.0.1:7777"


def url_options(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the connection options, with AGG_PASSWORD as the password if it is set."""
    password = os.environ.get("AGG_PASSWORD")
    return {"password": password, **options} if password else options


def copy_signature(
    method: Callable[..., Any], build: Callable[..., Any], returns: Optional[str] = None
) -> None:
    """Gives a method the name, docstring and signature of the function that builds its command.

    Its return annotation becomes ``returns``, or else the type of the command's parsed reply.
    """
    update_wrapper(method, build)
    returns = returns or build.__annotations__["return"][len("Command[") : -1]
    method.__annotations__ = {**build.__annotations__, "return": returns}
    # Otherwise help() would show the parameter `node` as `self`.
    del method.__wrapped__  # type: ignore[attr-defined]
    signature = inspect.signature(build)
    self_parameter = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[self_parameter, *signature.parameters.values()], return_annotation=returns
    )


def _client_method(build: Callable[P, Command[T]]) -> Callable[Concatenate[Client, P], T]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(build(*args, **kwargs))

    copy_signature(method, build)
    return method


def _pipeline_method(
    build: Callable[P, Command[T]],
) -> Callable[Concatenate[Pipeline, P], Pipeline]:
    def method(self: Pipeline, /, *args: P.args, **kwargs: P.kwargs) -> Pipeline:
        return self.add(build(*args, **kwargs))

    copy_signature(method, build, "Pipeline")
    return method


class Client:
    """Runs the commands of the module on a redis-py connection.

    ``server`` is a URL or an existing ``redis.Redis`` or ``redis.RedisCluster``, in RESP2 or RESP3,
    decoding or not. It defaults to AGG_REDIS, then to redis://127.0.0.1:7777, with AGG_PASSWORD as
    the password. ``options`` are passed to ``redis.Redis.from_url``. A client may be shared between
    threads if its connection may.

    >>> client.log("node1", "it works") > 0
    True

    `agg.commands` documents the methods. A rejected command raises `agg.AggError` and changes
    nothing:

    >>> client.stat("node1", "cpu.load", "0x10")
    Traceback (most recent call last):
    agg.errors.ArgumentError: AGG.STAT: invalid value '0x10': expected a decimal number
    """

    redis: Any
    """The redis-py connection."""

    def __init__(self, server: Union[str, Any, None] = None, **options: Any) -> None:
        if server is None or isinstance(server, str):
            self.redis = redis.Redis.from_url(server_url(server), **url_options(options))
        else:
            self.redis = server

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self.redis.close()

    def run(self, command: Command[T]) -> T:
        """Sends a command of `agg.commands` and returns its parsed reply."""
        try:
            reply = self.redis.execute_command(*command.redis_args, **NO_DECODE)
        except ResponseError as error:
            translated = translate(error)
            if translated is error:
                raise
            raise translated from None
        return command.parse(reply)

    def pipeline(self, transaction: bool = False) -> Pipeline:
        """Returns a pipeline, which sends several commands in one round trip.

        >>> with client.pipeline() as pipe:
        ...     pipe.stat("node1", "cpu.load", 12.5)
        ...     pipe.error("node1", "order 17 was lost", key="order-lost")
        ...     pipe.execute()
        <agg.Pipeline of 1>
        <agg.Pipeline of 2>
        [True, Occurred(key='order-lost', occurrences=1)]
        """
        return Pipeline(self.redis.pipeline(transaction=transaction))

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

    def names(self, node: Text, thing: ItemType, *, match: Optional[Text] = None) -> Iterator[str]:
        """Yields the names of all metrics, errors or objects of a node, using AGG.SCAN.

        A name may be yielded twice.

        >>> client.mstat("node1", {"mem.used": 4096, "mem.free": 8192}).taken
        2
        >>> sorted(client.names("node1", "METRIC", match="mem.*"))
        ['mem.free', 'mem.used']
        """
        cursor = 0
        while True:
            cursor, names = self.scan(node, thing, cursor, match=match)
            yield from names
            if cursor == 0:
                return

    def nodes(self, *, match: Optional[Text] = None) -> list[str]:
        """Returns the nodes of the server or of all primaries of a cluster.

        Uses SCAN 0 TYPE aggr-node.

        >>> id = client.log("node1", "it works")
        >>> client.nodes()
        ['node1']
        """
        return node_names(self.redis.scan_iter(match=match, count=1000, _type=NODE_TYPE))

    def server_info(self) -> dict[str, Any]:
        """Returns INFO agg: memory used, its limit, queues, rejections and drops of all nodes.

        >>> id = client.log("node1", "it works")
        >>> client.server_info()["agg_log_length"]
        1
        """
        info: dict[str, Any] = self.redis.info("agg")
        return info


def node_names(keys: Any) -> list[str]:
    """Returns the distinct keys as sorted text."""
    return sorted({to_str(key) for key in keys})


class BasePipeline:
    """The common part of pipelines: collects commands and parses their replies."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._commands: list[Command[Any]] = []

    def __len__(self) -> int:
        return len(self._commands)

    def __repr__(self) -> str:
        return f"<agg.{type(self).__name__} of {len(self)}>"

    def _add(self, command: Command[Any]) -> None:
        self._pipe.execute_command(*command.redis_args, **NO_DECODE)
        self._commands.append(command)

    def _parse(self, replies: list[Any], raise_on_error: bool) -> list[Any]:
        results: list[Any] = []
        for command, reply in zip(self._commands, replies):
            if isinstance(reply, ResponseError):
                results.append(translate(reply))
            elif isinstance(reply, Exception):
                results.append(reply)
            else:
                results.append(command.parse(reply))
        self._commands = []
        if raise_on_error:
            for result in results:
                if isinstance(result, Exception):
                    raise result
        return results


class Pipeline(BasePipeline):
    """Sends several commands together. Created by `Client.pipeline`.

    Each method adds a command and returns the pipeline. `execute` sends them all and returns a list
    of what the methods of `Client` would have returned.
    """

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *exc: object) -> None:
        self.reset()

    def add(self, command: Command[Any]) -> Pipeline:
        """Adds a command of `agg.commands`."""
        self._add(command)
        return self

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Sends the commands and returns their parsed replies.

        Raises the first error, or, with ``raise_on_error`` False, returns errors in the list.
        """
        try:
            replies = self._pipe.execute(raise_on_error=False)
        except ResponseError as error:
            self._commands = []
            raise translate(error) from None
        return self._parse(replies, raise_on_error)

    def reset(self) -> None:
        """Discards the added commands and returns the connection to its pool."""
        self._commands = []
        self._pipe.reset()

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
