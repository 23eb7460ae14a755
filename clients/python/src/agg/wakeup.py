"""A wake-up flag for one thread that is safe to set from a signal handler.

``threading.Event.set`` takes a lock that the interrupted code may hold, so a signal handler that
calls it can deadlock. `Wakeup.set` never blocks.
"""

from __future__ import annotations

import threading
from contextlib import suppress


class Wakeup:
    """A flag that wakes one waiting thread. Waiting clears the flag.

    A `set` that no thread is waiting for is kept for the next `wait`.

    >>> wakeup = agg.wakeup.Wakeup()
    >>> wakeup.set()
    >>> wakeup.wait(10), wakeup.wait(0)
    (True, False)
    """

    def __init__(self) -> None:
        # The lock is held while the flag is clear; setting the flag releases it.
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wakes the waiting thread, or the next one that waits. Never blocks."""
        if self._lock.locked():
            # Another thread may release the lock first.
            with suppress(RuntimeError):
                self._lock.release()

    def wait(self, timeout: float) -> bool:
        """Waits for at most ``timeout`` seconds. Returns whether the flag was set."""
        return self._lock.acquire(timeout=timeout)
