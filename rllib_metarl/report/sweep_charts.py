"""A sweep's figures: parallel coordinates, importance, curves, and the metric over each key."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import plotly.graph_objects as go

from rllib_metarl.report.charts import NEUTRAL, STEPS, Chart, Line, numbers
from rllib_metarl.report.plotly_figures import axis, layout
from rllib_metarl.report.sweep_data import FAILED, SearchedKey, SweepData, TrialData
from rllib_metarl.report.sweep_importance import Importance

BEST_COLOUR = 1
MAX_SLICES = 12
# From the worst to the best; both ends can be seen on white and on near-black.
SCALE = ("#6f6fb5", "#3b82d6", "#1aa3b8", "#2a9d6f", "#c9a400", "#e07b00")
HEIGHT = 440


def metric_label(sweep: SweepData) -> str:
    """The metric's name with its unit in parentheses, as the axes of all figures have it."""
    from rllib_metarl.report.metric_table import METRICS

    unit = next((m.unit for m in METRICS if sweep.metric in m.paths), "value")
    return f"{sweep.metric} ({unit})"


def parallel_coordinates(sweep: SweepData) -> go.Figure:
    """One line a trial across one axis a searched key, and the metric as the last axis.

    Drawn as plain lines: Plotly's own parallel coordinates need WebGL, which not every reader has.
    """
    keys = sweep.keys
    trials = [trial for trial in sweep.trials if trial.value is not None]
    values = np.array([trial.value for trial in trials], dtype=float)
    low, high = float(values.min()), float(values.max())
    best = {trial.trial_id for trial in (sweep.best.trials if sweep.best else ())}
    order = np.argsort(values if sweep.maximises else -values)
    made = go.Figure()
    for index in order:  # the best last, on top of the others
        trial, share = trials[index], (values[index] - low) / ((high - low) or 1.0)
        places = [key.place(trial.values.get(key.name)) for key in keys] + [share]
        made.add_trace(
            go.Scatter(
                x=list(range(len(keys) + 1)),
                y=numbers([np.nan if place is None else place for place in places]),
                mode="lines+markers",
                line={
                    "color": _colour(share if sweep.maximises else 1 - share),
                    "width": 4 if trial.trial_id in best else 1.5,
                },
                marker={"size": 8 if trial.trial_id in best else 5},
                opacity=1.0 if trial.trial_id in best else 0.75,
                name=f"trial {trial.number}",
                hoverinfo="text",
                text=[_hover_text(sweep, trial)] * (len(keys) + 1),
                showlegend=False,
            )
        )
    made.update_layout(**layout("Searched values and what came of them", HEIGHT))
    made.update_layout(margin={"l": 64, "r": 40, "t": 64, "b": 60})
    _axes(made, keys, sweep, low, high)
    return made


