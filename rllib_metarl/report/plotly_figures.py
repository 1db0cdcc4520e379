"""Draws charts with Plotly, as figures that follow the page's colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from rllib_metarl.report.charts import NEUTRAL, Chart, Line, numbers

# Told apart on white and on near-black, and by those who do not see red and green apart.
COLOURS = (
    "#3b82d6",
    "#e07b00",
    "#2a9d6f",
    "#b565c9",
    "#d1495b",
    "#1aa3b8",
    "#a0764a",
    "#8a9a1f",
    "#e377a8",
    "#6f7fd8",
    "#c9a400",
)
GREY = "#8a8a8a"
DASHES = ("solid", "dash", "dot", "dashdot")
HEIGHT = 340
LEGEND_ROW = 20  # pixels; on a phone each name has a row of its own


def colour(number: int) -> str:
    """The colour of a group; grey for what belongs to none."""
    return GREY if number == NEUTRAL else COLOURS[number % len(COLOURS)]


def dash(number: int) -> str:
    """More groups than colours are distinguished by their dashes."""
    return "solid" if number == NEUTRAL else DASHES[number // len(COLOURS) % len(DASHES)]


def figure(chart: Chart) -> go.Figure:
    """The chart as a Plotly figure with title, labelled axes and a legend below."""
    made = go.Figure()
    seen: set[str] = set()
    for line in chart.lines:
        for trace in traces(line, line.name not in seen):
            made.add_trace(trace)
        seen.add(line.name)
    for level in chart.levels:
        _add_level(made, chart, level.name, level.value)
    made.update_layout(**layout(chart.title, HEIGHT + LEGEND_ROW * len(seen)))
    made.update_xaxes(**axis(chart.x_label, chart.x_range))
    made.update_yaxes(**axis(chart.y_label, chart.limits()))
    if chart.x_labels:
        _name_places(made, chart.x_labels, len(seen))
    return made


def _name_places(made: go.Figure, names: tuple[str, ...], legend: int) -> None:
    """Words below the axis, upright where they are long; they need the room, the legend goes up."""
    longest = max(map(len, names))
    upright = longest > 12
    top = 44 + LEGEND_ROW * ((legend + 1) // 2)
    made.update_xaxes(tickmode="array", tickvals=list(range(len(names))), ticktext=names)
    made.update_xaxes(tickangle=-90 if upright else 0)
    made.update_layout(legend={"y": 1.0, "yanchor": "bottom"}, margin={"t": top})
    made.update_layout(height=HEIGHT + top + (6 * longest if upright else 0))


def layout(title: str, height: int = HEIGHT) -> dict[str, Any]:
    """What all figures share; the page's script sets the colours that depend on its scheme."""
    return {
        "template": "none",
        "title": {
            "text": title,
            "font": {"size": 15},
            "x": 0.0,
            "xanchor": "left",
            "xref": "paper",
        },
        "height": height,
        "margin": {"l": 64, "r": 12, "t": 44, "b": 52},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"size": 12, "family": "system-ui, sans-serif"},
        "legend": {"orientation": "h", "y": -0.22, "yanchor": "top", "x": 0.0},
        "hovermode": "closest",
        "barmode": "group",
    }


def axis(label: str, limits: tuple[float, float] | None = None) -> dict[str, Any]:
    """One axis: its label, its limits where they are fixed, a thin grid."""
    return {
        "title": {"text": label, "standoff": 8, "font": {"size": 12}},
        "range": list(limits) if limits else None,
        "automargin": True,
        "zeroline": False,
        "showline": True,
        "ticks": "outside",
    }


def traces(line: Line, legend: bool) -> list[go.Scatter | go.Bar]:
    """A line with its band, or bars with whiskers."""
    if line.style == "bars":
        return [_bars(line, legend)]
    made = [_band(line)] if line.low is not None and line.high is not None else []
    return [*made, _scatter(line, legend)]


def _scatter(line: Line, legend: bool) -> go.Scatter:
    modes = {"markers": "markers", "steps": "lines"}
    plain = "lines+markers" if line.markers else "lines"
    dashes = {"dashed": "dash", "dotted": "dot"}
    return go.Scatter(
        x=_places(line.x),
        y=numbers(line.y),
        name=line.name,
        legendgroup=line.name,
        showlegend=legend,
        mode=modes.get(line.style, plain),
        line={
            "color": colour(line.colour),
            "width": 2,
            "dash": dashes.get(line.style, dash(line.colour)),
            "shape": "hv" if line.style == "steps" else "linear",
        },
        marker={"size": 9 if line.style == "markers" else 5, "color": colour(line.colour)},
    )


def _band(line: Line) -> go.Scatter:
    """The band as one closed outline, so that it needs no helper line."""
    assert line.low is not None and line.high is not None
    known = np.isfinite(np.asarray(line.low, float)) & np.isfinite(np.asarray(line.high, float))
    x = np.asarray(_places(line.x))[known]
    low, high = np.asarray(line.low, float)[known], np.asarray(line.high, float)[known]
    return go.Scatter(
        x=[*x.tolist(), *x[::-1].tolist()],
        y=[*numbers(high), *numbers(low[::-1])],
        legendgroup=line.name,
        showlegend=False,
        hoverinfo="skip",
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=colour(line.colour),
        opacity=0.18,
    )


def _bars(line: Line, legend: bool) -> go.Bar:
    whiskers = None
    if line.low is not None and line.high is not None:
        y = np.asarray(line.y)
        whiskers = {
            "type": "data",
            "symmetric": False,
            "array": numbers(np.asarray(line.high) - y),
            "arrayminus": numbers(y - np.asarray(line.low)),
        }
    return go.Bar(
        x=_places(line.x),
        y=numbers(line.y),
        name=line.name,
        legendgroup=line.name,
        showlegend=legend,
        marker={"color": colour(line.colour)},
        error_y=whiskers,
    )


def _add_level(made: go.Figure, chart: Chart, name: str, value: float) -> None:
    """A reference as a dashed line across, named at its right end."""
    places = [place for line in chart.lines for place in _places(line.x)]
    made.add_trace(
        go.Scatter(
            x=[min(places), max(places)],
            y=[float(f"{value:.6g}")] * 2,
            name=name,
            mode="lines+text",
            text=["", name],
            textposition="top left",
            textfont={"color": GREY, "size": 11},
            line={"color": GREY, "width": 1, "dash": "dash"},
            showlegend=False,
            hoverinfo="name+y",
        )
    )


def _places(values: Any) -> list[Any]:
    return [v if isinstance(v, (int, str)) else float(f"{v:.8g}") for v in values]
