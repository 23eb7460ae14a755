"""Python client of aggregator, a module for Redis and Valkey.

`Client` and `AsyncClient` have a method for each command; `agg.commands` documents the commands.
`Recorder` reports in the background. `LogHandler`, `capture_exceptions`, `install_hooks` and
`timer` report through a recorder, and `flushed` is for tasks of a process pool. `Drain` and
`AsyncDrain` loop over the records of queues.
"""

from . import forking  # isort: skip  (first, so that a fork waits for the rest of the import)
from .aio import AsyncClient, AsyncPipeline
from .arguments import QUEUES, Sample, to_datetime, to_ms
from .capture import capture_exceptions, install_hooks, report_exception, watch_loop
from .client import Client, Pipeline
from .counts import Counts
from .default import configure, recorder
from .drain import AsyncDrain, Drain
from .errors import AggError, ArgumentError, FullError, ModuleMissingError, WrongTypeError
from .handler import LogHandler
from .processes import flushed
from .recording import Recorder
from .records import (
    Bucket,
    Entry,
    ErrorRecord,
    Histogram,
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
    "Histogram",
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
    "Sample",
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
