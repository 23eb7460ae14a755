"""What happens to the recorders of a process at a fork, and what is sent before it ends."""

from __future__ import annotations

import atexit
import functools
import os
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any, Callable, TypeVar

if TYPE_CHECKING:
    from .recording import Recorder

F = TypeVar("F", bound=Callable[..., Any])

_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def register(recorder: Recorder) -> None:
    """Take care of a recorder from now on."""
    _recorders.add(recorder)


def flush_all(only_where_it_works: bool = False) -> None:
    """Send what waits in all recorders, each for at most the seconds of its ``at_exit``."""
    recorders = [each for each in _recorders if not (only_where_it_works and each.is_failing)]
    end = time.monotonic() + max((each.at_exit for each in recorders), default=0)
    for recorder in recorders:
        recorder.flush(max(0.0, min(recorder.at_exit, end - time.monotonic())))


def _after_fork() -> None:
    for recorder in list(_recorders):
        recorder.begin_anew()


def at_the_end_of_a_worker(recorder: Recorder) -> None:
    """Processes of ``multiprocessing`` end without atexit, but by finalizers of their own."""
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, _flush_worker, args=(weakref.ref(recorder),), exitpriority=10)


def _flush_worker(reference: weakref.ref[Recorder]) -> None:
    recorder = reference()
    if recorder is not None:
        recorder.flush(recorder.at_exit)


def flushed(function: F) -> F:
    """A function that has sent what it reported when it returns or raises, as a decorator.

    It is for the tasks of a ``multiprocessing.Pool`` that is used by ``with``: at the block's end
    its workers are killed, with all that they have not sent.

        @agg.flushed
        def task(order):
            agg.recorder().stat("orders.done", 1)

        with multiprocessing.Pool() as pool:
            pool.map(task, orders)

    It waits for at most ``at_exit`` seconds, and not at all while the server is known to be away.
    """

    @functools.wraps(function)
    def with_flush(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            flush_all(only_where_it_works=True)

    return with_flush  # type: ignore[return-value]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(flush_all)
