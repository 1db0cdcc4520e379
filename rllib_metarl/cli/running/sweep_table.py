"""A sweep as a table: live while it runs, and for `rllib sweep status`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.tune import Callback
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rllib_metarl.cli.experiment.sweep import Sweep
from rllib_metarl.cli.net import one_line
from rllib_metarl.cli.running.display import Display
from rllib_metarl.report.metrics import ENV_STEPS, flatten
from rllib_metarl.report.sweep_data import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    RUNNING,
    STOPPED,
    value_at,
)
from rllib_metarl.report.sweep_file import created

MAX_ROWS = 20
REFRESH_S = 0.5


@dataclass
class Row:
    """One trial in the table."""

    number: int
    status: str
    values: dict[str, Any] = field(default_factory=dict)
    value: float | None = None
    env_steps: int = 0
    wall_s: float = 0.0


def table(rows: Sequence[Row], metric: str | None, maximises: bool, limit: int = MAX_ROWS) -> Table:
    """The trials, the best first, those without a value last.

    Args:
        rows: one for each trial.
        metric: what they are compared by.
        maximises: whether larger is better.
        limit: how many are shown.
    """
    sign = -1 if maximises else 1
    ranked = sorted(rows, key=lambda r: (r.value is None, sign * (r.value or 0.0), r.number))
    names = list(dict.fromkeys(name for row in ranked for name in row.values))
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("trial", "status", _short_name(metric or "value"), "env steps", "time"):
        made.add_column(
            _words(name), justify="left" if name == "status" else "right", overflow="fold"
        )
    for name in names:
        made.add_column(_words(_short_name(name)), justify="right", overflow="fold")
    for row in ranked[:limit]:
        style = "bold" if row is ranked[0] and row.value is not None else None
        values = (_words(shown(row.values.get(name))) for name in names)
        made.add_row(*_cells(row), *values, style=style)
    if len(ranked) > limit:
        made.caption = f"{len(ranked) - limit} more trials"
    return made


def _words(text: str) -> Text:
    """Text of a file as words: neither rich's markup nor a terminal's control letters."""
    return Text(one_line(text))


def _cells(row: Row) -> list[str]:
    value = "" if row.value is None else f"{row.value:.4g}"
    minutes, seconds = divmod(int(row.wall_s), 60)
    return [str(row.number), row.status, value, f"{row.env_steps:,}", f"{minutes}:{seconds:02}"]


def _short_name(key: str) -> str:
    return key.removeprefix("evaluation/").removeprefix("env_runners/")


def shown(value: Any) -> str:
    """A searched value in a few letters."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


class SweepDisplay(Callback):
    """Shows a sweep: a table on a terminal, lines of progress and of ended trials elsewhere.

    Args:
        sweep: the sweep.
        stop: result key -> value at which a trial ends.
        time_budget_s: time at which all trials end.
        console: where to draw; standard output by default.
    """

    def __init__(
        self,
        sweep: Sweep,
        stop: dict[str, float],
        time_budget_s: float | None = None,
        console: Console | None = None,
    ) -> None:
        self._sweep, self._stop, self._budget = sweep, stop, time_budget_s
        self._console = console or Console(file=sys.stdout, highlight=False)
        self._rows: dict[str, Row] = {}
        self._began = time.time()
        self._live: Live | None = None
        self._lines: Display | None = None
        if self._console.is_terminal:
            self._live = Live(self._picture(), console=self._console, refresh_per_second=2)
        else:
            self._lines = Display(stop, time_budget_s, sweep.trials, self._console)

    def __enter__(self) -> SweepDisplay:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._lines is not None:
            self._lines.__exit__(*exc)
        if self._live is not None:
            self._live.update(self._picture())
            self._live.stop()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial runs, for the first time or again."""
        self._row(trials, trial).status = RUNNING
        self._show()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Show one training iteration."""
        row, flat = self._row(trials, trial), flatten(result)
        value = flat.get(self._sweep.metric or "")
        row.value = row.value if value is None else float(value)
        row.env_steps = int(result.get(ENV_STEPS) or 0)
        row.wall_s = float(result.get("time_total_s") or 0.0)
        if self._lines is not None:
            self._lines.on_trial_result(iteration, trials, trial, result)
        if result.get("done"):
            self._end(trials, trial, flat)
        self._show()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Show what trials do that have no result yet."""
        if self._lines is not None:
            self._lines.on_step_end(iteration, trials)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial came to its end, its own or by the scheduler."""
        self._end(trials, trial, flatten(trial.last_result or {}))
        self._show()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Name a trial that failed; its reason is reported at the end."""
        self._row(trials, trial).status = FAILED
        if self._lines is not None:
            self._lines.on_trial_error(iteration, trials, trial)
        self._show()

    def _end(self, trials: list[Any], trial: Any, result: dict[str, Any]) -> None:
        row = self._row(trials, trial)
        met = any(key in result and result[key] >= value for key, value in self._stop.items())
        status = FINISHED if met else STOPPED if result.get("done") else INTERRUPTED
        if row.status == status:
            return
        row.status = status
        if self._lines is not None:
            value = "" if row.value is None else f", {self._sweep.metric} {row.value:.4g}"
            line = f"trial {row.number} {status} after {row.env_steps:,} env steps{value}"
            self._console.print(line + self._best(), markup=False, soft_wrap=True)

    def _best(self) -> str:
        valued = [row for row in self._rows.values() if row.value is not None]
        if not valued:
            return ""
        sign = 1 if self._sweep.mode == "max" else -1
        best = max(valued, key=lambda row: sign * (row.value or 0.0))
        values = ", ".join(f"{name} {shown(value)}" for name, value in best.values.items())
        return f"; best: trial {best.number}, {best.value:.4g} ({values})"

    def _row(self, trials: list[Any], trial: Any) -> Row:
        if trial.trial_id not in self._rows:
            ordered = sorted(trials, key=lambda one: created(one.experiment_tag))
            number = 1 + next(i for i, one in enumerate(ordered) if one.trial_id == trial.trial_id)
            self._rows[trial.trial_id] = Row(number, RUNNING)
        row = self._rows[trial.trial_id]
        # Population-based training changes them.
        row.values = {name: value_at(trial.config, name) for name in self._sweep.space.names}
        return row

    def _show(self) -> None:
        if self._live is not None:
            self._live.update(self._picture())

    def _picture(self) -> Table:
        rows = list(self._rows.values())
        made = table(rows, self._sweep.metric, self._sweep.mode == "max")
        counts: dict[str, int] = {}
        for row in rows:
            counts[row.status] = counts.get(row.status, 0) + 1
        counted = ", ".join(f"{number} {status}" for status, number in counts.items())
        minutes, seconds = divmod(int(time.time() - self._began), 60)
        limit = f" of {self._budget / 60:.0f} min" if self._budget else ""
        made.title = (
            f"{len(rows)} of {self._sweep.trials} trials ({counted or 'starting Ray'}), "
            f"{minutes}:{seconds:02}{limit}"
        )
        made.title_justify = "left"
        return made


def best_line(sweep: Any) -> str:
    """The best configuration in one line."""
    found = sweep.best
    numbers = ", ".join(str(trial.number) for trial in found.trials)
    values = found.trials[0].values
    hidden = {"seed"} if sweep.record["seeds"] else set()  # of which one stands for all
    values_text = ", ".join(f"{k} {shown(v)}" for k, v in values.items() if k not in hidden)
    plural = "s" if len(found.trials) > 1 else ""
    line = f"best: trial{plural} {numbers}, {sweep.metric} {found.value:.4g}"
    return f"{line} ({values_text})" if values_text else line
