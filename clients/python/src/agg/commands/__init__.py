"""The commands of the module: their arguments and replies.

Each function builds an `agg.command.Command`, which holds the words to send and the parser of the
reply. The functions do no I/O. `agg.Client`, `agg.AsyncClient` and their pipelines have a method
with the same name and arguments for each function, which also sends the command.

In the examples, ``client`` is an `agg.Client`. The comment above a call shows the raw command, as
you would type it in redis-cli.

A node is one key, and every command names it first. Times are Unix milliseconds or a ``datetime``
and default to the server's clock. Names are binary safe. Options that are ``None`` are not sent.
"""

from __future__ import annotations

from .draining import ack, extend, fetch, nack, pop, requeue
from .reading import get_error, get_metric, get_reality, info, peek, range_, scan, scan_values
from .reporting import error, forget, hist, log, mstat, reality, stat

__all__ = [
    "ack",
    "error",
    "extend",
    "fetch",
    "forget",
    "get_error",
    "get_metric",
    "get_reality",
    "hist",
    "info",
    "log",
    "mstat",
    "nack",
    "peek",
    "pop",
    "range_",
    "reality",
    "requeue",
    "scan",
    "scan_values",
    "stat",
]
