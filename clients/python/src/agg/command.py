"""A command: its words and the parser of its reply."""

from __future__ import annotations

import shlex
from typing import Any, Callable, Generic, TypeVar, Union

from .records import to_str

T = TypeVar("T")


class Command(Generic[T]):
    """The words of a command and the parser of its reply.

    >>> print(agg.commands.stat("node1", "cpu.load", 12.5, tags="unit:percent"))
    AGG.STAT node1 cpu.load 12.5 TAGS unit:percent
    """

    __slots__ = ("args", "parse")

    def __init__(self, args: list[bytes], parse: Callable[[Any], T]) -> None:
        self.args = args
        self.parse = parse

    def __str__(self) -> str:
        return shlex.join(to_str(word) for word in self.args)

    @property
    def redis_args(self) -> list[Union[str, bytes]]:
        """The words as redis-py expects them, with the command's name as ``str``."""
        return [self.args[0].decode(), *self.args[1:]]

    @property
    def size(self) -> int:
        """The total length of the words in bytes."""
        return sum(map(len, self.args))
