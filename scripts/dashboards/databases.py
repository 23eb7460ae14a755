"""How databases are asked for the series of a panel, and for the values of the variables."""

from typing import Any

from grafana import variable
from model import Expression, Series


class InfluxQl:
    """InfluxDB 1.x, or a later one with InfluxQL: a measurement for each metric, its windows as fields."""

    type = "influxdb"

    def target(self, series: Series, is_latest: bool) -> dict[str, Any]:
        where = ['"node" =~ /^$node$/', "\"window\" = '$window'", "$timeFilter"]
        if series.where == "":
            where.insert(0, "\"instance\" = ''")
        elif series.where:
            where.insert(0, '"instance" =~ /^$instance$/')
        where_text = " AND ".join(where)
        metric = series.metric or "$metric"
        if is_latest:
            # The latest window of each series, and then one number of all of them.
            each = f'SELECT last("{series.field}") AS "value" FROM "{metric}" WHERE {where_text} GROUP BY "node", "instance"'
            query = f'SELECT {series.merge}("value") FROM ({each})'
        else:
            by = "".join(f', "{tag}"' for tag in series.by)
            # Windows longer than the interval leave gaps, which are not filled: lines connect their points.
            query = (
                f'SELECT {series.merge}("{series.field}"){series.factor} FROM "{metric}" '
                f"WHERE {where_text} GROUP BY time($__interval){by} fill(none)"
            )
        words = [f"$tag_{tag}" for tag in series.by] + ([series.name] if series.name else [])
        return {
            "query": query,
            "rawQuery": True,
            "resultFormat": "time_series",
            "alias": " ".join(words) or "$col",
        }

    def variables(self, uses_metric: bool) -> list[dict[str, Any]]:
        of = ' FROM "$metric"' if uses_metric else ""
        chosen = [variable("metric", "Metric", self.type, "SHOW MEASUREMENTS", is_multi=False)] if uses_metric else []
        return [
            *chosen,
            variable("window", "Window", self.type, f'SHOW TAG VALUES{of} WITH KEY = "window"', is_multi=False, sort=3),
            variable("node", "Node", self.type, f'SHOW TAG VALUES{of} WITH KEY = "node"'),
            variable("instance", "Instance", self.type, f'SHOW TAG VALUES{of} WITH KEY = "instance"'),
        ]


class PromQl:
    """Prometheus with one series for each field of a metric, under the names of crates/poller/src/prometheus_name.rs.

    A window has one sample, at its end. The range [$window] contains exactly one at any time, however long the window is;
    an instant selector would look back five minutes only.
    """

    type = "prometheus"

    def target(self, series: Series, is_latest: bool) -> dict[str, Any]:
        labels = ['node=~"$node"', 'window="$window"']
        if series.where == "":
            labels.insert(0, 'instance=""')
        elif series.where:
            labels.insert(0, 'instance=~"$instance"')
        family = series.family or "${metric}"
        selector = f"{family}_{series.field}{{{','.join(labels)}}}"
        # An extreme has to be found also if several windows share a point; then the interval is longer than the window.
        # Prometheus 2 includes the beginning of a range, so that an extreme is in the next point, too.
        is_extreme = series.merge in ("min", "max") and not is_latest
        each = (
            f"{series.merge}_over_time({selector}[$__interval])"
            if is_extreme
            else f"last_over_time({selector}[$window])"
        )
        each += series.factor
        merge = {"mean": "avg", "last": "max"}.get(series.merge, series.merge)
        by = f" by ({', '.join(series.by)})" if series.by else ""
        words = [f"{{{{{tag}}}}}" for tag in series.by] + ([series.name] if series.name else [])
        return {
            "expr": f"{merge}{by} ({each})",
            "legendFormat": " ".join(words),
            "editorMode": "code",
            "interval": "$window",
            "range": True,
            "instant": False,
        }

    def variables(self, uses_metric: bool) -> list[dict[str, Any]]:
        of = "${metric}_avg" if uses_metric else "uptime_seconds_avg"
        chosen = []
        if uses_metric:
            names = 'label_values({__name__=~".+_avg",window!=""}, __name__)'
            chosen = [variable("metric", "Metric", self.type, names, is_multi=False, regex="/^(.*)_avg$/")]
        instances = of if uses_metric else '{__name__=~"(cpu|disk|net)_.+_avg",window="$window"}'
        return [
            *chosen,
            variable("window", "Window", self.type, f"label_values({of}, window)", is_multi=False, sort=3),
            variable("node", "Node", self.type, f"label_values({of}, node)"),
            variable("instance", "Instance", self.type, f"label_values({instances}, instance)"),
        ]


class OwnMetrics:
    """Prometheus, which scrapes the programs. INSTANCE in an expression is the chosen programs."""

    type = "prometheus"

    def target(self, expression: Expression, is_latest: bool) -> dict[str, Any]:
        return {
            "expr": expression.promql.replace("INSTANCE", 'instance=~"$instance"'),
            "legendFormat": expression.legend,
            "editorMode": "code",
            "range": not is_latest,
            "instant": is_latest,
        }

    def variables(self, uses_metric: bool) -> list[dict[str, Any]]:
        programs = 'label_values({__name__=~"agg_(poller|listener)_.+"}, instance)'
        return [variable("instance", "Program", self.type, programs)]


Database = InfluxQl | PromQl | OwnMetrics
