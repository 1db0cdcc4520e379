"""A sweep as one HTML file that needs nothing else: what was searched, and what came of it."""

from __future__ import annotations

import json
import shlex
from typing import Any

from rllib_metarl.errors import UserError
from rllib_metarl.report.page import drawn, embedded, render
from rllib_metarl.report.plotly_figures import figure
from rllib_metarl.report.reproduce import shown_path
from rllib_metarl.report.sweep_charts import (
    curves_chart,
    importance_chart,
    metric_label,
    parallel_coordinates,
    slice_charts,
)
from rllib_metarl.report.sweep_data import SweepData
from rllib_metarl.report.sweep_importance import FEWEST, Importance, importances
from rllib_metarl.report.tables import Table

MAX_ROWS = 200


def make_sweep_page(sweep: SweepData, title: str, best_file: str | None) -> str:
    """The page as HTML.

    Args:
        sweep: the sweep, see `sweep_data.read_sweep`.
        title: the page's heading.
        best_file: text of the best configuration's experiment file.

    Raises:
        UserError: no trial has reported the metric.
    """
    if sweep.best is None:
        raise UserError(
            f"{sweep.directory}: no trial has reported {sweep.metric or 'a metric'} yet; wait for "
            "one, then make the page"
        )
    found = importances(sweep)
    groups = {
        "Curves": [curves_chart(sweep)],
        "What matters": [importance_chart(found)] if found else [],
        "The metric over each searched value": slice_charts(sweep),
    }
    figures: dict[str, Any] = {"parallel": drawn(parallel_coordinates(sweep))}
    for charts in groups.values():
        figures |= {chart.key: drawn(figure(chart)) for chart in charts}
    return render(
        "sweep.html",
        title=title,
        sweep=sweep,
        metric=metric_label(sweep),
        groups=groups,
        few=FEWEST,
        trials=_trials(sweep),
        keys=_keys(sweep, found),
        best_file=best_file,
        directory=shlex.quote(shown_path(sweep.directory)),
        figures=embedded(figures),
        viewers=embedded({}),
    )


def _trials(sweep: SweepData) -> Table:
    sign = -1 if sweep.maximises else 1
    ranked = sorted(
        sweep.trials, key=lambda t: (t.value is None, sign * (t.value or 0.0), t.number)
    )
    names = list(dict.fromkeys(name for trial in ranked for name in trial.values))
    rows = [
        [
            f"trial {trial.number}",
            "" if trial.value is None else f"{trial.value:.5g}",
            trial.status,
            f"{trial.env_steps:,}",
            f"{trial.wall_s / 60:.1f}",
            *(_shown(trial.values.get(name)) for name in names),
        ]
        for trial in ranked[:MAX_ROWS]
    ]
    left = f" The {len(ranked) - MAX_ROWS} worst are left out." if len(ranked) > MAX_ROWS else ""
    columns = ["", metric_label(sweep), "status", "env steps", "time (min)", *names]
    caption = (
        "The newest value of each trial, the best first; a trial that was stopped early is "
        f"compared by what it had reached.{left}"
    )
    return Table("Trials", columns, rows, caption)


def _keys(sweep: SweepData, found: list[Importance]) -> Table:
    known = {one.name: one for one in found}
    rows = []
    for key in sorted(sweep.keys, key=lambda k: -known[k.name].share if k.name in known else 0.0):
        one = known.get(key.name)
        correlation = one.correlation if one else None
        rows.append(
            [
                key.name,
                key.describe,
                "" if one is None else f"{one.share:.2f}",
                "" if correlation is None else f"{correlation:+.2f}",
                _shown(sweep.best.trials[0].values.get(key.name)) if sweep.best else "",
            ]
        )
    caption = (
        "Rank correlation is Spearman's, between value and metric over configurations; it sees "
        "only what rises or falls throughout, and is left out for values without an order."
    )
    columns = ["key", "searched in", "importance (share)", "rank correlation (1)", "best"]
    return Table("What was searched", columns, rows, caption)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.5g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
