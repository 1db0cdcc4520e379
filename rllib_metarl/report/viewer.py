"""The meta-episode viewer: a few figures and what each of them shows at every step.

The page's script only copies a step's values into the figures: what is shown is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from rllib_metarl.report.charts import Chart, numbers
from rllib_metarl.report.groups import Group, Task
from rllib_metarl.report.plotly_figures import GREY, axis, colour, layout, traces
from rllib_metarl.report.recorded import Recorded, meta_episodes
from rllib_metarl.report.timeline import AGENT, TRUE, switches, timeline

MOST_EPISODES = 12
TRAIL = 6
MOST_DRAWN = 64
"""Cells of a side of the largest grid that is drawn as a map."""
Changes = list[dict[str, Any]]
"""What of each trace of a figure is replaced, in the order of the traces."""


@dataclass(frozen=True)
class View:
    """One figure of the viewer.

    figures: one for each meta-episode, or one for all of them, as they are at step 0. scenes: for
    each meta-episode and step what is replaced in the figure's first traces to show that step.
    """

    key: str
    figures: list[go.Figure]
    scenes: list[list[Changes]]


@dataclass(frozen=True)
class Viewer:
    """All that the page needs to step through meta-episodes of one task.

    labels: one for each meta-episode. texts: for each meta-episode and step what there is to see,
    in words. switches: for each meta-episode the steps at which the context changed.
    """

    labels: list[str]
    texts: list[list[str]]
    switches: list[list[int]]
    views: list[View]


def make_viewer(task: Task) -> Viewer | None:
    """The viewer of a task's recorded meta-episodes; None where no evaluation has any."""
    chosen = _choose(task)
    if not chosen:
        return None
    episodes = [episode for _, episode in chosen]
    makers = (_grid_view, _goals_view, _classes_view, _latent_view, _timeline_view)
    views = [view for view in (make(episodes) for make in makers) if view is not None]
    return Viewer(
        [label for label, _ in chosen],
        [[describe(episode, t) for t in range(episode.steps + 1)] for episode in episodes],
        [switches(episode) for episode in episodes],
        views,
    )


