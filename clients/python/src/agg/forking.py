"""What a fork may do harm to: clients of redis-py, and an import that is under way.

The child has none of the parent's other threads, and the locks that these held are never released
there. So the child must not touch a client that the parent's thread may be using, not even by its
finaliser, which takes the lock of the pool (redis-py 6.4 and newer), and must not wait for an
import that a thread of the parent had begun.
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
except ImportError:  # A Python that was built without it.
    ctypes = None  # type: ignore[assignment]

imported = False
"""Whether the package has been imported as a whole."""

_importer = threading.get_ident()
_LONGEST_IMPORT = 10.0

_abandoned: list[Any] = []


def abandon(client: Any) -> None:
    """Give up a client that the parent uses, in the child: nothing of it is called any more.

    It is kept for as long as the process lives, beyond the end of the interpreter, as finalisers
    run there. Its descriptors are closed, which the parent does not notice, so that a connection
    ends with the parent and a child that lives on holds none of it. Those of a cluster stay open.
    """
    _abandoned.append(client)
    if ctypes is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))
    with contextlib.suppress(Exception):
        pool = client.connection_pool
        for connection in [*pool._available_connections, *pool._in_use_connections]:
            if connection._sock is not None:
                # The socket forgets its descriptor: the number may soon be somebody else's.
                os.close(connection._sock.detach())


def renew(client: Any) -> None:
    """Make a client that the program lent us usable in the child: locks as nobody holds them.

    redis-py makes a new pool where it sees another process, but takes the lock of the old for it.
    """
    with contextlib.suppress(Exception):
        for name in ("_lock", "_fork_lock"):
            if hasattr(client.connection_pool, name):
                setattr(client.connection_pool, name, threading.RLock())


def _preload() -> None:
    """Import what redis-py imports with its first connection.

    The thread that sends would do it, and a child that is forked meanwhile could never import it.
    """
    with contextlib.suppress(Exception):
        redis.Redis().close()
        redis.Connection()
        "localhost".encode("idna")


def _finish_the_import() -> None:
    """Let a fork wait while another thread imports this package."""
    end = time.monotonic() + _LONGEST_IMPORT
    while not imported and __package__ in sys.modules and threading.get_ident() != _importer:
        if time.monotonic() > end:
            return
        time.sleep(0.001)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_finish_the_import)
_preload()
