"""Parts of Grafana's format that do not depend on what is shown."""

from typing import Any


def source(kind: str) -> dict[str, str]:
    return {"type": kind, "uid": "${datasource}"}


def variable(
    name: str,
    label: str,
    kind: str,
    query: str,
    is_multi: bool = True,
    sort: int = 1,
    regex: str = "",
) -> dict[str, Any]:
    """Returns a variable with the values that a query returns."""
    found: dict[str, Any] = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": source(kind),
        "query": {"query": query, "refId": "StandardVariableQuery"} if kind == "prometheus" else query,
        "definition": query,
        "refresh": 2,
        "sort": sort,
        "hide": 0,
        "regex": regex,
        "skipUrlSync": False,
        "options": [],
        "multi": is_multi,
        "includeAll": is_multi,
        "current": {},
    }
    if is_multi:
        # Also matches what has no instance.
        found["allValue"] = ".*"
        found["current"] = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return found
