"""Reports in the background: the program's thread only puts them into a queue.

What holds, whatever the server does:

* A method of `Recorder` never waits for the network, and raises nothing.
* What waits is bounded: samples by number, all else by number and bytes; neither can crowd out the
  other. What comes when there is no room is dropped and counted, as is all else that is lost.
* The process after a fork has an empty queue and a thread of its own; what waited at the fork is
  the parent's to send, by a connection that the child does not touch.
* At the interpreter's end what waits is sent, for at most ``at_exit`` seconds.

The sample's way is short, as programs take it a million times: a bounded ``deque`` of tuples, with
no lock and no encoding. `_wake_at` is the length from which a sample takes the slow way, where the
thread is started, woken, or the sample dropped; so the usual case is one comparison.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Callable, Optional, Union

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.retry import Retry

from . import arguments, commands, forking, processes
from .arguments import At, ErrorType, Kind, Number, Seconds, Tags, Text
from .batching import Flight, Sample, mstats, tagged, told
from .bell import Bell
from .client import Client, server_url, url_options
from .clock import Moment, ServerClock, ticks
from .commands import Command
from .records import Occurred, Taken

logger = logging.getLogger("agg")

# Answers that mean: not now.
_LATER = (BusyLoadingError, ReadOnlyError, MasterDownError, TryAgainError, ClusterDownError)

_SAMPLES_A_ROUND = 10_000
_BYTES_A_ROUND = 1 << 20


@dataclass(frozen=True)
class Counts:
    """What became of the reports: all that came are in one of these.

    ``dropped`` tells by reason: ``full`` (no room), ``unusable`` (a value or tag that is none),
    ``refused`` (by the server: a bad argument, AGGFULL, a missing right), ``unsent`` (waited when
    the recorder was closed, or no thread could be had), ``closed`` (came later), ``internal`` (a
    bug here; the log has it).
    """

    sent: int = 0
    late: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    failures: int = 0
    """Attempts to send that failed; what they had is sent again."""
    last_error: str = ""


class Recorder:
    """Reports for one node, sent in the background.

    ``node`` is AGG_NODE or this machine's name where it is not given; ``server`` a URL, a
    connection of redis-py, or a function that makes one, else as in `agg.Client`. What waits is
    sent every ``interval`` seconds, and at once when ``batch`` samples wait.

    >>> recorder = agg.Recorder("node1", url, tags={"app": "shop"})
    >>> recorder.stat("queue.length", 17)
    >>> recorder.stat("orders", 1234, kind="DIFF")
    >>> recorder.log("order placed", level=3)
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

    Time: a report carries the time at which it was made, by the server's clock, which is asked by
    TIME every ten seconds: that of this machine may be wrong. (Where the user has no right to TIME
    it is that of this machine.) What is given as ``at`` is sent as it is. Samples of gauges are
    told in steps of ``resolution`` ms, so that many go in one AGG.MSTAT; as windows begin at whole
    seconds, each is still counted in its own. Totals (``DIFF``) and all else keep their
    millisecond.

    A batch whose answer was lost is sent again: its gauges' samples, lines and errors may then
    count twice (totals do not).
    """

    def __init__(
        self,
        node: Optional[Text] = None,
        server: Union[str, Callable[[], Any], Any, None] = None,
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
            # What is wrong with it is said here, where it was written.
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
        self._anew()
        processes.register(self)

    def begin_anew(self) -> None:
        """Begin as if nothing had been reported: what a process does after a fork."""
        client = self._client
        self._anew()
        if client is None:
            return
        if client.redis is self._server:
            forking.renew(client.redis)
        else:
            forking.abandon(client.redis)

    def _anew(self) -> None:
        self._samples: deque[Sample] = deque()
        self._events: deque[tuple[Command[Any], Optional[float]]] = deque()
        self._event_bytes = 0
        # A signal's handler may report, in the midst of a report: the lock is one for reentry.
        # Nothing that may wait happens under it, logging least of all: a handler's lock may be held
        # by a thread that reports.
        self._lock = threading.RLock()
        self._wake = Bell()
        self._ending = Bell()
        self._thread: Optional[threading.Thread] = None
        self._starting = False
        self._client: Optional[Client] = None
        self._clock = ServerClock()
        self._timeless = False
        self._flights: list[Flight] = []
        self._encoding = 0
        self._tickets: deque[threading.Event] = deque()
        self._dropped: Counter[str] = Counter()
        self._sent = 0
        self._late = 0
        self._failures = 0
        self._failing = False
        self._last_error = ""
        # None has started the thread: the first sample takes the slow way.
        self._wake_at = 0

    # Reports: never wait, never raise.

    def stat(
        self,
        metric: Text,
        value: Number,
        *,
        kind: Kind = "ABS",
        tags: Optional[Tags] = None,
        at: Optional[At] = None,
    ) -> None:
        """A sample, as `agg.commands.stat`. A mapping given as tags is not to change afterwards."""
        samples = self._samples
        if len(samples) >= self._wake_at and not self._admit():
            return
        samples.append((metric, value, kind, tags, ticks() if at is None else _given(at)))

    def log(
        self,
        message: Text,
        *,
        level: Optional[int] = None,
        tags: Optional[Tags] = None,
        at: Union[At, Moment, None] = None,
    ) -> None:
        """A line, as `agg.commands.log`."""
        self._event(
            at,
            lambda at: commands.log(
                self.node, message, level=level, tags=tagged(self._tags, tags), at=at
            ),
        )

    def error(
        self,
        message: Text,
        *,
        public: Optional[Text] = None,
        level: Optional[int] = None,
        type: Optional[ErrorType] = None,
        tags: Optional[Tags] = None,
        code: Optional[Text] = None,
        func: Optional[Text] = None,
        file: Optional[Text] = None,
        backtrace: Optional[Text] = None,
        gid: Optional[int] = None,
        nid: Optional[int] = None,
        key: Optional[Text] = None,
        at: Union[At, Moment, None] = None,
    ) -> None:
        """An error, as `agg.commands.error`."""
        self._event(
            at,
            lambda at: commands.error(
                self.node,
                message,
                public=public,
                level=level,
                type=type,
                tags=tagged(self._tags, tags),
                code=code,
                func=func,
                file=file,
                backtrace=backtrace,
                gid=gid,
                nid=nid,
                key=key,
                at=at,
            ),
        )

    def reality(
        self,
        key: Text,
        model: Text,
        json: Any,
        *,
        tags: Optional[Tags] = None,
        at: Optional[At] = None,
        ttl: Optional[Seconds] = None,
    ) -> None:
        """An object, as `agg.commands.reality`."""
        self._event(
            at,
            lambda at: commands.reality(
                self.node, key, model, json, tags=tagged(self._tags, tags), at=at, ttl=ttl
            ),
        )

    # The others: for the program's frame.

    @property
    def counts(self) -> Counts:
        """What became of the reports so far."""
        with self._lock:
            waiting = len(self._samples) + len(self._events) + self._encoding
            waiting += sum(flight.reports for flight in self._flights)
            dropped = {reason: n for reason, n in self._dropped.items() if n}
            return Counts(
                self._sent, self._late, dropped, waiting, self._failures, self._last_error
            )

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt to send failed."""
        return self._failing

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that waits is sent, for at most ``timeout`` seconds; whether it was."""
        if not self.counts.waiting:
            return True
        if self.of_own_thread() or not self._started():
            return False
        ticket = threading.Event()
        self._tickets.append(ticket)
        self._wake.ring()
        return ticket.wait(timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Send what waits, as `flush`, and end: what comes later is dropped. Whether it was."""
        done = self.flush(timeout)
        with self._lock:
            self._closed = True
            self._wake_at = 0
            self._ending.ring()
            self._dropped["unsent"] += len(self._samples) + len(self._events)
            self._samples.clear()
            self._events.clear()
            self._event_bytes = 0
        self._wake.ring()
        thread = self._thread
        if thread is not None and not self.of_own_thread():
            # It is in the midst of sending where the server does not answer.
            thread.join(timeout if done else 0.1)
        return done

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def of_own_thread(self) -> bool:
        """Whether this is the recorder's thread: what happens there is not to be reported."""
        return threading.current_thread() is self._thread

    # The way in.

    def _admit(self) -> bool:
        """The slow way of a sample: whether there is room for it."""
        try:
            waiting = len(self._samples)
            if not self._started():
                self._drop("closed" if self._closed else "unsent")
                return False
            if waiting >= self._max_samples:
                self._drop("full")
                return False
            if waiting >= self._batch:
                self._wake.ring()
            return True
        except Exception:
            return False

    def _event(
        self, at: Union[At, Moment, None], build: Callable[[Optional[At]], Command[Any]]
    ) -> None:
        # Its time is added when it is sent, where none is given.
        moment = ticks() if at is None else at if isinstance(at, Moment) else None
        try:
            if not self._started():
                self._drop("closed" if self._closed else "unsent")
                return
            command = build(None if isinstance(at, Moment) else at)
            size = command.size
            with self._lock:
                room = len(self._events) < self._max_events
                if not room or self._event_bytes + size > self._max_bytes:
                    self._drop("full")
                    return
                self._event_bytes += size
                self._events.append((command, moment))
        except Exception as error:
            self._drop("unusable", error)

    def _drop(self, reason: str, why: object = "", reports: int = 1) -> None:
        with self._lock:
            self._dropped[reason] += reports
            if why:
                self._last_error = told(why)

    def _started(self) -> bool:
        """Start the thread where there is none; whether there is one."""
        if self._closed:
            return False
        thread = self._thread
        if thread is not None and thread.is_alive():
            return True
        with self._lock:
            # A signal's handler that reports while this waits for the thread starts no second one.
            if not self._starting and (self._thread is None or not self._thread.is_alive()):
                thread = threading.Thread(target=self._run, name="agg-recorder", daemon=True)
                self._starting = True
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:
                    # The interpreter is ending, or there are no more threads to be had.
                    return False
                finally:
                    self._starting = False
                self._wake_at = self._batch
                processes.at_the_end_of_a_worker(self)
        return True

    # The thread.

    def _run(self) -> None:
        pause = 0.0
        while True:
            if pause:
                # Whoever reports wakes nobody meanwhile: trying more often helps no server.
                self._ending.wait(pause)
            else:
                self._wake.wait(self._interval)
            tickets = [self._tickets.popleft() for _ in range(len(self._tickets))]
            sent = True
            try:
                sent = self._send_all()
            except Exception as error:
                # Not foreseen: what was on its way is given up, lest it stop all that follows.
                logger.exception("agg: reports are lost")
                self._give_up("internal", error)
            if sent:
                pause = 0.0
                for ticket in tickets:
                    ticket.set()
            else:
                self._tickets.extendleft(reversed(tickets))
                pause = min(5.0, max(0.1, pause * 2)) * random.uniform(0.8, 1.2)
            self._failing = not sent
            with self._lock:
                if not self._closed:
                    self._wake_at = self._batch if sent else self._max_samples
            if self._closed:
                self._give_up("unsent")
                if self._client is not None and self._client.redis is not self._server:
                    self._client.close()
                return

    def _give_up(self, reason: str, why: object = "") -> None:
        with self._lock:
            lost = self._encoding + sum(flight.reports for flight in self._flights)
            self._encoding, self._flights = 0, []
            self._drop(reason, why, lost)

    def _send_all(self) -> bool:
        """Sends what waits now; whether it could. What comes meanwhile has the next turn."""
        rounds = 1 + max(
            len(self._samples) // _SAMPLES_A_ROUND, self._event_bytes // _BYTES_A_ROUND
        )
        rounds += bool(self._flights)
        if self.counts.waiting and not self._synced():
            return False
        for _ in range(rounds):
            if (self._flights or self._take()) and not self._send():
                return False
        return True

    def _synced(self) -> bool:
        """Knows the server's time; whether it could be had."""
        if not self._clock.is_due():
            return True
        try:
            why = self._clock.sync(self._connected(), self.node)
        except (RedisError, OSError, ValueError) as error:
            # A ValueError is what AGG_REDIS holds, if that is no URL.
            self._failed(error)
            return False
        if why and not self._timeless:
            self._timeless = True
            logger.warning("agg: reports carry this machine's time, the server tells none: %s", why)
        return True

    def _take(self) -> list[Flight]:
        flights = []
        size = 0
        with self._lock:
            while self._events and size < _BYTES_A_ROUND:
                command, moment = self._events.popleft()
                size += command.size
                self._event_bytes -= command.size
                if moment is not None:
                    command.args += [b"AT", b"%d" % self._clock.ms(moment)]
                flights.append(Flight(command, 1))
            samples = self._samples
            taken = [samples.popleft() for _ in range(min(len(samples), _SAMPLES_A_ROUND))]
            self._encoding = len(taken) + len(flights)
        offset = self._clock.offset or 0.0
        sampled, unusable, why = mstats(self.node, taken, self._tags, self._resolution, offset)
        with self._lock:
            self._encoding = 0
            self._flights = flights + sampled
            if unusable:
                self._drop("unusable", why, unusable)
        return self._flights

    def _send(self) -> bool:
        """Sends what is on its way; whether nothing is left of it."""
        try:
            with self._connected().pipeline() as pipe:
                for flight in self._flights:
                    pipe.add(flight.command)
                results = pipe.execute(raise_on_error=False)
        except (RedisError, OSError, ValueError) as error:
            self._failed(error)
            return False
        with self._lock:
            refused = self._dropped["refused"]
            again = []
            for flight, result in zip(self._flights, results):
                if isinstance(result, _LATER):
                    again.append(flight)
                    self._last_error = told(result)
                else:
                    self._count(flight, result)
            self._flights = again
            first = not refused and self._dropped["refused"]
        if first:
            logger.warning("agg: the server refuses reports: %s", self._last_error)
        if again:
            self._failed(self._last_error)
        return not again

    def _connected(self) -> Client:
        if self._client is None:
            if callable(self._server):
                self._client = Client(self._server())
            elif self._server is not None and not isinstance(self._server, str):
                self._client = Client(self._server)
            else:
                # A failure is ours to wait out; the connection's own attempts would only delay it.
                options: dict[str, Any] = {
                    "socket_timeout": 5.0,
                    "socket_connect_timeout": 2.0,
                    "retry": Retry(NoBackoff(), 0),
                }
                url = server_url(self._server)
                self._client = Client(redis.Redis.from_url(url, **url_options(options)))
        return self._client

    def _failed(self, why: object) -> None:
        self._clock.expire()
        with self._lock:
            self._failures += 1
            first = self._last_error != told(why)
            self._last_error = told(why)
        if first:
            logger.warning("agg: reports wait, the server cannot be had: %s", why)

    def _count(self, flight: Flight, result: Any) -> None:
        if isinstance(result, Exception):
            self._drop("refused", result, flight.reports)
        elif isinstance(result, Taken):
            self._sent += result.taken
            self._late += result.late
            if result.refused:
                self._drop("refused", result.refused[0][1], len(result.refused))
        elif isinstance(result, (Occurred, int)):
            self._sent += flight.reports


def _given(at: At) -> At:
    """A time that the caller gives; a float is what a moment without one is."""
    return Decimal(at) if at.__class__ is float else at
