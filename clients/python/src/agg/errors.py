"""Exceptions for commands that the server rejects.

All derive from redis-py's ``ResponseError``, so code that catches that keeps working. Errors that
are not specific to the module keep redis-py's own classes: ``ConnectionError``, ``ReadOnlyError``,
``NoPermissionError``, ``OutOfMemoryError`` and so on.
"""

from __future__ import annotations

from redis.exceptions import ResponseError


class AggError(ResponseError):
    """The server rejected a command. Nothing was changed."""


class ArgumentError(AggError):
    """An argument is invalid. The message names it and says what is expected."""


class FullError(AggError):
    """``AGGFULL``: a limit is reached. The message names the limit and its setting."""


class WrongTypeError(AggError):
    """``WRONGTYPE``: the node's key holds a value of another type."""


class UnavailableError(ResponseError):
    """The server is not able to take writes at present.

    A script is running (``BUSY``), it has too few replicas (``NOREPLICAS``) or it cannot save its
    data (``MISCONF``).
    """


class ModuleMissingError(AggError):
    """The server does not know the command: the module is not loaded."""


def translate(error: ResponseError) -> ResponseError:
    """Returns the exception of this module for an error that redis-py has no class for."""
    if type(error) is not ResponseError:
        return error
    message = str(error)
    lower = message.lower()
    if lower.startswith("unknown command") and "agg." in lower:
        return ModuleMissingError(f"{message} (is the module loaded?)")
    if message.startswith("AGG.") or lower.startswith("wrong number of arguments for 'agg."):
        return ArgumentError(message)
    kind = _BY_CODE.get(message.partition(" ")[0])
    return error if kind is None else kind(message)


_BY_CODE = {
    "AGGFULL": FullError,
    "WRONGTYPE": WrongTypeError,
    "BUSY": UnavailableError,
    "NOREPLICAS": UnavailableError,
    "MISCONF": UnavailableError,
}
