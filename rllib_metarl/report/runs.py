"""Reads what `rllib train` left in a run's directory, and the evaluations that belong to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_metarl.errors import UserError, shortened
from rllib_metarl.origin import ORIGIN
from rllib_metarl.reading import Unreadable, expanded, parse_json, read_lines, read_text
from rllib_metarl.report.metrics import ENV_STEPS, number_at, steps_of, tagged
from rllib_metarl.report.recorded import check_evaluation

RESULTS, SETTINGS, EVALUATION = "result.json", "params.json", "evaluation.json"
EVALUATED_AT = "eval/at_env_steps"
# The name has the time in it: a copy under another name is none of Tune's.
_OWN = re.compile(r"experiment_state-\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.json").fullmatch


class Curve(NamedTuple):
    """One metric of one run: training env steps `[P]`, increasing, and the values there `[P]`."""

    steps: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """One trial.

    directory: its folder. algorithm, env: names. config: the settings that were given, without
    RLlib's defaults. curves: tag -> curve, for the metrics of `metrics.METRICS` it reported.
    env_steps, iterations, wall_s: at its last report. origin: versions and machine, where its
    folder says so. evaluation: the JSON of `rllib evaluate`, or
    None. notes: what a reader should know about the files.
    """

    directory: Path
    algorithm: str
    env: str
    config: dict[str, Any]
    curves: dict[str, Curve]
    env_steps: int
    iterations: int
    wall_s: float
    origin: tuple[str, ...] = ()
    evaluation: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def seed(self) -> int | None:
        """The seed it was given."""
        seed = self.config.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def env_config(self) -> dict[str, Any]:
        """Arguments of its env."""
        given = self.config.get("env_config")
        return dict(given) if isinstance(given, dict) else {}

    def last(self, tag: str) -> float | None:
        """The newest value of a metric, or None where it was never reported."""
        curve = self.curves.get(tag)
        return float(curve.values[-1]) if curve is not None and len(curve.values) else None


@dataclass
class _Rows:
    """Reports of a run in order of env steps."""

    steps: list[float] = field(default_factory=list)
    values: list[dict[str, float]] = field(default_factory=list)

    def add(self, step: float, values: dict[str, float]) -> None:
        """A resumed run goes back to its checkpoint: what it reported beyond is reported again."""
        while self.steps and self.steps[-1] >= step:
            self.steps.pop()
            self.values.pop()
        self.steps.append(step)
        self.values.append(values)

    def curves(self) -> dict[str, Curve]:
        points: dict[str, list[tuple[float, float]]] = {}
        evaluated_at: float | None = None
        for step, row in zip(self.steps, self.values, strict=True):
            at = row.get(EVALUATED_AT)
            repeated = at is not None and at == evaluated_at
            evaluated_at = at
            for tag, value in row.items():
                if tag.startswith("eval/"):
                    if not repeated:
                        points.setdefault(tag, []).append((step if at is None else at, value))
                else:
                    points.setdefault(tag, []).append((step, value))
        return {tag: Curve(*np.array(pairs).T) for tag, pairs in points.items()}


def read_runs(directories: Sequence[Path], evaluations: Sequence[Path] = ()) -> list[Run]:
    """All runs in and below some directories, with their evaluations.

    Args:
        directories: of trials, of experiments, or of many experiments.
        evaluations: files of `rllib evaluate --json`, beside those that lie with the runs.

    Raises:
        UserError: a directory does not exist or holds no results, a file is damaged, or an
            evaluation belongs to none of the runs.
    """
    folders: dict[Path, None] = {}
    for directory in directories:
        folders.update(dict.fromkeys(_trial_folders(directory)))
    runs = [run for run in map(_read_run, folders) if run is not None]
    if not runs:
        raise UserError(
            f"{directories[0]}: no training iteration has been reported yet; {RESULTS} is empty. "
            "Wait for the first one, or train longer."
        )
    runs = [_with_own_evaluation(run, directories) for run in runs]
    for file in evaluations:
        runs = _assigned(runs, file)
    return runs


def _trial_folders(directory: Path) -> list[Path]:
    directory = expanded(directory)
    if not directory.exists():
        raise UserError(
            f"{directory}: no such directory; give a run's, below the --storage-path "
            "of `rllib train` (~/ray_results by default)"
        )
    if not directory.is_dir():
        raise UserError(f"{directory}: is a file, expected a run's directory")
    found = sorted(path.parent for path in directory.rglob(RESULTS))
    if not found:
        raise UserError(
            f"{directory}: no results: there is no {RESULTS} in it or below; name a "
            "directory that `rllib train` has written"
        )
    return found


def _read_run(folder: Path) -> Run | None:
    """One trial, or None where it has not reported anything."""
    rows, last, notes = _read_results(folder / RESULTS)
    if not last:
        return None
    config = _read_settings(folder / SETTINGS)
    env = str(config.get("env"))
    return Run(
        directory=folder,
        algorithm=_algorithm(folder, env),
        env=env,
        config=config,
        curves=rows.curves(),
        env_steps=int(number_at(last, ENV_STEPS)),
        iterations=int(number_at(last, "training_iteration")),
        wall_s=number_at(last, "time_total_s"),
        origin=_read_origin(folder / ORIGIN),
        notes=tuple(notes),
    )


def _read_results(file: Path) -> tuple[_Rows, dict[str, Any], list[str]]:
    """The reports of a `result.json`, one JSON object a line; the last; notes."""
    rows, last, notes = _Rows(), {}, []
    for number, line, ended in read_lines(file):
        try:
            result = parse_json(line)
        except Unreadable:
            if not ended:  # no newline behind it: it was being written
                notes.append(f"line {number} of {RESULTS} is unfinished and was left out")
                break
            raise UserError(
                f"{file}:{number}: not a JSON object, the file is damaged; delete that line, or "
                "leave this run out"
            ) from None
        if not isinstance(result, dict):
            raise UserError(f"{file}:{number}: not a JSON object; delete that line")
        result.pop("config", None)  # most of the line, and in every one of them
        rows.add(steps_of(result), tagged(result))
        last = result
    return rows, last, notes


def _read_settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise UserError(
            f"{file}: missing, so the run's settings are unknown; Tune writes it beside {RESULTS}: "
            "copy the trial's whole directory"
        )
    return read_object(file)


def _read_origin(file: Path) -> tuple[str, ...]:
    """Version, software and machine; runs of before this was written have none."""
    if not file.is_file():
        return ()
    told = read_object(file).values()
    return tuple(shortened(value, 200) for value in told if isinstance(value, str))


def read_object(file: Path) -> dict[str, Any]:
    """A file with one JSON object.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    try:
        content = parse_json(read_text(file))
    except Unreadable as error:
        place = f"{file}:{error.line}" if error.line else file
        raise UserError(
            f"{place}: not valid JSON ({error}), the file is damaged; write it again, or leave it "
            "out"
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected one JSON object, found {type(content).__name__}")
    return content


def tunes_records(experiment: Path) -> list[Path]:
    """Tune's records of an experiment's trials, one a session, the newest last."""
    return sorted(path for path in experiment.glob("experiment_state-*.json") if _OWN(path.name))


def _algorithm(folder: Path, env: str) -> str:
    """The algorithm's name, from the experiment's record or from how Tune calls the folder."""
    for record in reversed(tunes_records(folder.parent)):
        for trial in _trials_of(record):
            if trial.get("relative_logdir") == folder.name and trial.get("trainable_name"):
                return str(trial["trainable_name"])
    head, found, _ = folder.name.partition("_" + env.replace("/", "_"))
    return head if found else folder.name.partition("_")[0]


def _trials_of(record: Path) -> list[dict[str, Any]]:
    try:
        stored = read_object(record)["trial_data"]
        trials = [parse_json(entry[0]) for entry in stored]
        return [trial for trial in trials if isinstance(trial, dict)]
    except (UserError, ValueError, LookupError, TypeError):
        return []  # Tune's own record, needed for the name alone, which the folder tells too


def _with_own_evaluation(run: Run, directories: Sequence[Path]) -> Run:
    """The evaluation beside a run: in its folder, or above it where it names the run."""
    tops = {expanded(directory).absolute() for directory in directories}
    folder = run.directory.absolute()
    own = folder / EVALUATION
    if own.is_file():
        return replace(run, evaluation=check_evaluation(read_object(own), own))
    for above in folder.parents:
        file = above / EVALUATION
        if file.is_file() and _names(content := read_object(file), run):
            return replace(run, evaluation=check_evaluation(content, file))
        if above in tops or folder in tops:  # no further up than what was named, or one above it
            break
    return run


def _assigned(runs: list[Run], file: Path) -> list[Run]:
    """The runs, with the evaluation of a file given to the one whose checkpoint it played."""
    content = check_evaluation(read_object(expanded(file)), file)
    found = [run for run in runs if _names(content, run)]
    if not found:
        raise UserError(
            f"--evaluation {file}: it evaluates {content.get('checkpoint')}, a checkpoint of none "
            "of these runs; name its run's directory too"
        )
    return [replace(run, evaluation=content) if run is found[0] else run for run in runs]


def _names(evaluation: dict[str, Any], run: Run) -> bool:
    """Whether an evaluation is of a checkpoint in the run's folder, wherever that lies now."""
    return run.directory.name in Path(str(evaluation.get("checkpoint"))).parts
