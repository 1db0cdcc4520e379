"""What a run came to: numbers for ``--json`` and for the last lines on the screen."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ray.tune import Callback

from rllib_metarl.checkpoints import write_whole
from rllib_metarl.origin import ORIGIN, origin
from rllib_metarl.report.metrics import ENV_STEPS, tagged
from rllib_metarl.report.sweep_data import SweepData


class Origin(Callback):
    """Writes beside each trial's results what they are made by, see `rllib_metarl.origin`."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Also of a trial that goes on: the newest counts."""
        trial.init_local_path()
        text = json.dumps(origin(), indent=1) + "\n"
        write_whole(Path(trial.local_path) / ORIGIN, text.encode())


class Recorder(Callback):
    """Keeps, for each trial, when its first training iteration began and what it last reported."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[float, float]] = {}
        self._last: dict[str, tuple[float, float]] = {}
        self._values: dict[str, dict[str, float]] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Note one training iteration."""
        now, steps = time.time(), float(result.get(ENV_STEPS) or 0)
        sampled = _steps_this_iteration(result)
        key = trial.trial_id
        self._begun.setdefault(key, (now - result.get("time_this_iter_s", 0.0), steps - sampled))
        self._last[key] = (now, steps)
        self._values.setdefault(key, {}).update(tagged(result))

    def trial(self, trial: Any) -> dict[str, Any]:
        """The summary of one trial.

        ``env_steps_per_s`` counts from the beginning of the first training iteration of this
        command, so starting Ray, workers and environments is not in it; learning, evaluation
        and checkpoints are.
        """
        result = trial.last_result or {}
        values = {**tagged(result), **self._values.get(trial.trial_id, {})}
        began, steps_before = self._begun.get(trial.trial_id, (0.0, 0.0))
        ended, steps = self._last.get(trial.trial_id, (0.0, 0.0))
        seconds = ended - began
        return {
            "trial": str(trial),
            "status": trial.status,
            "iterations": int(result.get("training_iteration", 0)),
            "env_steps": int(result.get(ENV_STEPS) or 0),
            "env_steps_per_s": (steps - steps_before) / seconds if seconds > 0 else None,
            "return_mean": values.get("eval/return_mean", values.get("train/return_mean")),
            "train_return_mean": values.get("train/return_mean"),
            "normalised_score": values.get("eval/normalised_score"),
            "checkpoint": trial.checkpoint.path if trial.checkpoint else None,
            "directory": trial.path,
        }


def combined(
    name: str, trials: list[dict[str, Any]], wall_s: float, sweep: SweepData | None = None
) -> dict[str, Any]:
    """The summary of an experiment: its only trial's numbers, or sums and the list of trials.

    With several trials, ``return_mean``, ``normalised_score`` and ``checkpoint`` are those of the
    best one; in a sweep that is the best by its metric.
    """
    if not trials:
        return {"experiment": name, "env_steps": 0, "wall_s": wall_s, "checkpoint": None}
    best = max(trials, key=_rank)
    if sweep is not None and sweep.best is not None:
        folder = sweep.best.trials[0].directory.name
        best = next((t for t in trials if Path(str(t["directory"])).name == folder), best)
    rates = [t["env_steps_per_s"] for t in trials if t["env_steps_per_s"]]
    whole = {**best, "experiment": name, "wall_s": wall_s}
    if len(trials) > 1:
        whole["env_steps"] = sum(t["env_steps"] for t in trials)
        whole["env_steps_per_s"] = sum(rates) / len(rates) if rates else None
        whole["trials"] = trials
    if sweep is not None and sweep.best is not None:
        whole["best"] = {
            "metric": sweep.metric,
            "value": sweep.best.value,
            "values": sweep.best.trials[0].values,
        }
    return whole


def _rank(trial: dict[str, Any]) -> tuple[bool, float, float]:
    score, value = trial["normalised_score"], trial["return_mean"]
    lowest = float("-inf")
    return (
        trial["checkpoint"] is not None,
        lowest if score is None else score,
        lowest if value is None else value,
    )


def _steps_this_iteration(result: dict[str, Any]) -> float:
    runners = result.get("env_runners") or {}
    return float(runners.get("num_env_steps_sampled") or 0)
