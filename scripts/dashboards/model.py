"""What a dashboard shows, without how a database is asked for it."""

from typing import NamedTuple


class Series(NamedTuple):
    """Lines of a panel: a field of the windows of a metric, one line for each combination of the tags `by`.

    `metric` is empty for the metric that the reader chooses. `family` is the name in Prometheus without the suffix of the
    field. `where` limits the instance: "" for the metric without an instance, None for all, else a variable.
    """

    metric: str
    family: str
    field: str = "avg"
    by: tuple[str, ...] = ("node",)
    name: str = ""
    where: str | None = None
    # How lines are merged that differ in other tags, and windows that share a pixel.
    merge: str = "mean"
    factor: str = ""


class Expression(NamedTuple):
    """Lines of a panel as PromQL, for metrics of the programs themselves, and the legend."""

    promql: str
    legend: str = ""


class Panel(NamedTuple):
    """A panel; a title without series is a row."""

    title: str
    about: str = ""
    unit: str = "short"
    series: tuple[Series | Expression, ...] = ()
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    max: float | None = None
