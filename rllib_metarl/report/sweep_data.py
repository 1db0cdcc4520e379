"""Reads a sweep's directory: what was searched, its trials, and which of them is the best."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rllib_metarl.errors import UserError
from rllib_metarl.reading import Unreadable, expanded, field, parse_json, read_lines
from rllib_metarl.report.metrics import ENV_STEPS, flatten, number_at, number_of, steps_of
from rllib_metarl.report.runs import RESULTS, SETTINGS, Curve, read_object, tunes_records
from rllib_metarl.report.sweep_file import check_record, check_trial

RECORD, EXPERIMENT, BEST = "sweep.json", "sweep.yaml", "best.yaml"
WAITING, RUNNING, PAUSED = "waiting", "running", "paused"
FINISHED, STOPPED, INTERRUPTED, FAILED = "finished", "stopped early", "interrupted", "failed"
STATUSES = (FINISHED, STOPPED, RUNNING, PAUSED, INTERRUPTED, WAITING, FAILED)
DEFAULT_METRICS = (
    "evaluation/normalised_score",
    "evaluation/return_mean",
    "evaluation/env_runners/episode_return_mean",
    "env_runners/episode_return_mean",
)
"""What trials are compared by where the sweep names no metric: the first that was reported."""


@dataclass(frozen=True)
class SearchedKey:
    """One searched value, as the record tells it.

    listed: the values it is chosen from, or None for a range from `low` to `high`.
    """

    name: str
    listed: list[Any] | None = None
    low: float = 0.0
    high: float = 0.0
    logarithmic: bool = False
    describe: str = ""

    def place(self, value: Any) -> float | None:
        """Where a value lies between 0 and 1, or None for one that is not in the range."""
        if self.listed is not None:
            texts = [json.dumps(one, default=str) for one in self.listed]
            text = json.dumps(value, default=str)
            if text not in texts:
                return None
            return texts.index(text) / max(1, len(texts) - 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        if self.logarithmic:
            low, high, value = math.log(self.low), math.log(self.high), math.log(max(value, 1e-300))
        else:
            low, high = self.low, self.high
        return float(np.clip((value - low) / ((high - low) or 1.0), 0.0, 1.0))


@dataclass(frozen=True)
class TrialData:
    """One trial of a sweep.

    number: counted from 1 in the order of creation. values: searched key -> value, as they are now
    (population-based training changes them). curve: the metric by env steps; value: its newest.
    """

    number: int
    trial_id: str
    status: str
    directory: Path
    values: dict[str, Any]
    config: dict[str, Any]
    curve: Curve
    env_steps: int
    wall_s: float
    reported_at: float | None
    checkpoint: Path | None
    error: Path | None = None

    @property
    def value(self) -> float | None:
        """The newest value of the metric."""
        return float(self.curve.values[-1]) if len(self.curve.values) else None


@dataclass(frozen=True)
class Candidate:
    """One configuration: its trials, one for each seed, and the mean of their newest values."""

    trials: tuple[TrialData, ...]
    value: float


@dataclass(frozen=True)
class SweepData:
    """A sweep's record and its trials so far."""

    directory: Path
    record: dict[str, Any]
    metric: str | None
    trials: tuple[TrialData, ...]

    @property
    def name(self) -> str:
        """The experiment's name."""
        return str(self.record["name"])

    @property
    def maximises(self) -> bool:
        """Whether larger is better."""
        return self.record["mode"] == "max"

    @property
    def keys(self) -> list[SearchedKey]:
        """What is searched, without the seed."""
        return [SearchedKey(**one) for one in self.record["parameters"]]

    @cached_property
    def candidates(self) -> list[Candidate]:
        """Configurations with a value, the best first.

        Those of which a seed still runs or waits come in with the seeds that have reported.
        """
        groups: dict[str, list[TrialData]] = {}
        for trial in self.trials:
            if trial.value is not None and trial.status != FAILED:
                key = {name: v for name, v in trial.values.items() if name != "seed"}
                alone = "" if self.record["seeds"] else trial.trial_id
                groups.setdefault(alone + json.dumps(key, default=str), []).append(trial)
        found = [
            Candidate(tuple(trials), float(np.mean([t.value for t in trials])))
            for trials in groups.values()
        ]
        sign = -1 if self.maximises else 1
        # Of equal values the one that was trained longer is known better.
        return sorted(found, key=lambda one: (sign * one.value, -one.trials[0].env_steps))

    @property
    def best(self) -> Candidate | None:
        """The best configuration, or None while nothing was reported."""
        return self.candidates[0] if self.candidates else None

    def counts(self) -> dict[str, int]:
        """Status -> number of trials, those that do not exist yet among the waiting."""
        counts = dict.fromkeys(STATUSES, 0)
        for trial in self.trials:
            counts[trial.status] += 1
        counts[WAITING] += max(0, int(self.record["trials"]) - len(self.trials))
        return {status: number for status, number in counts.items() if number}


def is_sweep_directory(directory: Path) -> bool:
    """Whether `rllib train` has run a sweep there."""
    return (expanded(directory) / RECORD).is_file()


