"""Waking a thread from anywhere, a signal's handler included."""

from __future__ import annotations

import threading
from contextlib import suppress


class Bell:
    """One waits, others ring. Unlike ``threading.Event``, whose ``set`` takes a lock that the code
    a signal interrupts may hold, ringing waits for nothing; a ring that nobody heard is kept.

    >>> bell = agg.bell.Bell()
    >>> bell.ring()
    >>> bell.wait(10), bell.wait(0)
    (True, False)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake who waits, or who waits next."""
        if self._lock.locked():
            # Somebody else may be faster.
            with suppress(RuntimeError):
                self._lock.release()

    def wait(self, timeout: float) -> bool:
        """Wait for a ring, for at most so many seconds; whether there was one."""
        return self._lock.acquire(timeout=timeout)
