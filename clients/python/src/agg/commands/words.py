"""Helpers that build the words of commands."""

from __future__ import annotations

from typing import Any, Callable, Optional

from .. import arguments, records
from ..arguments import Text


def option(
    words: list[bytes], keyword: bytes, value: Optional[Any], encode: Callable[[Any], bytes]
) -> None:
    """Appends an option, unless its value is None."""
    if value is not None:
        words.append(keyword)
        words.append(encode(value))


def node_name(node: Text) -> str:
    """Returns the name of a node as records have it."""
    return records.to_str(arguments.text(node))
