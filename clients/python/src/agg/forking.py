"""Makes forks safe for the clients of redis-py and for an import in progress.

The child of a fork has none of the parent's other threads, and a lock that one of them held is
never released there. Two consequences:

* The child must not touch a client that a thread of the parent may be using. Not even its finalizer
  may run, because that takes the lock of the pool (redis-py 6.4 and newer).
* The child must not wait for an import that a thread of the parent has started.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import Any

import redis

try:
    import ctypes
except ImportError:  # Python built without it.
    ctypes = None  # type: ignore[assignment]

imported = False
"""Whether the import of the package has finished."""

_importing_thread = threading.get_ident()
_IMPORT_TIMEOUT_S = 10.0

_abandoned: list[Any] = []


def abandon(client: Any) -> None:
    """Gives up the parent's client in the child, without calling any of its methods.

    The client is kept alive past the end of the interpreter, because finalizers run there. Its
    descriptors are closed, which does not affect the parent: the connection then ends with the
    parent, even if the child outlives it. The descriptors of a cluster client stay open.
    """
    _abandoned.append(client)
    if ctypes is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))
    with contextlib.suppress(Exception):
        pool = client.connection_pool
        for connection in [*pool._available_connections, *pool._in_use_connections]:
            if connection._sock is not None:
                # Detach first: the process may soon reuse the descriptor's number.
                os.close(connection._sock.detach())


def reset_locks(client: Any) -> None:
    """Makes a client that the program passed in usable in the child, by replacing its locks.

    redis-py creates a new pool when it notices that the process has changed, but takes the lock of
    the old pool to do so.
    """
    with contextlib.suppress(Exception):
        for name in ("_lock", "_fork_lock"):
            if hasattr(client.connection_pool, name):
                setattr(client.connection_pool, name, threading.RLock())


def _preload() -> None:
    """Imports everything that redis-py imports with its first connection.

    Otherwise the recorder's thread would import it, and a child forked at that moment never could.
    """
    with contextlib.suppress(Exception):
        redis.Redis().close()
        redis.Connection()
        "localhost".encode("idna")


def _wait_for_import() -> None:
    """Delays a fork while another thread is importing this package."""
    deadline = time.monotonic() + _IMPORT_TIMEOUT_S
    while (
        not imported and __package__ in sys.modules and threading.get_ident() != _importing_thread
    ):
        if time.monotonic() > deadline:
            return
        time.sleep(0.001)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_import)
_preload()
