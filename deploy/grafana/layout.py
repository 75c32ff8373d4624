"""What a dashboard is made of, and how Grafana wants that written down."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Final, NamedTuple

_SCHEMA_VERSION: Final = 41  # Grafana 12.0; later ones migrate it when they load it
_COLUMNS: Final = 24
_ROW_HEIGHT: Final = 1
# The uid of deploy/grafana/provisioning/datasources/prometheus.yml.
_SOURCE: Final = {"type": "prometheus", "uid": "prometheus"}


class Unit(StrEnum):
    """Grafana's names of the units in use."""

    COUNT = "short"
    PER_SECOND = "cps"
    REQUESTS_PER_SECOND = "reqps"
    RATIO = "percentunit"
    SECONDS = "s"
    DAYS = "d"


class Shape(Enum):
    """How a panel is drawn: one figure, lines, or areas on top of each other."""

    STAT = "stat"
    LINES = "lines"
    STACK = "stack"


class _Geometry(NamedTuple):
    panel_type: str
    width: int
    height: int


_GEOMETRY: Final = {
    Shape.STAT: _Geometry("stat", 4, 4),
    Shape.LINES: _Geometry("timeseries", 8, 8),
    Shape.STACK: _Geometry("timeseries", 8, 8),
}


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and what its series are called in the legend."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture. `description` says what to do when it looks wrong; from `alarm` on it is red."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: Unit = Unit.COUNT
    shape: Shape = Shape.LINES
    alarm: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a common heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A page; its file and its address are named after it."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]


def render(dashboard: Dashboard) -> dict[str, Any]:
    """Return the dashboard as Grafana's provisioning reads it."""
    return {
        "uid": f"quayside-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["quayside"],
        "schemaVersion": _SCHEMA_VERSION,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        # A cursor in one panel is shown in all: what happened at that time is the usual question.
        "graphTooltip": 1,
        "editable": False,
        "links": [{"type": "dashboards", "title": "Quayside", "tags": ["quayside"], "keepTime": True}],
        "annotations": {"list": []},
        "templating": {"list": []},
        "panels": [{"id": number, **panel} for number, panel in enumerate(_placed(dashboard.rows), start=1)],
    }


def _placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Set the panels of each row side by side; what does not fit, or is of another height, starts a new line."""
    top = 0
    for row in rows:
        yield {
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": _COLUMNS, "h": _ROW_HEIGHT},
        }
        top += _ROW_HEIGHT
        left = height = 0
        for panel in row.panels:
            geometry = _GEOMETRY[panel.shape]
            if left + geometry.width > _COLUMNS or height not in {0, geometry.height}:
                top, left = top + height, 0
            place = {"x": left, "y": top, "w": geometry.width, "h": geometry.height}
            yield {**_rendered(panel), "gridPos": place}
            left, height = left + geometry.width, geometry.height
        top += height


def _rendered(panel: Panel) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": _thresholds(panel.alarm)}
    if panel.shape is Shape.STAT:
        defaults["color"] = {"mode": "thresholds"}
    else:
        defaults |= {"color": {"mode": "palette-classic"}, "min": 0, "custom": _drawing(panel)}
    return {
        "type": _GEOMETRY[panel.shape].panel_type,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "expr": query.expression,
                "legendFormat": query.legend,
                "range": True,
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel.shape),
    }


def _thresholds(alarm: float | None) -> dict[str, Any]:
    steps: list[Mapping[str, Any]] = [{"color": "green", "value": None}]
    if alarm is not None:
        steps.append({"color": "red", "value": alarm})
    return {"mode": "absolute", "steps": steps}


def _drawing(panel: Panel) -> dict[str, Any]:
    return {
        "drawStyle": "line",
        "fillOpacity": 25 if panel.shape is Shape.STACK else 5,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.shape is Shape.STACK else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off" if panel.alarm is None else "dashed"},
    }


def _options(shape: Shape) -> dict[str, Any]:
    if shape is Shape.STAT:
        return {
            "colorMode": "value",
            "graphMode": "area",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
