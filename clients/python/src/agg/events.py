"""The methods of a recorder that report all but single samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Callable, Optional, Union

from . import commands
from .arguments import At, ErrorType, Level, Number, Seconds, Tags, Text
from .batching import merge_tags
from .clock import Moment
from .command import Command


class EventReports:
    """Queues commands. The methods never wait and never raise."""

    node: bytes
    _tags: bytes

    def _add_event(
        self, at: Union[At, Moment, None], build: Callable[[Optional[At]], Command[Any]]
    ) -> None:
        """Queues the command that ``build`` returns for a time, or drops the report."""
        raise NotImplementedError

    def aggregated(
        self,
        metric: Text,
        values: Union[Mapping[Any, int], Iterable[tuple[Number, int]]],
        *,
        sum: Optional[Number] = None,
        min: Optional[Number] = None,
        max: Optional[Number] = None,
        tags: Optional[Tags] = None,
        at: Optional[At] = None,
    ) -> None:
        """Reports aggregated samples as one report; see `agg.commands.hist`."""
        self._add_event(
            at,
            lambda at: commands.hist(
                self.node,
                metric,
                values,
                sum=sum,
                min=min,
                max=max,
                tags=merge_tags(self._tags, tags),
                at=at,
            ),
        )

    def log(
        self,
        message: Text,
        *,
        level: Optional[Level] = None,
        tags: Optional[Tags] = None,
        at: Union[At, Moment, None] = None,
    ) -> None:
        """Reports a log entry; see `agg.commands.log`."""
        self._add_event(
            at,
            lambda at: commands.log(
                self.node, message, level=level, tags=merge_tags(self._tags, tags), at=at
            ),
        )

    def error(
        self,
        message: Text,
        *,
        public: Optional[Text] = None,
        level: Optional[Level] = None,
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
        """Reports an error; see `agg.commands.error`."""
        self._add_event(
            at,
            lambda at: commands.error(
                self.node,
                message,
                public=public,
                level=level,
                type=type,
                tags=merge_tags(self._tags, tags),
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
        """Reports the state of an object; see `agg.commands.reality`."""
        self._add_event(
            at,
            lambda at: commands.reality(
                self.node, key, model, json, tags=merge_tags(self._tags, tags), at=at, ttl=ttl
            ),
        )
