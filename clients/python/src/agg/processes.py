"""Flushes recorders before a process ends and resets them in the child of a fork.

Recorders register themselves here. This module knows them only by the `Registered` protocol, so it
imports nothing from the rest of the package.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
import time
import weakref
from typing import Any, Callable, Protocol, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Registered(Protocol):
    """The part of a recorder that this module uses."""

    at_exit: float
    """Seconds that a flush may take when the process ends."""

    @property
    def is_failing(self) -> bool:
        """True if the last attempt to send failed."""

    def flush(self, timeout: float = ...) -> bool:
        """Sends all pending reports within ``timeout`` seconds. Returns whether it did."""

    def reset_after_fork(self) -> None:
        """Drops the state that belongs to the parent process."""


_recorders: weakref.WeakSet[Registered] = weakref.WeakSet()


def register(recorder: Registered) -> None:
    """Registers a recorder for the flush at exit and the reset after a fork."""
    _recorders.add(recorder)


def flush_all(skip_failing: bool = False) -> None:
    """Flushes all recorders, each for at most its ``at_exit`` seconds.

    ``skip_failing`` leaves out recorders whose server is known to be down.
    """
    recorders = [each for each in _recorders if not (skip_failing and each.is_failing)]
    deadline = time.monotonic() + max((each.at_exit for each in recorders), default=0)
    for recorder in recorders:
        recorder.flush(max(0.0, min(recorder.at_exit, deadline - time.monotonic())))


def flush_at_worker_exit(recorder: Registered) -> None:
    """Flushes the recorder when this process ends, if it is a ``multiprocessing`` worker.

    Such workers end by finalizers of ``multiprocessing``; ``atexit`` does not run in them.
    """
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, _flush_worker, args=(weakref.ref(recorder),), exitpriority=10)


def _flush_worker(reference: weakref.ref[Registered]) -> None:
    recorder = reference()
    if recorder is not None:
        recorder.flush(recorder.at_exit)


def _after_fork() -> None:
    for recorder in list(_recorders):
        recorder.reset_after_fork()


def flushed(function: F) -> F:
    """Decorates a function to flush all recorders before it returns or raises.

    Use it for the tasks of a ``multiprocessing.Pool`` in a ``with`` block: the end of the block
    kills the workers, and whatever they have not sent is lost.

        @agg.flushed
        def task(order):
            agg.recorder().increment("orders.done")

        with multiprocessing.Pool() as pool:
            pool.map(task, orders)

    The flush takes at most ``at_exit`` seconds and is skipped while the server is known to be down.
    """

    @functools.wraps(function)
    def with_flush(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            flush_all(skip_failing=True)

    return with_flush  # type: ignore[return-value]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(flush_all)
