"""The program's recorder: the one that is used where none is named."""

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
    """Make the program's recorder, the one that is used where none is named.

    Arguments are those of `agg.Recorder`. One that was made before is closed.

    >>> recorder = agg.configure("node1", url, interval=0.5)
    >>> agg.recorder() is recorder
    True
    """
    global _default
    with _lock:
        before, _default = _default, Recorder(node, server, **options)
        made = _default
    if before is not None:
        before.close()
    return made


def recorder() -> Recorder:
    """The program's recorder; made of AGG_NODE and AGG_REDIS where `configure` made none."""
    global _default  # noqa: PLW0603
    there = _default
    if there is None:
        with _lock:
            if _default is None:
                _default = Recorder()
            there = _default
    return there


def _after_fork() -> None:
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