def _choose(task: Task) -> list[tuple[str, Recorded]]:
    """Some meta-episodes of each group's first evaluated run, fewer the more groups there are."""
    having = [group for group in task.groups if _episodes(group)]
    each = max(1, MOST_EPISODES // max(1, len(having)))
    chosen = []
    for group in having[:MOST_EPISODES]:
        seed, episodes = _episodes(group)[0]
        for number, episode in enumerate(episodes[:each], 1):
            named = f"{group.label}, seed {seed}" if seed is not None else group.label
            chosen.append((f"{named}: meta-episode {number}, return {episode.total:.1f}", episode))
    return chosen


def _episodes(group: Group) -> list[tuple[int | None, list[Recorded]]]:
    found = [(run.seed, meta_episodes(run.evaluation or {})) for run in group.evaluated]
    return [(seed, episodes) for seed, episodes in found if episodes]


# --- in words -----------------------------------------------------------------------------------


def describe(episode: Recorded, t: int) -> str:
    """What there is to see at step `t`, in words."""
    parts = [f"Step {t} of {episode.steps}"]
    if t:
        parts.append(f"reward of the last step {episode.rewards[t - 1]:.2f}")
    if episode.frame.kind == "grid":
        row, column = episode.frame.position[t]
        parts.append(f"agent in row {row}, column {column}")
    if episode.context is not None:
        parts.append(f"true context {_true(episode, t)}")
    if episode.session is not None:
        parts.append(f"session {episode.session[t]}")
    parts += _beliefs(episode, t)
    if episode.termination is not None and episode.termination[t] is not None:
        parts.append(f"the agent predicts a switch with probability {episode.termination[t]:.2f}")
    if episode.switched and episode.switched[t]:
        parts.append("the context has just been redrawn")
    return "; ".join(parts) + "."


def _true(episode: Recorded, t: int) -> str:
    true = episode.true_class
    if true is not None and episode.class_names:
        return episode.class_names[true[t]]
    return ", ".join(f"{value:.3g}" for value in (episode.context or [])[t])


def _beliefs(episode: Recorded, t: int) -> list[str]:
    words = []
    for who, rows in (("agent", episode.decoded), ("exact filter", episode.exact)):
        if rows is not None:
            best = max(range(len(rows[t])), key=lambda k: rows[t][k])
            words.append(
                f"the {who} holds {episode.class_names[best]} most likely, {rows[t][best]:.2f}"
            )
    return words


# --- the grid -----------------------------------------------------------------------------------


def _grid_view(episodes: Sequence[Recorded]) -> View | None:
    if any(episode.frame.kind != "grid" for episode in episodes):
        return None
    figure = go.Figure(_grid_traces())
    figure.update_layout(**layout("Grid: the agent and its goals", 400))
    size = max(episode.frame.size for episode in episodes)
    figure.update_xaxes(**_cells("column (cells)", size))
    figure.update_yaxes(**_cells("row (cells)", size, down=True))
    figure.update_yaxes(scaleanchor="x")
    figure.update_xaxes(constrain="domain")
    scenes = [[_grid_scene(e, t) for t in range(e.steps + 1)] for e in episodes]
    return View("grid", [_at_start(figure, scenes[0][0])], scenes)


def _grid_traces() -> list[go.Scatter]:
    def marker(name: str, symbol: str, size: int, hue: str) -> go.Scatter:
        look = {"symbol": symbol, "size": size, "color": hue, "line": {"width": 3, "color": hue}}
        return go.Scatter(name=name, mode="markers", marker=look)

    return [
        marker("goal that pays", "square", 34, colour(TRUE)),
        marker("goal that does not", "square-open", 34, GREY),
        go.Scatter(
            name=f"last {TRAIL} steps", mode="lines", line={"color": colour(AGENT), "width": 3}
        ),
        marker("agent", "circle", 18, colour(AGENT)),
    ]


def _grid_scene(episode: Recorded, t: int) -> Changes:
    paying = _paying(episode, t)
    goals = episode.frame.goals
    trail = episode.frame.position[max(0, t - TRAIL) : t + 1]
    return [
        _spots([goal for k, goal in enumerate(goals) if k == paying]),
        _spots([goal for k, goal in enumerate(goals) if k != paying]),
        _spots(trail),
        _spots(trail[-1:]),
    ]


def _paying(episode: Recorded, t: int) -> int:
    """The index of the goal that pays: the context, unless there is only one."""
    return int(episode.context[t][0]) if episode.context and len(episode.frame.goals) > 1 else 0


def _spots(cells: Sequence[tuple[int, int]]) -> dict[str, Any]:
    return {"x": [column for _, column in cells], "y": [row for row, _ in cells]}


def _cells(label: str, size: int, down: bool = False) -> dict[str, Any]:
    limits = (size - 0.5, -0.5) if down else (-0.5, size - 0.5)
    return axis(label, limits) | {"dtick": 1, "tick0": 0}


# --- what is believed of the goals --------------------------------------------------------------


def _goals_view(episodes: Sequence[Recorded]) -> View | None:
    """Probabilities of the goals on the grid, the agent's beside the exact filter's."""
    if not any(_on_grid(episode) for episode in episodes):
        return None
    beliefs = _who(episodes)
    figure = _heat_maps(beliefs, "Where the paying goal is believed to be")
    size = max(episode.frame.size for episode in episodes)
    figure.update_xaxes(**_cells("column (cells)", size))
    figure.update_yaxes(**_cells("row (cells)", size, down=True))
    figure.update_yaxes(constrain="domain", constraintoward="top")
    for number in range(len(beliefs)):
        name = "x" if not number else f"x{number + 1}"
        figure.update_yaxes(scaleanchor=name, col=number + 1)
        figure.update_xaxes(constrain="domain", col=number + 1)
    scenes = [
        [[_goal_map(e, _at(e, who, t)) for who in beliefs.values()] for t in range(e.steps + 1)]
        for e in episodes
    ]
    return View("goals", [_at_start(figure, scenes[0][0])], scenes)


def _on_grid(episode: Recorded) -> bool:
    """Whether each class is a cell: one of the goals, or any of the grid."""
    if episode.frame.size > MOST_DRAWN:
        return False
    cells = (len(episode.frame.goals), episode.frame.size**2)
    decoded = episode.decoded or episode.exact
    return episode.frame.kind == "grid" and decoded is not None and len(decoded[0]) in cells


def _goal_map(episode: Recorded, probabilities: Sequence[float]) -> dict[str, Any]:
    size, goals = episode.frame.size, episode.frame.goals
    z: list[list[float | None]] = [[None] * size for _ in range(size)]
    cells = list(goals)
    if len(probabilities) > len(goals):
        cells = [divmod(k, size) for k in range(size**2)]
    for (row, column), value in zip(cells, numbers(probabilities), strict=False):
        z[row][column] = value
    return {"z": z, "text": _written(z, len(cells) == len(goals))}


def _written(z: list[list[float | None]], shown: bool) -> list[list[str]]:
    """The numbers in the cells of a heat map, where there is room for them."""
    return [[f"{v:.2f}" if shown and v is not None else "" for v in row] for row in z]


def _classes_view(episodes: Sequence[Recorded]) -> View | None:
    """Probabilities of the classes as one column each for agent and exact filter."""
    beliefs = _who(episodes)
    if not beliefs or any(_on_grid(episode) for episode in episodes):
        return None
    figure = _heat_maps({"": ""}, "What is believed of the context")
    figure.update_xaxes(**axis("who believes (name)"))
    figure.update_yaxes(**axis("context (name)"))

    def column(episode: Recorded, t: int) -> dict[str, Any]:
        names = episode.class_names or first
        rows = [_at(episode, who, t) or [np.nan] * len(names) for who in beliefs.values()]
        z = [numbers(values) for values in zip(*rows, strict=True)]
        return {"z": z, "x": list(beliefs), "y": names, "text": _written(z, len(names) <= 12)}

    first = next(e.class_names for e in episodes if e.decoded or e.exact)
    scenes = [[[column(e, t)] for t in range(e.steps + 1)] for e in episodes]
    return View("classes", [_at_start(figure, scenes[0][0])], scenes)


def _who(episodes: Sequence[Recorded]) -> dict[str, str]:
    """Whose probabilities the meta-episodes have: how they are called -> attribute."""
    known = {"agent's belief": "decoded", "exact filter": "exact"}
    return {name: key for name, key in known.items() if any(getattr(e, key) for e in episodes)}


def _at(episode: Recorded, who: str, t: int) -> list[float]:
    """Probabilities at step `t`; none where this agent's context is not decoded."""
    rows = getattr(episode, who)
    return rows[t] if rows else []


def _heat_maps(beliefs: dict[str, str], title: str) -> go.Figure:
    """Heat maps side by side that share one scale of probabilities."""
    figure = make_subplots(1, len(beliefs), subplot_titles=list(beliefs), horizontal_spacing=0.14)
    for number, name in enumerate(beliefs, 1):
        heat = go.Heatmap(name=name, coloraxis="coloraxis", texttemplate="%{text}", xgap=1, ygap=1)
        figure.add_trace(heat, row=1, col=number)
    figure.update_layout(**layout(title, 400))
    bar: dict[str, Any] = {"title": {"text": "probability (1)", "side": "top"}, "thickness": 12}
    bar |= {"orientation": "h", "y": -0.2, "yanchor": "top", "len": 0.8}
    figure.update_layout(coloraxis={"cmin": 0, "cmax": 1, "colorscale": "Cividis", "colorbar": bar})
    figure.update_layout(margin={"t": 76})
    return figure


# --- the posterior ------------------------------------------------------------------------------


def _latent_view(episodes: Sequence[Recorded]) -> View | None:
    if not any(e.belief_mean and e.belief_mean[0] for e in episodes):
        return None
    look = {"size": 9, "color": colour(AGENT)}
    figure = go.Figure(go.Scatter(name="posterior", mode="markers", marker=look, showlegend=False))
    figure.update_layout(**layout("Belief: mean ± standard deviation", 400))
    figure.update_xaxes(dtick=1, **axis("dimension of the latent (number)"))
    figure.update_yaxes(**axis("posterior mean ± std (1)", _latent_range(episodes)))
    scenes = [[[_posterior(e, t)] for t in range(e.steps + 1)] for e in episodes]
    return View("latent", [_at_start(figure, scenes[0][0])], scenes)


def _posterior(episode: Recorded, t: int) -> dict[str, Any]:
    mean = episode.belief_mean[t] if episode.belief_mean else []
    change: dict[str, Any] = {"x": list(range(1, len(mean) + 1)), "y": numbers(mean)}
    if episode.belief_std is not None:
        spread = numbers(episode.belief_std[t])
        change["error_y"] = {
            "type": "data",
            "array": spread,
            "color": colour(AGENT),
            "thickness": 2,
        }
    return change


def _latent_range(episodes: Sequence[Recorded]) -> tuple[float, float]:
    """One scale for all steps, so that what moves on the screen is the belief."""
    ends: list[float] = []
    for e in episodes:
        for t, mean in enumerate(e.belief_mean or []):
            spread = e.belief_std[t] if e.belief_std else [0.0] * len(mean)
            ends += [m - s for m, s in zip(mean, spread, strict=True)]
            ends += [m + s for m, s in zip(mean, spread, strict=True)]
    margin = 0.05 * (max(ends) - min(ends)) + 1e-6
    return min(ends) - margin, max(ends) + margin


# --- along the steps ----------------------------------------------------------------------------


def _timeline_view(episodes: Sequence[Recorded]) -> View:
    """Belief, switches and reward over the steps, with a cursor at the step that is shown."""
    figures = [_stacked(timeline(episode), episode.steps) for episode in episodes]
    rows = len(timeline(episodes[0]))
    scenes = [[[{"x": [t, t]}] * rows for t in range(e.steps + 1)] for e in episodes]
    return View("timeline", figures, scenes)


def _stacked(charts: Sequence[Chart], steps: int) -> go.Figure:
    """Charts one above the other on one axis of time; the first traces are the cursors."""
    figure = make_subplots(len(charts), 1, shared_xaxes=True, vertical_spacing=0.06)
    for row, chart in enumerate(charts, 1):
        figure.add_trace(_cursor(chart), row=row, col=1)
    for row, chart in enumerate(charts, 1):
        for line in chart.lines:
            for trace in traces(line, True):
                figure.add_trace(trace, row=row, col=1)
    figure.update_layout(**layout("The meta-episode, step by step", 700))
    figure.update_layout(legend={"y": -0.12})
    for row, chart in enumerate(charts, 1):
        figure.update_yaxes(row=row, col=1, **axis(chart.y_label, chart.y_range))
        label = chart.x_label if row == len(charts) else ""  # the rows share one axis of time
        figure.update_xaxes(row=row, col=1, **axis(label, (-0.5, steps + 0.5)))
    return figure


def _cursor(chart: Chart) -> go.Scatter:
    look = {"color": colour(4), "width": 2}
    return go.Scatter(
        name="step shown",
        mode="lines",
        line=look,
        showlegend=False,
        hoverinfo="skip",
        x=[0, 0],
        y=list(_ends(chart)),
    )


def _ends(chart: Chart) -> tuple[float, float]:
    """The height of the cursor in a row."""
    if chart.y_range:
        return chart.y_range
    series = [part for line in chart.lines for part in (line.y, line.low, line.high) if part]
    values = [value for part in series for value in part]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _at_start(figure: go.Figure, scene: Changes) -> go.Figure:
    """The figure as it is before anybody moves the slider."""
    for trace, change in zip(figure.data, scene, strict=False):
        trace.update(change)
    return figure
