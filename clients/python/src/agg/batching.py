"""Turns queued samples into AGG.MSTAT commands.

Samples that share everything, but for name and value, are a run. What all runs of a command share
is an option of the command. What they do not share is a column, a word of each sample. A word costs
about 0.4 us, most of it in redis-py. So a run of 64 samples gets a command of its own, and all
shorter ones share one.

Equal increments are added up: ``INC`` of 1, reported 500 times within a second, is one sample with
TIMES 500. So sum and count are those of the single reports. Increments of different values remain
separate samples, because the sum of a TIMES is rounded.

Times are rounded down to steps: those of gauges to ``resolution`` ms, those of increments to whole
seconds. Windows and slots start at whole seconds, so no sample moves to another one. Totals keep
their millisecond, because their rates depend on it.

Runs are in the order of their first samples. So the samples of a gauge or a total stay in the order
of their times, unless the caller passes times in another one. A change of a gauge (``ADD``) applies
to the value before it, whatever its time. Therefore all samples of a gauge that is changed remain
in the order in which they were reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from operator import index
from typing import Any, NamedTuple, Optional, Union

from . import arguments, records
from .arguments import At, Kind, Number, Tags, Text
from .command import Command
from .records import Taken

Queued = tuple[Text, Number, Kind, bool, int, Optional[Tags], Union[float, At]]
"""Metric, value, kind, HIST, TIMES, tags and time. A float is a time in `agg.clock.ticks`."""

_SAMPLES_PER_COMMAND = 1000
_SAMPLES_FOR_OWN_COMMAND = 64

_KINDS: dict[str, bytes] = {"ABS": b"", "ADD": b"ADD", "DIFF": b"DIFF", "INC": b"INC"}
_INC_STEP_MS = 1000
_OPTIONS = (b"TYPE", b"HIST", b"TIMES", b"TAGS", b"AT")


class Shared(NamedTuple):
    """The options of a sample, as cells of columns."""

    kind: bytes
    """Empty: ABS."""
    hist: bytes
    """1 or 0."""
    times: bytes
    """Empty: 1."""
    tags: bytes
    """With the tags of the recorder. Empty: these alone."""
    at: bytes


class Run:
    """Samples with the same options."""

    __slots__ = ("reports", "shared", "words")

    def __init__(self, shared: Shared, words: list[bytes], reports: int = 1) -> None:
        self.shared = shared
        self.words = words
        """Metric and value of each sample."""
        self.reports = reports
        """The number of reports that each of the samples stands for."""

    def __len__(self) -> int:
        return len(self.words) // 2

    def split(self, size: int) -> Iterator[Run]:
        """Yields runs of at most ``size`` samples."""
        for i in range(0, len(self.words), 2 * size):
            yield Run(self.shared, self.words[i : i + 2 * size], self.reports)


class Batch:
    """A command to be sent, the number of reports that it carries, and its sequence number."""

    __slots__ = ("command", "number", "reports")

    def __init__(self, command: Command[Any], reports: int = 1) -> None:
        self.command = command
        self.reports = reports
        self.number = 0
        """The number of the option SEQ; 0: none."""

    @property
    def size(self) -> int:
        """The number of samples, or 1."""
        return 1


class SampleBatch(Batch):
    """An AGG.MSTAT of samples."""

    __slots__ = ("_common_tags", "_node", "_runs")

    def __init__(self, node: bytes, common_tags: bytes, runs: list[Run]) -> None:
        words = [b"AGG.MSTAT", node, *_options_and_values(runs, common_tags)]
        super().__init__(
            Command(words, records.parse_mstat), sum(len(run) * run.reports for run in runs)
        )
        self._node = node
        self._common_tags = common_tags
        self._runs = runs

    @property
    def size(self) -> int:
        """The number of samples."""
        return sum(map(len, self._runs))

    def without_columns(self) -> list[SampleBatch]:
        """Returns batches of the same samples for a server that does not know COLUMNS."""
        return [SampleBatch(self._node, self._common_tags, [run]) for run in self._runs]

    def count(self, taken: Taken) -> tuple[int, int, int]:
        """Returns how many reports have counted, were late and were rejected.

        The reply says how many samples were late, but not which. They are taken to be the first.
        """
        if taken.is_repetition:
            # The lost first reply may have been that some were late or rejected.
            return self.reports, 0, 0
        if not (taken.late or taken.refused):
            return self.reports, 0, 0
        reports = [*chain.from_iterable(repeat(run.reports, len(run)) for run in self._runs)]
        rejected = 0
        for i, _ in taken.refused:
            rejected += reports[i]
            reports[i] = 0
        late = sum([n for n in reports if n][: taken.late])
        return self.reports - late - rejected, late, rejected


def _options_and_values(runs: list[Run], common_tags: bytes) -> list[bytes]:
    cells = [*zip(*(run.shared for run in runs))]
    is_column = [len(set(column)) > 1 for column in cells]
    # The only one that is not an option of AGG.MSTAT.
    is_column[2] = is_column[2] or cells[2][0] != b""
    kind, hist, _, tags, at = (b"" if c else cell[0] for c, cell in zip(is_column, cells))
    tags = tags or common_tags
    words = [kind] if kind else []
    words += [b"HIST"] if hist == b"1" else []
    words += [b"TAGS", tags] if tags else []
    words += [b"AT", at] if at else []
    if not any(is_column):
        return [*words, b"VALUES", *chain.from_iterable(run.words for run in runs)]
    columns = [i for i, used in enumerate(is_column) if used]
    words += [b"COLUMNS", b"METRIC", b"VALUE", *(_OPTIONS[i] for i in columns), b"VALUES"]
    for run in runs:
        own = [run.shared[i] for i in columns]
        for i in range(0, len(run.words), 2):
            words += (run.words[i], run.words[i + 1], *own)
    return words


def encode_samples(
    node: bytes, samples: list[Queued], common_tags: bytes, resolution: int, offset: float
) -> tuple[list[SampleBatch], int, str]:
    """Encodes samples as AGG.MSTAT commands.

    ``common_tags`` are added to every sample, ``resolution`` is the step of gauge times in ms, and
    ``offset`` converts ticks to server time. Returns the batches, the number of unusable samples,
    and the reason for the last of these.

    >>> samples = [("hits", 1, "INC", False, 1, None, 100.1 + i / 10) for i in range(5)]
    >>> samples += [("load", 0.7, "ABS", False, 1, None, 100.089)]
    >>> samples += [("load", 0.7, "ABS", False, 1, None, "now")]
    >>> batches, unusable, why = agg.batching.encode_samples(b"n", samples, b"", 100, 1760000000.0)
    >>> for batch in batches:
    ...     print(batch.command)
    AGG.MSTAT n AT 1760000100000 COLUMNS METRIC VALUE TYPE TIMES VALUES hits 1 INC 5 load 0.7 '' ''
    >>> unusable, why
    (1, "ValueError: invalid literal for int() with base 10: 'now'")
    """
    encoder = _Encoder(common_tags, resolution, offset)
    batches = [SampleBatch(node, common_tags, runs) for runs in _commands(encoder.runs(samples))]
    return batches, encoder.unusable, encoder.why


def _commands(runs: Iterable[Run]) -> Iterator[list[Run]]:
    """Yields the runs of each command."""
    together: list[Run] = []
    size = 0
    for run in runs:
        if len(run) >= _SAMPLES_FOR_OWN_COMMAND or size + len(run) > _SAMPLES_PER_COMMAND:
            if together:
                yield together
            together, size = [], 0
        if len(run) >= _SAMPLES_FOR_OWN_COMMAND:
            for part in run.split(_SAMPLES_PER_COMMAND):
                yield [part]
        else:
            together.append(run)
            size += len(run)
    if together:
        yield together


class _Encoder:
    """Encodes the samples of one round."""

    def __init__(self, common_tags: bytes, resolution: int, offset: float) -> None:
        self.unusable = 0
        self.why = ""
        self._common_tags = common_tags
        self._steps = {"ABS": resolution, "ADD": resolution, "DIFF": 1, "INC": _INC_STEP_MS}
        self._offset = offset
        self._groups: dict[Shared, list[bytes]] = {}
        # By the arguments, because creating a `Shared` takes as long as encoding a sample.
        self._known: dict[object, tuple[Shared, list[bytes]]] = {}
        self._tag_cells: dict[object, bytes] = {}

    def runs(self, samples: list[Queued]) -> list[Run]:
        """Returns the samples in the order of sending."""
        adjusted = {each[0] for each in samples if each[2] == "ADD" and _is_text(each[0])}
        in_order: list[Run] = []
        # Consecutive samples mostly have the same options, and the same few names recur.
        last_ms, last_kind, last_times, last_hist, last_tags = -1, "", 0, False, None
        names: dict[Text, bytes] = {}
        steps, offset, number = self._steps, self._offset, arguments.number
        for metric, value, kind, hist, times, tags, at in samples:
            try:
                if at.__class__ is float:
                    ms = int((at + offset) * 1000)
                    ms -= ms % steps[kind]
                else:
                    ms = arguments.to_ms(at)  # type: ignore[arg-type]
                if (
                    ms != last_ms
                    or tags is not last_tags
                    or kind is not last_kind
                    or times is not last_times
                    or hist is not last_hist
                ):
                    shared, words = self._group(ms, kind, hist, times, tags)
                    last_ms, last_tags = ms, tags
                    last_kind, last_times, last_hist = kind, times, hist
                name = names.get(metric)
                if name is None:
                    name = names[metric] = arguments.text(metric)
                if adjusted and metric in adjusted:
                    in_order.append(Run(shared, [name, number(value)]))
                else:
                    words += (name, number(value))
            except Exception as error:
                self.unusable += 1
                self.why = describe(error)
        runs: list[Run] = []
        for shared, words in self._groups.items():
            if shared.kind == b"INC" and not shared.times:
                runs += _add_up(shared, words)
            elif words:
                runs.append(Run(shared, words))
        return runs + in_order

    def _group(
        self, ms: int, kind: Kind, hist: bool, times: int, tags: Optional[Tags]
    ) -> tuple[Shared, list[bytes]]:
        """Returns the options of a sample, and the words of all samples that have the same."""
        key = (ms, kind, hist, times, self._tag_cell(tags))
        group = self._known.get(key)
        if group is None:
            shared = Shared(
                _KINDS[kind],
                b"1" if hist else b"0",
                b"" if times == 1 else b"%d" % index(times),
                key[4],
                b"%d" % ms,
            )
            group = self._known[key] = shared, self._groups.setdefault(shared, [])
        return group

    def _tag_cell(self, tags: Optional[Tags]) -> bytes:
        """Returns the tags with those of the recorder; empty: these alone.

        Encoding a mapping takes 3 us, and programs pass equal ones again and again.
        """
        if tags is None:
            return b""
        try:
            # True equals 1, but is encoded differently.
            key = (*tags.items(), *map(type, tags.values())) if isinstance(tags, dict) else tags
            cell = self._tag_cells.get(key)
        except TypeError:
            return merge_tags(self._common_tags, tags) or b""
        if cell is None:
            cell = self._tag_cells[key] = merge_tags(self._common_tags, tags) or b""
        return cell


def _is_text(metric: object) -> bool:
    return isinstance(metric, (str, bytes))


def _add_up(shared: Shared, words: list[bytes]) -> list[Run]:
    """Adds up equal increments.

    Increments that have a TIMES are not added up: the sum could exceed its maximum.
    """
    by_times: dict[int, list[bytes]] = {}
    for sample, times in Counter(zip(words[::2], words[1::2])).items():
        by_times.setdefault(times, []).extend(sample)
    return [
        Run(shared if times == 1 else shared._replace(times=b"%d" % times), words, times)
        for times, words in by_times.items()
    ]


def merge_tags(common: bytes, own: Optional[Tags]) -> Optional[bytes]:
    """Appends a report's own tags to the common ones. The server keeps the last of equal names."""
    words = arguments.lenient_tags(own) if own is not None else b""
    return (common + b" " + words if common and words else common or words) or None


def describe(reason: object) -> str:
    """Returns a reason, usually an exception, as text. Never raises."""
    try:
        if isinstance(reason, BaseException):
            return f"{type(reason).__name__}: {reason}"
        return str(reason)
    except Exception:
        return type(reason).__name__
