"""Client of the aggregator, a module for Redis and Valkey.

`Client` and `AsyncClient` have a method for each command (`agg.commands` documents the protocol).
`Recorder` reports in the background; `LogHandler`, `capture_exceptions`, `install_hooks` and
`timer` report by it; `flushed` is for tasks of a pool of processes. `Drain` and `AsyncDrain` are
loops over what the queues hold.
"""

from . import forking  # isort: skip  (first: a fork meanwhile waits for the rest)
from .aio import AsyncClient, AsyncPipeline
from .arguments import QUEUES, to_datetime, to_ms
from .capture import capture_exceptions, install_hooks, report_exception, watch_loop
from .client import Client, Pipeline
from .default import configure, recorder
from .drain import AsyncDrain, Drain
from .errors import AggError, ArgumentError, FullError, ModuleMissingError, WrongTypeError
from .handler import LogHandler
from .processes import flushed
from .recording import Counts, Recorder
from .records import (
    Bucket,
    Entry,
    ErrorRecord,
    LogRecord,
    Metric,
    NodeInfo,
    Occurred,
    QueueInfo,
    RealityRecord,
    Record,
    StatRecord,
    Taken,
)
from .timing import timer

__version__ = "0.1.0"

__all__ = [
    "QUEUES",
    "AggError",
    "ArgumentError",
    "AsyncClient",
    "AsyncDrain",
    "AsyncPipeline",
    "Bucket",
    "Client",
    "Counts",
    "Drain",
    "Entry",
    "ErrorRecord",
    "FullError",
    "LogHandler",
    "LogRecord",
    "Metric",
    "ModuleMissingError",
    "NodeInfo",
    "Occurred",
    "Pipeline",
    "QueueInfo",
    "RealityRecord",
    "Record",
    "Recorder",
    "StatRecord",
    "Taken",
    "WrongTypeError",
    "capture_exceptions",
    "configure",
    "flushed",
    "install_hooks",
    "recorder",
    "report_exception",
    "timer",
    "to_datetime",
    "to_ms",
    "watch_loop",
]

forking.imported = True
