"""The client for programs that wait for an answer: one method for each command, and pipelines."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union

import redis
from redis.exceptions import ResponseError

from . import commands
from .arguments import Text, Thing
from .commands import Command
from .errors import translate
from .records import as_text

if TYPE_CHECKING:
    from typing import Concatenate

    from typing_extensions import ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")

# Replies come as bytes, also where the connection is set to decode: names need not be UTF-8.
RAW: dict[str, Any] = {"NEVER_DECODE": True}

NODE_TYPE = "aggr-node"


def server_url(url: Optional[str]) -> str:
    """The server: what is given, AGG_REDIS, or the usual port of this machine."""
    return url or os.environ.get("AGG_REDIS") or "redis://127.0.0.1:7777"


def url_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a connection with AGG_PASSWORD as its password, where that is set."""
    password = os.environ.get("AGG_PASSWORD")
    return {"password": password, **options} if password else options


def named(
    method: Callable[..., Any], build: Callable[..., Any], answer: Optional[str] = None
) -> None:
    """Gives a method the name, text and signature of the function that makes its command.

    It answers what the command's answer is read as, or what is given.
    """
    update_wrapper(method, build)
    answer = answer or build.__annotations__["return"][len("Command[") : -1]
    method.__annotations__ = {**build.__annotations__, "return": answer}
    # Without this, help() would take the node for self.
    del method.__wrapped__  # type: ignore[attr-defined]
    signature = inspect.signature(build)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[own, *signature.parameters.values()], return_annotation=answer
    )


def _sent(build: Callable[P, Command[T]]) -> Callable[Concatenate[Client, P], T]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.run(build(*args, **kwargs))

    named(method, build)
    return method


def _queued(build: Callable[P, Command[T]]) -> Callable[Concatenate[Pipeline, P], Pipeline]:
    def method(self: Pipeline, /, *args: P.args, **kwargs: P.kwargs) -> Pipeline:
        return self.add(build(*args, **kwargs))

    named(method, build, "Pipeline")
    return method


class Client:
    """The commands of the module on a connection of redis-py.

    ``server`` is a URL, or a ``redis.Redis`` or ``redis.RedisCluster`` that is there already, in
    RESP2 or RESP3, decoding or not. Without one it is AGG_REDIS or redis://127.0.0.1:7777, with
    AGG_PASSWORD as the password; ``options`` go to ``redis.Redis.from_url``. As safe to share
    between threads as the connection is.

    >>> client.log("node1", "it works") > 0
    True

    The methods are those of `agg.commands`, which says what each command does. A refusal is an
    exception (`agg.AggError`), and then nothing was changed:

    >>> client.stat("node1", "cpu.load", "0x10")
    Traceback (most recent call last):
    agg.errors.ArgumentError: AGG.STAT: value '0x10' is not a decimal number
    """

    redis: Any
    """The connection."""

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
        """Close the connections."""
        self.redis.close()

    def run(self, command: Command[T]) -> T:
        """Send a command of `agg.commands`."""
        try:
            reply = self.redis.execute_command(*command.sent, **RAW)
        except ResponseError as error:
            clear = translate(error)
            if clear is error:
                raise
            raise clear from None
        return command.parse(reply)

    def pipeline(self, transaction: bool = False) -> Pipeline:
        """Several commands in one round trip.

        >>> with client.pipeline() as pipe:
        ...     pipe.stat("node1", "cpu.load", 12.5)
        ...     pipe.error("node1", "order 17 was lost", key="order-lost")
        ...     pipe.execute()
        <agg.Pipeline of 1>
        <agg.Pipeline of 2>
        [True, Occurred(key='order-lost', occurrences=1)]
        """
        return Pipeline(self.redis.pipeline(transaction=transaction))

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

    def names(self, node: Text, thing: Thing, *, match: Optional[Text] = None) -> Iterator[str]:
        """All metrics, errors or objects of a node, by AGG.SCAN; one may come twice.

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
        """The nodes of the server, or of all primaries of a cluster: SCAN 0 TYPE aggr-node.

        >>> id = client.log("node1", "it works")
        >>> client.nodes()
        ['node1']
        """
        return node_names(self.redis.scan_iter(match=match, count=1000, _type=NODE_TYPE))

    def server_info(self) -> dict[str, Any]:
        """INFO agg: memory held and its ceiling, queues, refusals and drops, all nodes together.

        >>> id = client.log("node1", "it works")
        >>> client.server_info()["agg_log_length"]
        1
        """
        info: dict[str, Any] = self.redis.info("agg")
        return info


def node_names(keys: Any) -> list[str]:
    """Keys as names, each once and in order."""
    return sorted({as_text(key) for key in keys})


class Queued:
    """What pipelines have in common: the commands, and how their answers are read."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        self._commands: list[Command[Any]] = []

    def __len__(self) -> int:
        return len(self._commands)

    def __repr__(self) -> str:
        return f"<agg.{type(self).__name__} of {len(self)}>"

    def _add(self, command: Command[Any]) -> None:
        self._pipe.execute_command(*command.sent, **RAW)
        self._commands.append(command)

    def _read(self, replies: list[Any], raise_on_error: bool) -> list[Any]:
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


class Pipeline(Queued):
    """Commands that go out together; `Client.pipeline` makes one.

    Each method adds a command and gives the pipeline back; `execute` sends all and answers a list
    of what `Client`'s methods would have answered.
    """

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *exc: object) -> None:
        self.reset()

    def add(self, command: Command[Any]) -> Pipeline:
        """Add a command of `agg.commands`."""
        self._add(command)
        return self

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send the commands. Refusals are raised (the first of them), or are in the list."""
        try:
            replies = self._pipe.execute(raise_on_error=False)
        except ResponseError as error:
            self._commands = []
            raise translate(error) from None
        return self._read(replies, raise_on_error)

    def reset(self) -> None:
        """Forget what was added and give the connection back."""
        self._commands = []
        self._pipe.reset()

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
