"""Panels and dashboards in Grafana's format."""

from typing import Any

from databases import Database
from grafana import source
from model import Panel


def panel(number: int, given: Panel, x: int, y: int, database: Database) -> dict[str, Any]:
    found: dict[str, Any] = {"id": number, "title": given.title}
    if not given.series:
        place = {"x": 0, "y": y, "w": 24, "h": 1}
        return found | {"type": "row", "collapsed": False, "gridPos": place, "panels": []}
    defaults: dict[str, Any] = {"unit": given.unit}
    if given.kind == "stat":
        options: dict[str, Any] = {
            "colorMode": "value",
            "graphMode": "area",
            "justifyMode": "auto",
            "textMode": "auto",
            "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    else:
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 10,
            "showPoints": "auto",
            # InfluxDB has a point only at the start of a window.
            "spanNulls": True,
            "stacking": {"mode": "none", "group": "A"},
        }
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if given.max is not None:
        defaults |= {"min": 0, "max": given.max}
    targets = [
        {"refId": "ABCDEF"[index], "datasource": source(database.type)} | database.target(series, given.kind == "stat")
        for index, series in enumerate(given.series)
    ]
    return found | {
        "type": given.kind,
        "description": given.about,
        "datasource": source(database.type),
        "gridPos": {"x": x, "y": y, "w": given.width, "h": given.height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": targets,
    }


def layout(panels: list[Panel], database: Database) -> list[dict[str, Any]]:
    """Places panels from left to right, in rows of 24 columns."""
    found, x, y, height = [], 0, 0, 0
    for number, given in enumerate(panels, 1):
        width = given.width if given.series else 24
        if x + width > 24 or not given.series:
            x, y, height = 0, y + height, 0
        found.append(panel(number, given, x, y, database))
        x, height = x + width, max(height, given.height if given.series else 1)
    return found


def dashboard(
    name: str, title: str, about: str, panels: list[Panel], database: Database, uses_metric: bool
) -> dict[str, Any]:
    data_source = {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": database.type,
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "skipUrlSync": False,
        "options": [],
        "current": {},
    }
    return {
        "title": title,
        "uid": f"aggregator-{name}",
        "description": about,
        "tags": ["aggregator", database.type],
        "schemaVersion": 38,
        "version": 1,
        "id": None,
        "editable": True,
        "graphTooltip": 1,
        "fiscalYearStartMonth": 0,
        "weekStart": "",
        "liveNow": False,
        "timezone": "",
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "links": [],
        "annotations": {"list": []},
        "templating": {"list": [data_source, *database.variables(uses_metric)]},
        "panels": layout(panels, database),
    }
