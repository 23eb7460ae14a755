"""The recorder: queues reports in the program's thread and sends them from a background thread.

Invariants, whatever the server does:

* The reporting methods of `Recorder` never wait for the network and never raise.
* Pending reports are bounded: samples by number, all others (events) by number and bytes. Neither
  kind can displace the other. Reports that do not fit are dropped, and every loss is counted.
* While the server is down, pending increments are added up, so that more of them fit. They may
  take up to twice ``max_samples`` in addition.
* After a fork, the child has an empty queue and its own thread. Reports pending at the fork are
  sent by the parent, over a connection that the child does not touch.
* When the interpreter exits, pending reports are sent, for at most ``at_exit`` seconds.

Reporting a sample is fast, because programs do it millions of times; see `agg.samples`.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
from collections import Counter, deque
from typing import Any, Callable, Optional, Union

from redis.connection import parse_url

from . import arguments, processes
from .arguments import At, Tags, Text
from .batching import Batch, Queued, SampleBatch, describe, encode_samples
from .clock import Moment, ticks
from .command import Command
from .connection import UNAVAILABLE, Connection, Server
from .counts import Counts
from .events import EventReports
from .numbering import Numbering
from .samples import SampleReports
from .wakeup import Wakeup

logger = logging.getLogger("agg")

_SAMPLES_PER_ROUND = 10_000
_BYTES_PER_ROUND = 1 << 20


class Recorder(SampleReports, EventReports):
    """Reports for one node and sends in the background.

    ``node`` defaults to AGG_NODE, then to the host name. ``server`` is a URL, a redis-py
    connection, or a function that creates one; the default is that of `agg.Client`. Pending reports
    are sent every ``interval`` seconds, and as soon as ``batch`` samples are pending.

    >>> recorder = agg.Recorder("node1", url, tags={"app": "shop"})
    >>> recorder.increment("orders")
    >>> recorder.gauge("queue.length", 17)
    >>> recorder.log("order placed", level="NOTICE")
    >>> recorder.error("payment failed", type="OPS", key="payment")
    >>> recorder.reality("shop", "app.Shop", {"version": "1.2"})
    >>> recorder.flush()
    True
    >>> recorder.counts.sent, recorder.counts.dropped
    (5, {})
    >>> client.get_metric("node1", "queue.length").tags
    {'app': 'shop'}
    >>> recorder.close()
    True

    A report carries the time at which it was made, by the server's clock, because the local clock
    may be wrong. The recorder asks for the server's time with TIME every ten seconds. If the user
    has no permission for TIME, the local clock is used. Times passed as ``at`` are sent unchanged.
    Times of gauges are rounded down to steps of ``resolution`` ms, those of increments to seconds,
    so that many samples share their time; windows and slots start at whole seconds, so each sample
    still counts in its own. Totals (``DIFF``) and all other reports keep their millisecond.

    A batch whose reply was lost is sent again. Reports are numbered (SEQ), so they count once.
    """

    def __init__(
        self,
        node: Optional[Text] = None,
        server: Server = None,
        *,
        tags: Optional[Tags] = None,
        interval: float = 1.0,
        batch: int = 2000,
        max_samples: int = 100_000,
        max_events: int = 10_000,
        max_bytes: int = 8 << 20,
        resolution: int = 100,
        at_exit: float = 2.0,
    ) -> None:
        self.node = arguments.text(node or os.environ.get("AGG_NODE") or socket.gethostname())
        if isinstance(server, str):
            # Raises for an invalid URL here, where it was passed.
            parse_url(server)
        self._server = server
        self._tags = arguments.tags(tags) if tags is not None else b""
        self._interval = interval
        self._batch = min(batch, max_samples)
        self._max_samples = max_samples
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._resolution = resolution
        self.at_exit = at_exit
        self._closed = False
        self._reset()
        processes.register(self)

    def reset_after_fork(self) -> None:
        """Drops the state that belongs to the parent process."""
        connection = self._connection
        self._reset()
        connection.release_after_fork()

    def _reset(self) -> None:
        self._samples: deque[Queued] = deque()
        self._events: deque[tuple[Command[Any], Optional[float]]] = deque()
        self._event_bytes = 0
        # Reentrant, because a signal handler may report while it interrupts a report. No code may
        # block while it holds the lock. That rules out logging: a thread that holds a handler's
        # lock may be reporting.
        self._lock = threading.RLock()
        self._wakeup = Wakeup()
        self._close_wakeup = Wakeup()
        self._thread: Optional[threading.Thread] = None
        self._starting = False
        self._connection = Connection(self._server, self.node)
        self._numbering = Numbering()
        self._in_flight: list[Batch] = []
        self._encoding = 0
        self._flush_waiters: deque[threading.Event] = deque()
        self._dropped: Counter[str] = Counter()
        self._sent = 0
        self._late = 0
        self._failures = 0
        self._failing = False
        self._last_error = ""
        # The thread is not running yet, so the first sample takes the slow path.
        self._slow_path_at = 0

    # Control: for the code that owns the recorder.

    @property
    def counts(self) -> Counts:
        """The numbers of reports by what happened to them so far."""
        with self._lock:
            waiting = len(self._samples) + len(self._events) + self._encoding
            waiting += sum(batch.reports for batch in self._in_flight)
            dropped = {reason: n for reason, n in self._dropped.items() if n}
            return Counts(
                self._sent, self._late, dropped, waiting, self._failures, self._last_error
            )

    @property
    def is_failing(self) -> bool:
        """True if the last attempt to send failed."""
        return self._failing

    def flush(self, timeout: float = 5.0) -> bool:
        """Sends all pending reports within ``timeout`` seconds. Returns whether it did."""
        if not self.counts.waiting:
            return True
        if self.in_sender_thread() or not self._ensure_thread():
            return False
        waiter = threading.Event()
        self._flush_waiters.append(waiter)
        self._wakeup.set()
        return waiter.wait(timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Flushes and stops the recorder; later reports are dropped.

        Returns whether all reports were sent.
        """
        flushed = self.flush(timeout)
        with self._lock:
            self._closed = True
            self._slow_path_at = 0
            self._close_wakeup.set()
            self._dropped["unsent"] += len(self._samples) + len(self._events)
            self._samples.clear()
            self._events.clear()
            self._event_bytes = 0
        self._wakeup.set()
        thread = self._thread
        if thread is not None and not self.in_sender_thread():
            # If the flush failed, the thread may be blocked on a server that does not reply.
            thread.join(timeout if flushed else 0.1)
        return flushed

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def in_sender_thread(self) -> bool:
        """Returns whether the caller is the recorder's thread, which must not report."""
        return threading.current_thread() is self._thread

    # Queueing.

    def _admit(self) -> bool:
        """The slow path of a sample. Returns whether to queue it."""
        try:
            pending = len(self._samples)
            if not self._ensure_thread():
                self._drop("closed" if self._closed else "unsent")
                return False
            if pending >= self._max_samples:
                self._drop("full")
                return False
            if pending >= self._batch:
                self._wakeup.set()
            return True
        except Exception:
            return False

    def _add_event(
        self, at: Union[At, Moment, None], build: Callable[[Optional[At]], Command[Any]]
    ) -> None:
        # Without a Unix time, AT is added when the event is sent.
        moment = ticks() if at is None else at if isinstance(at, Moment) else None
        try:
            if not self._ensure_thread():
                self._drop("closed" if self._closed else "unsent")
                return
            command = build(None if isinstance(at, Moment) else at)
            size = command.size
            with self._lock:
                if (
                    len(self._events) >= self._max_events
                    or self._event_bytes + size > self._max_bytes
                ):
                    self._drop("full")
                    return
                self._event_bytes += size
                self._events.append((command, moment))
        except Exception as error:
            self._drop("unusable", error)

    def _drop(self, reason: str, error: object = "", reports: int = 1) -> None:
        with self._lock:
            self._dropped[reason] += reports
            if error:
                self._last_error = describe(error)

    def _ensure_thread(self) -> bool:
        """Starts the thread unless it is running. Returns whether it runs."""
        if self._closed:
            return False
        thread = self._thread
        if thread is not None and thread.is_alive():
            return True
        with self._lock:
            # The flag stops a signal handler that reports during `start` from starting a second
            # thread.
            if not self._starting and (self._thread is None or not self._thread.is_alive()):
                thread = threading.Thread(target=self._run, name="agg-recorder", daemon=True)
                self._starting = True
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:
                    # The interpreter is exiting, or the limit of threads is reached.
                    return False
                finally:
                    self._starting = False
                self._slow_path_at = self._batch
                processes.flush_at_worker_exit(self)
        return True

    # Sending: runs in the recorder's thread.

    def _run(self) -> None:
        delay = 0.0
        while True:
            if delay:
                # Reports do not interrupt the backoff: retrying more often does not help.
                self._close_wakeup.wait(delay)
            else:
                self._wakeup.wait(self._interval)
            waiters = [self._flush_waiters.popleft() for _ in range(len(self._flush_waiters))]
            sent = True
            try:
                sent = self._send_pending()
                if not sent:
                    self._condense()
            except Exception as error:
                # A bug. Without this, the same reports would block all later ones.
                logger.exception("agg: internal error, reports are dropped")
                self._drop_in_flight("internal", error)
            if sent:
                delay = 0.0
                for waiter in waiters:
                    waiter.set()
            else:
                self._flush_waiters.extendleft(reversed(waiters))
                delay = min(5.0, max(0.1, delay * 2)) * random.uniform(0.8, 1.2)
            self._failing = not sent
            with self._lock:
                if not self._closed:
                    self._slow_path_at = self._batch if sent else self._max_samples
            if self._closed:
                self._drop_in_flight("unsent")
                self._connection.close()
                return

    def _drop_in_flight(self, reason: str, error: object = "") -> None:
        with self._lock:
            lost = self._encoding + sum(batch.reports for batch in self._in_flight)
            self._encoding, self._in_flight = 0, []
            self._drop(reason, error, lost)

    def _send_pending(self) -> bool:
        """Sends the reports that are pending now, but not later ones. Returns whether it did."""
        rounds = 1 + max(
            len(self._samples) // _SAMPLES_PER_ROUND, self._event_bytes // _BYTES_PER_ROUND
        )
        rounds += bool(self._in_flight)
        try:
            if self.counts.waiting:
                self._connection.sync_clock()
        except UNAVAILABLE as error:
            self._note_failure(error)
            return False
        for _ in range(rounds):
            if (self._in_flight or self._encode_round()) and not self._send_in_flight():
                return False
        return True

    def _encode_round(self) -> list[Batch]:
        """Moves reports from the queues to the batches in flight, and returns these."""
        clock = self._connection.clock
        batches = []
        size = 0
        with self._lock:
            while self._events and size < _BYTES_PER_ROUND:
                command, moment = self._events.popleft()
                size += command.size
                self._event_bytes -= command.size
                if moment is not None:
                    command = command.with_option(b"AT", b"%d" % clock.ms(moment))
                batches.append(Batch(command, 1))
            queue = self._samples
            samples = [queue.popleft() for _ in range(min(len(queue), _SAMPLES_PER_ROUND))]
            self._encoding = len(samples) + len(batches)
        self._add_in_flight(batches, samples)
        return self._in_flight

    def _condense(self) -> None:
        """Moves pending increments to the batches in flight, where equal ones are added up."""
        queue = self._samples
        in_flight = sum(batch.size for batch in self._in_flight)
        if len(queue) < self._max_samples // 2 or in_flight >= self._max_samples:
            return
        if self._connection.clock.offset is None:
            # Their times are not known yet.
            return
        with self._lock:
            samples = [queue.popleft() for _ in range(len(queue))]
            queue.extendleft([each for each in reversed(samples) if each[2] != "INC"])
            increments = [each for each in samples if each[2] == "INC"]
            self._encoding = len(increments)
        self._add_in_flight([], increments)

    def _add_in_flight(self, batches: list[Batch], samples: list[Queued]) -> None:
        """Adds batches and samples, which are counted as being encoded, to those in flight."""
        encoded, unusable, error = encode_samples(
            self.node, samples, self._tags, self._resolution, self._connection.clock.offset or 0.0
        )
        batches += self._numbering.adapt(encoded)
        self._numbering.assign(batches)
        with self._lock:
            self._encoding = 0
            self._in_flight += batches
            if unusable:
                self._drop("unusable", error, unusable)

    def _send_in_flight(self) -> bool:
        """Sends the batches in flight. Returns whether all got a final reply."""
        # One batch goes ahead. If a server that is not ready rejected the first batches and then
        # took a later one, it would ignore the numbers of the former when they are sent again.
        if not self._send(self._in_flight[:1]):
            return False
        return not self._in_flight or self._send(self._in_flight)

    def _send(self, batches: list[Batch]) -> bool:
        """Sends the first batches in flight. Returns whether all got a final reply."""
        try:
            results = self._connection.execute(self._numbering.commands(batches))
        except UNAVAILABLE as error:
            # The next server may be a newer one.
            self._numbering.expect_upgrade()
            self._note_failure(error)
            return False
        final, at_once, later, why = self._numbering.sort(batches, results)
        with self._lock:
            rejected_before = self._dropped["refused"]
            for batch, result in final:
                self._count_result(batch, result)
            self._in_flight = at_once + later + self._in_flight[len(batches) :]
            is_first_rejection = not rejected_before and self._dropped["refused"]
        self._numbering.warn()
        if is_first_rejection:
            logger.warning("agg: the server rejects reports: %s", self._last_error)
        if later:
            self._note_failure(why)
            return False
        # This ends, because each change removes one reason for a rejection (COLUMNS or SEQ).
        return not at_once or self._send(at_once)

    def _note_failure(self, error: object) -> None:
        self._connection.clock.expire()
        with self._lock:
            self._failures += 1
            is_new = self._last_error != describe(error)
            self._last_error = describe(error)
        if is_new:
            logger.warning("agg: server unavailable, reports will be retried: %s", error)

    def _count_result(self, batch: Batch, result: Any) -> None:
        if isinstance(result, Exception):
            self._drop("refused", result, batch.reports)
        elif isinstance(batch, SampleBatch):
            sent, late, rejected = batch.count(result)
            self._sent += sent
            self._late += late
            if rejected:
                self._drop("refused", result.refused[0][1], rejected)
        elif result is False:
            # AGG.HIST.
            self._late += batch.reports
        else:
            self._sent += batch.reports
