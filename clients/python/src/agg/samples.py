"""The methods of a recorder that report samples.

Programs report samples millions of times, so a report is fast: it appends a tuple to a ``deque``,
without a lock and without encoding. From the queue length `_slow_path_at` on, a sample takes the
slow path, which starts or wakes the thread or drops the sample. The fast path is therefore a single
comparison.
"""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from typing import Optional, Union

from .arguments import At, Kind, Number, Tags, Text
from .batching import Queued
from .clock import ticks, unix_time

_MS = timedelta(milliseconds=1)


class SampleReports:
    """Queues samples. The methods never wait and never raise.

    A ``tags`` mapping must not change after the call.
    """

    _samples: deque[Queued]
    _slow_path_at: int

    def _admit(self) -> bool:
        """The slow path of a sample. Returns whether to queue it."""
        raise NotImplementedError

    def _queue(self, sample: Queued) -> None:
        samples = self._samples
        if len(samples) < self._slow_path_at or self._admit():
            samples.append(sample)

    def increment(
        self,
        metric: Text,
        value: Number = 1,
        *,
        tags: Optional[Tags] = None,
        at: Optional[At] = None,
    ) -> None:
        """Adds to a counter (``INC``), which any number of processes and threads may add to.

        The records have its ``sum`` and, as ``count``, the number of calls. The value must not be
        negative; `adjust` is for gauges.
        """
        time = ticks() if at is None else unix_time(at)
        self._queue((metric, value, "INC", False, 1, tags, time))

    def gauge(
        self,
        metric: Text,
        value: Number,
        *,
        tags: Optional[Tags] = None,
        at: Optional[At] = None,
    ) -> None:
        """Reports the value of a gauge (``ABS``)."""
        time = ticks() if at is None else unix_time(at)
        self._queue((metric, value, "ABS", False, 1, tags, time))

    def adjust(
        self,
        metric: Text,
        change: Number,
        *,
        tags: Optional[Tags] = None,
        at: Optional[At] = None,
    ) -> None:
        """Changes a gauge (``ADD``): adds to the value that was reported last, by any process."""
        time = ticks() if at is None else unix_time(at)
        self._queue((metric, change, "ADD", False, 1, tags, time))

    def histogram(
        self,
        metric: Text,
        value: Number,
        *,
        tags: Optional[Tags] = None,
        at: Optional[At] = None,
    ) -> None:
        """Reports a value whose percentiles matter, such as a size (``ABS HIST``)."""
        time = ticks() if at is None else unix_time(at)
        self._queue((metric, value, "ABS", True, 1, tags, time))

    def timing(
        self,
        metric: Text,
        duration: Union[Number, timedelta],
        *,
        tags: Optional[Tags] = None,
        at: Optional[At] = None,
    ) -> None:
        """Reports a duration, in ms or as a ``timedelta``, whose percentiles matter.

        `agg.timer` measures one.
        """
        value = duration / _MS if isinstance(duration, timedelta) else duration
        time = ticks() if at is None else unix_time(at)
        self._queue((metric, value, "ABS", True, 1, tags, time))

    def total(
        self,
        metric: Text,
        value: Number,
        *,
        tags: Optional[Tags] = None,
        at: Optional[At] = None,
    ) -> None:
        """Reports the total of a counter that no one else reports (``DIFF``).

        If several processes do, use `increment`, or name a metric for each process.
        """
        time = ticks() if at is None else unix_time(at)
        self._queue((metric, value, "DIFF", False, 1, tags, time))

    def stat(
        self,
        metric: Text,
        value: Number,
        *,
        kind: Kind = "ABS",
        hist: bool = False,
        times: int = 1,
        tags: Optional[Tags] = None,
        at: Optional[At] = None,
    ) -> None:
        """Reports any sample; see `agg.commands.stat`. The other methods are shorter to call."""
        time = ticks() if at is None else unix_time(at)
        self._queue((metric, value, kind, hist, times, tags, time))
