"""What a person sees while a run goes on: a bar with ETA, or plain lines without a terminal."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from rllib_metarl.algorithms.base.preparing import progress_in
from rllib_metarl.cli.output import LINE_EVERY_S
from rllib_metarl.report.metrics import ENV_STEPS, flatten, tagged

_COUNTED = (ENV_STEPS, "training_iteration", "time_total_s")
_SHOWN = (
    ("eval/normalised_score", "score", ".3f"),
    ("vae/elbo", "elbo", ".3f"),
    ("vae/reward_loss", "reward loss", ".3f"),
    ("vae/kl", "kl", ".3f"),
    ("termination/auroc", "switch AUROC", ".3f"),
    ("ppo/entropy", "entropy", ".3f"),
)
_UNBROKEN = Column(no_wrap=True)
LOOK_EVERY_S = 0.5


@dataclass
class _Reports:
    """First and last report of one trial in this command."""

    first_time: float
    first_fraction: float
    line: str = ""
    printed: bool = False
    score: float | None = None


class Display(Callback):
    """Shows every trial's progress towards its stop criteria.

    On a terminal one bar per trial, kept up to date; elsewhere one line per iteration, at most
    one each five seconds, and always the last.

    Args:
        stop: result key -> value at which a trial ends; without one there is no ETA.
        time_budget_s: time at which all trials end.
        trials: how many trials there will be; several are shown with their names.
        console: where to draw; standard output by default.
    """

    def __init__(
        self,
        stop: dict[str, float],
        time_budget_s: float | None = None,
        trials: int = 1,
        console: Console | None = None,
    ) -> None:
        self._stop = stop
        self._budget = time_budget_s
        self._named = trials > 1
        self._console = console or Console(file=sys.stdout, highlight=False)
        self._reports: dict[str, _Reports] = {}
        self._began = time.time()
        self._last_line = self._last_look = 0.0
        self._bars: dict[str, Any] = {}
        self._progress = self._make_progress() if self._console.is_terminal else None

    def __enter__(self) -> Display:
        if self._progress is not None:
            self._progress.start()
            self._progress.update(self._bar("starting"), text="starting Ray and the environments")
        return self

    def __exit__(self, *exc: object) -> None:
        self._print_unprinted()
        if self._progress is not None:
            self._progress.stop()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Show one training iteration."""
        now = time.time()
        fraction = self.fraction(result, now)
        reports = self._reports.setdefault(trial.trial_id, _Reports(now, fraction))
        score = tagged(result).get("eval/normalised_score")
        reports.score = reports.score if score is None else score
        text = describe(result, reports.score)
        eta = _eta(reports, fraction, now)
        name = f"{trial} " if self._named else ""
        reports.line = f"{name}{fraction:4.0%} {text}{eta}" if self._stop else f"{name}{text}"
        reports.printed = False
        if self._progress is not None:
            self._draw(str(trial) if self._named else "", trial.trial_id, fraction, text, eta)
        elif now - self._last_line >= LINE_EVERY_S:
            self._print_line(reports, now)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Show what trials do that have no result yet, where they tell (`Preparing`)."""
        now = time.time()
        if now - self._last_look < LOOK_EVERY_S:
            return
        self._last_look = now
        for trial in trials:
            if trial.trial_id in self._reports or not trial.path:
                continue
            line = progress_in(Path(trial.path))
            if line is not None:
                self._show_preparing(str(trial) if self._named else "", line, now)

    def _show_preparing(self, name: str, line: str, now: float) -> None:
        if self._progress is not None:
            if "starting" in self._bars:
                self._progress.update(self._bar("starting"), name=name, text=line.strip())
        elif now - self._last_line >= LINE_EVERY_S:
            self._console.print(f"{name} {line}".strip(), markup=False, soft_wrap=True)
            self._last_line = now

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Name a trial that failed; its reason is reported at the end."""
        self._console.print(f"trial {trial} failed", markup=False, soft_wrap=True)

    def fraction(self, result: dict[str, Any], now: float) -> float:
        """How much of the run is done, 0 to 1, by the criterion that is closest to its end."""
        flat = flatten(result)
        done = [
            float(flat[key]) / value
            for key, value in self._stop.items()
            if key in _COUNTED and key in flat and value > 0
        ]
        if self._budget:
            done.append((now - self._began) / self._budget)
        return min(1.0, max(done, default=0.0))

    def _make_progress(self) -> Progress:
        return Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(bar_width=16, table_column=Column(min_width=16)),
            TextColumn("{task.percentage:3.0f}%{task.fields[eta]}", table_column=_UNBROKEN),
            # What does not fit beside the bar goes on below, so that nothing is cut off.
            TextColumn("{task.fields[text]}", table_column=Column(ratio=1, overflow="fold")),
            console=self._console,
            expand=True,
            refresh_per_second=4,
        )

    def _bar(self, key: str, name: str = "") -> Any:
        if key not in self._bars:
            assert self._progress is not None
            self._bars[key] = self._progress.add_task("", total=1.0, name=name, text="", eta="")
        return self._bars[key]

    def _draw(self, name: str, key: str, fraction: float, text: str, eta: str) -> None:
        assert self._progress is not None
        if "starting" in self._bars:
            self._progress.remove_task(self._bars.pop("starting"))
        self._progress.update(self._bar(key, name), completed=fraction, text=text, eta=eta)

    def _print_line(self, reports: _Reports, now: float) -> None:
        self._console.print(reports.line, markup=False, soft_wrap=True)
        reports.printed = True
        self._last_line = now

    def _print_unprinted(self) -> None:
        if self._progress is None:
            for reports in self._reports.values():
                if not reports.printed:
                    self._print_line(reports, time.time())


def describe(result: dict[str, Any], score: float | None = None) -> str:
    """One iteration in one line.

    Args:
        result: what the algorithm reported.
        score: the latest normalised score, where this iteration was not evaluated.
    """
    values = tagged(result)
    if score is not None:
        values["eval/normalised_score"] = score
    parts = [f"iter {int(result.get('training_iteration', 0))}"]
    parts.append(f"{int(result.get(ENV_STEPS) or 0):,} steps")
    if "speed/env_steps_per_s" in values:
        parts.append(f"{values['speed/env_steps_per_s']:,.0f}/s")
    if "train/return_mean" in values:
        parts.append(f"return {values['train/return_mean']:.2f}")
    parts += [f"{label} {values[tag]:{form}}" for tag, label, form in _SHOWN if tag in values]
    return "  ".join(parts)


def _eta(reports: _Reports, fraction: float, now: float) -> str:
    gained = fraction - reports.first_fraction
    if gained <= 0 or fraction >= 1:
        return ""
    seconds = int((1 - fraction) * (now - reports.first_time) / gained)
    hours, rest = divmod(seconds, 3600)
    clock = f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
    return f"  ETA {clock}"