def _axes(
    made: go.Figure, keys: list[SearchedKey], sweep: SweepData, low: float, high: float
) -> None:
    """The vertical axes: each with its name below, and its ends and listed values beside it."""
    names = [key.name for key in keys] + [str(sweep.metric)]
    made.update_xaxes(**axis("searched key, the metric last (as in the file)", None))
    made.update_yaxes(**axis("place in the range (0 to 1)", (-0.06, 1.1)))
    made.update_xaxes(
        tickmode="array",
        tickvals=list(range(len(names))),
        ticktext=[_wrapped(name) for name in names],
        range=[-0.3, len(names) - 0.55],
        showgrid=True,
    )
    made.update_yaxes(showticklabels=False, ticks="", showgrid=False)
    labels = [_places(key) for key in keys] + [[(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")]]
    for number, places in enumerate(labels):
        for height, text in places:
            made.add_annotation(
                x=number, y=height, text=text, showarrow=False, xanchor="left", xshift=7,
                yshift=-9 if height < 0.5 else 9, font={"size": 11},
            )  # fmt: skip


def _places(key: SearchedKey) -> list[tuple[float, str]]:
    if key.listed is None:
        return [(0.0, f"{key.low:.4g}"), (1.0, f"{key.high:.4g}")]
    shown = key.listed if len(key.listed) <= 8 else [key.listed[0], key.listed[-1]]
    return [(key.place(value) or 0.0, _short(value)) for value in shown]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    text = text.rpartition("/")[2]
    return text if len(text) <= 14 else text[:13] + "…"


def _wrapped(name: str) -> str:
    return name.replace("/", "/<br>") if len(name) > 12 else name


def _hover_text(sweep: SweepData, trial: TrialData) -> str:
    parts = [f"trial {trial.number}, {trial.status}", f"{sweep.metric} {trial.value:.5g}"]
    parts.append(f"{trial.env_steps:,} env steps")
    for name, value in trial.values.items():
        parts.append(f"{name} {value:.5g}" if isinstance(value, float) else f"{name} {value}")
    return "<br>".join(parts)


def _colour(share: float) -> str:
    """A colour between those of the scale, `share` from 0 (worst) to 1 (best)."""
    place = min(max(share, 0.0), 1.0) * (len(SCALE) - 1)
    index = min(int(place), len(SCALE) - 2)
    ends = [[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in SCALE[index : index + 2]]
    mixed = [round(a + (b - a) * (place - index)) for a, b in zip(*ends, strict=True)]
    return "rgb({}, {}, {})".format(*mixed)


def curves_chart(sweep: SweepData) -> Chart:
    """The metric of every trial while it trained; those of the best configuration stand out."""
    best = {trial.trial_id for trial in (sweep.best.trials if sweep.best else ())}
    lines = []
    trials = [t for t in sweep.trials if len(t.curve.values) and t.status != FAILED]
    for trial in sorted(trials, key=lambda t: t.trial_id in best):
        chosen = trial.trial_id in best
        lines.append(
            Line(
                "the best configuration" if chosen else "the others",
                trial.curve.steps.tolist(),
                trial.curve.values.tolist(),
                colour=BEST_COLOUR if chosen else NEUTRAL,
                markers=True,
            )
        )
    return Chart(
        "curves",
        "The metric while trials trained",
        STEPS,
        metric_label(sweep),
        tuple(lines),
        caption="A line that ends early is of a trial that the scheduler stopped, that failed, or "
        "that still runs. Where trials take over each other's weights, a line goes on at the "
        "number of steps those weights were trained for.",
    )


def importance_chart(found: list[Importance]) -> Chart:
    """Each key's share."""
    low = [max(0.0, one.share - one.spread) for one in found]
    return Chart(
        "importance",
        "How much each searched value matters",
        "searched key (as in the file)",
        "share of the forest's drop (1)",
        (
            Line(
                "permutation importance, ± one standard deviation over 30 shuffles",
                list(range(len(found))),
                [one.share for one in found],
                low,
                [one.share + one.spread for one in found],
                colour=0,
                style="bars",
            ),
        ),
        caption="A random forest (300 trees) predicts the metric from the searched values; a key's "
        "share is what shuffling its values costs that prediction, of all such costs. It is "
        "measured on the configurations the forest was fitted to, and says nothing of values "
        "outside the ranges.",
        x_labels=tuple(one.name for one in found),
    )


def slice_charts(sweep: SweepData) -> list[Chart]:
    """The metric over each searched key, one point a trial."""
    trials = [trial for trial in sweep.trials if trial.value is not None]
    best = {trial.trial_id for trial in (sweep.best.trials if sweep.best else ())}
    charts = []
    for number, key in enumerate(sweep.keys[:MAX_SLICES]):
        lines = []
        for name, chosen in (("the others", False), ("the best configuration", True)):
            members = [t for t in trials if (t.trial_id in best) == chosen]
            x = [_coordinate(key, trial.values.get(key.name)) for trial in members]
            points = [(a, t.value) for a, t in zip(x, members, strict=True) if a is not None]
            if points:
                lines.append(
                    Line(
                        name,
                        [a for a, _ in points],
                        [float(b) for _, b in points if b is not None],
                        colour=BEST_COLOUR if chosen else 0,
                        style="markers",
                    )
                )
        if lines:
            charts.append(_slice(sweep, key, number, tuple(lines)))
    return charts


def _slice(sweep: SweepData, key: SearchedKey, number: int, lines: tuple[Line, ...]) -> Chart:
    scale = "decimal logarithm" if key.logarithmic else "1"
    return Chart(
        f"slice-{number}",
        f"The metric over {key.name}",
        f"{key.name} ({'as listed' if key.listed is not None else scale})",
        metric_label(sweep),
        lines,
        x_labels=tuple(_short(value) for value in key.listed or ()),
    )


def _coordinate(key: SearchedKey, value: Any) -> float | None:
    place = key.place(value)
    if place is None:
        return None
    if key.listed is not None:
        return round(place * max(1, len(key.listed) - 1))
    return float(np.log10(value)) if key.logarithmic else float(value)
