"""Timers that report durations, in milliseconds and with percentiles."""

from __future__ import annotations

import functools
import inspect
import time
from typing import Any, Callable, Optional, TypeVar

from .arguments import Tags, Text, lenient_tags
from .default import recorder as default_recorder
from .recording import Recorder

F = TypeVar("F", bound=Callable[..., Any])


class timer:
    """Reports the duration of a block or a function in ms, even if it raises.

    As a context manager, also with ``async with``; ``elapsed`` is in seconds:

    >>> recorder = agg.configure("node1", url)
    >>> with agg.timer("render", tags={"page": "cart"}) as took:
    ...     page = sum(range(1000))
    >>> took.elapsed < 1
    True

    As a decorator, also of coroutine functions; the name defaults to that of the function:

    >>> @agg.timer("db.query")
    ... def query():
    ...     return 42
    >>> query()
    42
    >>> recorder.flush()
    True
    >>> sorted(client.names("node1", "METRIC"))
    ['db.query', 'render']
    >>> client.get_metric("node1", "render").tags
    {'page': 'cart', 'unit': 'ms'}

    Each block needs its own timer. Calls of a decorated function may run concurrently and nest.
    """

    def __init__(
        self,
        name: Optional[Text] = None,
        *,
        tags: Optional[Tags] = None,
        recorder: Optional[Recorder] = None,
    ) -> None:
        self.name = name
        self.elapsed = 0.0
        words = lenient_tags(tags).decode("utf-8", "surrogateescape") if tags else ""
        self._tags = f"unit:ms {words}" if words else "unit:ms"
        self._recorder = recorder
        self._start = 0.0

    def __enter__(self) -> timer:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exc: object) -> None:
        self.elapsed = time.perf_counter() - self._start
        self._report(self.name or "timer", self.elapsed)

    async def __aenter__(self) -> timer:
        return self.__enter__()

    async def __aexit__(self, *exc: object) -> None:
        self.__exit__()

    def __call__(self, function: F) -> F:
        """Decorates a function or a coroutine function."""
        name = self.name or f"{function.__module__}.{function.__qualname__}"
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def timed_coroutine(*args: Any, **kwargs: Any) -> Any:
                start = time.perf_counter()
                try:
                    return await function(*args, **kwargs)
                finally:
                    self._report(name, time.perf_counter() - start)

            return timed_coroutine  # type: ignore[return-value]

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._report(name, time.perf_counter() - start)

        return timed  # type: ignore[return-value]

    def _report(self, name: Text, elapsed: float) -> None:
        recorder = self._recorder if self._recorder is not None else default_recorder()
        recorder.timing(name, round(elapsed * 1000, 6), tags=self._tags)
