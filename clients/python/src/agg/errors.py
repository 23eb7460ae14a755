"""What a server refuses, as exceptions.

All are redis-py's ``ResponseError``, so code that catches that goes on working. What is not about
these commands stays as redis-py has it: ``ConnectionError``, ``ReadOnlyError``,
``NoPermissionError``, ``OutOfMemoryError`` ...
"""

from __future__ import annotations

from redis.exceptions import ResponseError


class AggError(ResponseError):
    """A command was refused, and nothing was changed."""


class ArgumentError(AggError):
    """An argument is not what it should be; the text names it and what was expected."""


class FullError(AggError):
    """``AGGFULL``: a limit is reached; the text names it and its setting."""


class WrongTypeError(AggError):
    """``WRONGTYPE``: the key that should be a node holds something else."""


class ModuleMissingError(AggError):
    """The server does not know the command: the module is not loaded."""


def translate(error: ResponseError) -> ResponseError:
    """The exception for an answer that redis-py has no class of its own for."""
    if type(error) is not ResponseError:
        return error
    said = str(error)
    if said.startswith("AGGFULL"):
        return FullError(said)
    if said.startswith("WRONGTYPE"):
        return WrongTypeError(said)
    lower = said.lower()
    if lower.startswith("unknown command") and "agg." in lower:
        return ModuleMissingError(f"{said} (is the module loaded?)")
    if said.startswith("AGG.") or lower.startswith("wrong number of arguments for 'agg."):
        return ArgumentError(said)
    return error
