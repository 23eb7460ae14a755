"""Client of the aggregator, a module for Redis and Valkey.

`Client` and `AsyncClient` have a method for each command (`agg.commands` documents the protocol).
"""

from .aio import AsyncClient, AsyncPipeline
from .arguments import QUEUES, to_datetime, to_ms
from .client import Client, Pipeline
from .errors import AggError, ArgumentError, FullError, ModuleMissingError, WrongTypeError
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

__version__ = "0.1.0"

__all__ = [
    "QUEUES",
    "AggError",
    "ArgumentError",
    "AsyncClient",
    "AsyncPipeline",
    "Bucket",
    "Client",
    "Entry",
    "ErrorRecord",
    "FullError",
    "LogRecord",
    "Metric",
    "ModuleMissingError",
    "NodeInfo",
    "Occurred",
    "Pipeline",
    "QueueInfo",
    "RealityRecord",
    "Record",
    "StatRecord",
    "Taken",
    "WrongTypeError",
    "to_datetime",
    "to_ms",
]
