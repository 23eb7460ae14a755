"""A command: its words and the parser of its reply."""

from __future__ import annotations

import shlex
from typing import Any, Callable, Generic, TypeVar, Union

from .records import to_str

T = TypeVar("T")

# The index of the first option of the commands that a recorder adds options to.
_OPTIONS_AT = {
    b"AGG.MSTAT": 2,
    b"AGG.HIST": 3,
    b"AGG.LOG": 3,
    b"AGG.ERROR": 3,
    b"AGG.REALITY": 5,
}


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

    def with_option(self, *words: bytes) -> Command[T]:
        """Returns the command of a report with another option.

        >>> print(agg.commands.log("node1", "hello", level=3).with_option(b"AT", b"1760000100000"))
        AGG.LOG node1 hello AT 1760000100000 LEVEL 3
        """
        at = _OPTIONS_AT[self.args[0]]
        return Command([*self.args[:at], *words, *self.args[at:]], self.parse)

    @property
    def redis_args(self) -> list[Union[str, bytes]]:
        """The words as redis-py expects them, with the command's name as ``str``."""
        return [self.args[0].decode(), *self.args[1:]]

    @property
    def size(self) -> int:
        """The total length of the words in bytes."""
        return sum(map(len, self.args))