def read_sweep(directory: Path, metric: str | None = None) -> SweepData:
    """The sweep in a directory.

    Args:
        directory: the experiment's, not a trial's.
        metric: compare by this result key instead of the sweep's own.

    Raises:
        UserError: there is no sweep, or a file of it is damaged.
    """
    directory = expanded(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; name a sweep's, <storage path>/<name>")
    if not is_sweep_directory(directory):
        above = directory.parent if is_sweep_directory(directory.parent) else None
        hint = (
            f"did you mean {above}?" if above else f"{RECORD} is missing, which sweeps begin with"
        )
        raise UserError(f"{directory}: not a sweep's directory; {hint}")
    record = check_record(read_object(directory / RECORD), directory / RECORD)
    found = _trials(directory)
    rows = {entry["trial_id"]: _results(directory / entry["folder"]) for entry in found}
    chosen = metric or record.get("metric") or _reported(rows.values())
    names = [one["name"] for one in record["parameters"]] + (["seed"] if record["seeds"] else [])
    trials = [
        _trial(number, entry, directory, rows[entry["trial_id"]], names, record["stop"], chosen)
        for number, entry in enumerate(found, 1)
    ]
    return SweepData(directory, record, chosen, tuple(trials))


def _trials(directory: Path) -> list[dict[str, Any]]:
    """Tune's newest record of the trials: id, status, folder; in the order of their creation."""
    records = tunes_records(directory)
    if not records:
        return []
    try:
        stored = field(read_object(records[-1]), "trial_data", list)
        pairs = [p for p in stored if isinstance(p, list) and list(map(type, p)) == [str, str]]
        if len(pairs) < len(stored):
            raise ValueError("'trial_data' holds something else than pairs of texts")
        found = [check_trial(parse_json(trial), parse_json(live)) for trial, live in pairs]
    except (UserError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{records[-1]}: cannot be read ({error}); if the sweep is running, try again, else "
            "remove the file: the one before it then counts"
        ) from None
    return sorted(found, key=lambda trial: trial["created"])


def _results(folder: Path) -> list[dict[str, Any]]:
    """A trial's reports, flattened; a last line that is being written is left out."""
    file = folder / RESULTS
    if not folder.name or not file.is_file():
        return []
    reports = []
    for number, line, ended in read_lines(file):
        try:
            result = parse_json(line)
            result.pop("config", None)
        except (Unreadable, AttributeError, TypeError):
            if not ended:
                break
            raise UserError(
                f"{file}:{number}: not a JSON object, the file is damaged; delete that line"
            ) from None
        reports.append(flatten(result))
    return reports


def _reported(trials: Any) -> str | None:
    keys = {key for reports in trials for report in reports[-1:] for key in report}
    return next((metric for metric in DEFAULT_METRICS if metric in keys), None)


def _trial(
    number: int,
    entry: dict[str, Any],
    directory: Path,
    reports: list[dict[str, Any]],
    names: list[str],
    stop: dict[str, Any],
    metric: str | None,
) -> TrialData:
    folder = directory / entry["folder"]
    settings = folder / SETTINGS
    config = read_object(settings) if entry["folder"] and settings.is_file() else {}
    last = reports[-1] if reports else {}
    error = folder / str(entry["error"]) if entry["error"] else None
    return TrialData(
        number=number,
        trial_id=entry["trial_id"],
        status=_status(entry["status"], last, stop),
        directory=folder,
        values={name: value_at(config, name) for name in names},
        config=config,
        curve=_curve(reports, metric),
        env_steps=int(number_at(last, ENV_STEPS)),
        wall_s=number_at(last, "time_total_s"),
        reported_at=number_of(last.get("timestamp")),
        checkpoint=max(folder.glob("checkpoint_*"), default=None) if entry["folder"] else None,
        error=error,
    )


def _curve(reports: list[dict[str, Any]], metric: str | None) -> Curve:
    """The metric by env steps; a trial that went back to a checkpoint goes on from there."""
    points: list[tuple[float, float]] = []
    for report in reports:
        step = steps_of(report)
        while points and points[-1][0] >= step:
            points.pop()
        value = number_of(report.get(metric or ""))
        if value is not None:
            points.append((step, value))
    pairs = np.array(points, dtype=float).reshape(-1, 2)
    return Curve(pairs[:, 0], pairs[:, 1])


def _status(tunes: str, last: Mapping[str, Any], stop: Mapping[str, Any]) -> str:
    """What became of a trial; Tune calls every one that it let go TERMINATED."""
    if tunes != "TERMINATED":
        known = {"RUNNING": RUNNING, "PAUSED": PAUSED, "ERROR": FAILED}
        return known.get(tunes, WAITING)
    if any((number_of(last.get(key)) or -math.inf) >= value for key, value in stop.items()):
        return FINISHED
    return STOPPED if last.get("done") else INTERRUPTED


def value_at(config: Any, name: str) -> Any:
    """The value at a searched key's name, '/' between the levels, or None where there is none."""
    for key in name.split("/"):
        try:
            config = config[int(key)] if isinstance(config, (list, tuple)) else config[key]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return config
