"""The program's default recorder, used wherever none is passed."""

from __future__ import annotations

import os
import threading
from typing import Any, Callable, Optional, Union

from .arguments import Text
from .recording import Recorder

_default: Optional[Recorder] = None
_lock = threading.Lock()


def configure(
    node: Optional[Text] = None,
    server: Union[str, Callable[[], Any], Any, None] = None,
    **options: Any,
) -> Recorder:
    """Creates the program's default recorder and closes the previous one.

    Takes the arguments of `agg.Recorder`.

    >>> recorder = agg.configure("node1", url, interval=0.5)
    >>> agg.recorder() is recorder
    True
    """
    global _default
    with _lock:
        previous, _default = _default, Recorder(node, server, **options)
        created = _default
    if previous is not None:
        previous.close()
    return created


def recorder() -> Recorder:
    """Returns the program's default recorder.

    Without a call of `configure`, it is created from AGG_NODE and AGG_REDIS.
    """
    global _default  # noqa: PLW0603
    existing = _default
    if existing is None:
        with _lock:
            if _default is None:
                _default = Recorder()
            existing = _default
    return existing


def _after_fork() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
