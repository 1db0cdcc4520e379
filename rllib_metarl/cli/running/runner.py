"""Running checked experiments through Ray Tune."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayActorError
from ray.tune import ExperimentAnalysis, ResumeConfig
from ray.tune.logger import JsonLoggerCallback

from rllib_metarl.cli.experiment.prepare import Prepared
from rllib_metarl.cli.running import loggers
from rllib_metarl.cli.running.display import Display
from rllib_metarl.cli.running.interrupt import Criteria, Interrupt
from rllib_metarl.cli.running.keeper import Keeper, storage_problem
from rllib_metarl.cli.running.record import write_best, write_record
from rllib_metarl.cli.running.recovery import (
    Recovery,
    check_own,
    last_record,
    newest_state,
    restore_records,
)
from rllib_metarl.cli.running.resources import Waiting
from rllib_metarl.cli.running.scheduler import trial_scheduler
from rllib_metarl.cli.running.search import search_algorithm, searched_keys
from rllib_metarl.cli.running.summary import Origin, Recorder, combined
from rllib_metarl.cli.running.sweep_memory import JOURNAL, Journal
from rllib_metarl.cli.running.sweep_table import SweepDisplay, best_line, shown
from rllib_metarl.errors import UserError
from rllib_metarl.report.sweep_data import SweepData, read_sweep

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


@dataclass(frozen=True)
class Outcome:
    """How an experiment ended.

    Attributes:
        summary: numbers for ``--json``.
        signal: the signal that stopped it, or None; it can be resumed.
        failures: one sentence for each trial that failed.
        best: lines about the best configuration of a sweep.
        storage_failed: something could not be written, or read.
    """

    summary: dict[str, Any]
    signal: int | None
    failures: list[str]
    best: tuple[str, ...] = ()
    storage_failed: bool = False


def run(experiment: Prepared, resume: bool, began: float, tell: Callable[[str], None]) -> Outcome:
    """Run one experiment to its end, or until a signal.

    Args:
        experiment: what to run.
        resume: continue the trials of the last run in the experiment's directory.
        began: when the command began, in Unix seconds.
        tell: called with notes for the user while it runs.

    Raises:
        UserError: the storage cannot be written any more.
    """
    spec = experiment.spec
    criteria = Criteria(dict(spec.stop), spec.time_budget_s)
    resume_config = _resume_config(experiment, criteria) if resume else None
    recorder = Recorder()
    display = _display(experiment, criteria)
    search, config, samples = _search(experiment)
    if experiment.sweep is not None and experiment.folder is not None:
        write_record(experiment, experiment.folder)
    keepers, recoveries = _guards(experiment, resume, tell)
    with Interrupt(criteria) as interrupt, display, _storage_errors(experiment):
        analysis = tune.run(
            _tune_experiment(experiment, criteria, config, samples),
            search_alg=search,
            scheduler=_scheduler(experiment, criteria, resume),
            callbacks=[
                JsonLoggerCallback(),
                *loggers.made(experiment, tell),
                recorder,
                Origin(),
                interrupt,
                display,
                Waiting(tell),
                *keepers,
                *recoveries,
            ],
            resume_config=resume_config,
            raise_on_failed_trial=False,
            verbose=0,
        )
        for keeper in keepers:
            keeper.keep()  # after Tune's last word
    trials = analysis.trials or []
    for keeper in keepers:
        keeper.check_folders(trials)
    records = _records(trials, recorder, criteria, interrupt)
    failed = _failed(trials, interrupt)
    _take_over(trials, records, interrupt, keepers, tell)
    problems = [keeper.problem for keeper in keepers if keeper.problem]
    failures = [*map(_failure, failed), *problems]
    storage = bool(problems) or any(_is_storage(cause_of(trial), trial) for trial in failed)
    best = _best(experiment)
    summary = combined(experiment.name, records, time.time() - began, best)
    return Outcome(summary, interrupt.signal, failures, _about_best(best), storage)


def _records(
    trials: list[Any], recorder: Recorder, criteria: Criteria, interrupt: Interrupt
) -> list[dict[str, Any]]:
    """What was recorded of each trial. Tune calls those it lets go TERMINATED, finished or not."""
    records = [recorder.trial(trial) for trial in trials]
    for trial, record in zip(trials, records, strict=True):
        last = trial.last_result or {}
        if interrupt.requested and not criteria.met(last) and not last.get("done"):
            record["status"] = "INTERRUPTED"
    return records


def _failed(trials: list[Any], interrupt: Interrupt) -> list[Any]:
    """The trials that failed; not by an urgent signal, which may have gone to every process."""
    failed = [trial for trial in trials if trial.status == trial.ERROR]
    if interrupt.urgent:
        failed = [trial for trial in failed if not isinstance(cause_of(trial), RayActorError)]
    return failed


def _take_over(
    trials: list[Any],
    records: list[dict[str, Any]],
    interrupt: Interrupt,
    keepers: list[Keeper],
    tell: Callable[[str], None],
) -> None:
    """For trials whose iteration was given up: what there is to go on from, and what is lost."""
    for trial, record in zip(trials, records, strict=True):
        if trial.trial_id not in interrupt.unsaved or not keepers:
            continue
        place, reached = newest_state(Path(trial.path))
        record["checkpoint"] = None if place is None else str(place)
        lost = record["iterations"] - reached
        also = f", and {lost} before it" if lost else ""
        start = "the start" if place is None else f"iteration {reached}"
        tell(f"{trial}: abandoned the current iteration{also}; --resume continues from {start}")


def _scheduler(experiment: Prepared, criteria: Criteria, resume: bool) -> Any:
    if experiment.sweep is None:
        return None
    if experiment.folder is None:
        return trial_scheduler(experiment.sweep)
    journal = Journal(experiment.folder / JOURNAL, resume)
    return trial_scheduler(experiment.sweep, journal, criteria.met)


def _guards(
    experiment: Prepared, resume: bool, tell: Callable[[str], None]
) -> tuple[list[Keeper], list[Recovery]]:
    """What makes the run resumable at any moment, where its storage is on this machine."""
    folder = experiment.folder
    if folder is None:
        return [], []
    return [Keeper(folder)], [Recovery(folder, tell)] if resume else []


@contextlib.contextmanager
def _storage_errors(experiment: Prepared) -> Iterator[None]:
    """The driver itself writes logs and records: a full disk ends the run with one message."""
    try:
        yield
    except OSError as error:
        place = experiment.folder or Path(experiment.storage)
        raise UserError(storage_problem(place, error)) from None


def _display(experiment: Prepared, criteria: Criteria) -> Display | SweepDisplay:
    budget = experiment.spec.time_budget_s
    if experiment.sweep is None:
        return Display(criteria.stop, budget)
    return SweepDisplay(experiment.sweep, criteria.stop, budget)


def _best(experiment: Prepared) -> SweepData | None:
    """The finished sweep, if it can be reported: it has values, and lies on this machine."""
    if experiment.sweep is None or experiment.folder is None:
        return None
    sweep = read_sweep(experiment.folder)
    return sweep if sweep.best else None


def _about_best(sweep: SweepData | None) -> tuple[str, ...]:
    if sweep is None:
        return ()
    return best_line(sweep), f"best config: {write_best(sweep)}"


def can_resume(experiment: Prepared) -> bool:
    """Whether an earlier run has left a record from which it can be continued.

    Raises:
        UserError: the storage is not a local directory.
    """
    folder = experiment.folder
    if folder is None:
        raise UserError("--resume works with a storage path on this machine only")
    return any(folder.glob("experiment_state-*.json")) or last_record(folder) is not None


def make_ready(folder: Path, tell: Callable[[str], None]) -> None:
    """What has to be so before anything of an earlier run is read: it is one's own, and whole.

    Args:
        folder: of the experiment that is resumed.
        tell: called with notes for the user.

    Raises:
        UserError: it is not; see `recovery.check_own` and `recovery.restore_records`.
    """
    check_own(folder)
    restore_records(folder, tell)


def changed_keys(experiment: Prepared) -> list[str]:
    """Config keys whose value differs from that with which the earlier run was started."""
    trials = _earlier(experiment).trials or []
    if not trials:
        return []
    old = trials[0].config
    searched = searched_keys(experiment.sweep.space) if experiment.sweep else []
    return [
        key
        for key, value in experiment.config.items()
        if key not in searched
        and _plain(value) is not None
        and _plain(old.get(key)) != _plain(value)
    ]


def _earlier(experiment: Prepared) -> ExperimentAnalysis:
    return ExperimentAnalysis(str(experiment.folder), trials=None)


def _resume_config(experiment: Prepared, criteria: Criteria) -> ResumeConfig:
    """Continue what was interrupted or failed, and what a longer ``stop`` gives more to do."""
    kinds = ResumeConfig.ResumeType
    trials = _earlier(experiment).trials or []
    ended = [trial for trial in trials if trial.status == trial.TERMINATED]
    # What a scheduler has ended early stays ended.
    stops_early = experiment.sweep is not None and experiment.sweep.scheduler != "fifo"
    longer = not stops_early and any(not criteria.met(t.last_result or {}) for t in ended)
    return ResumeConfig(
        finished=kinds.RESUME if longer else kinds.SKIP,
        unfinished=kinds.RESUME,
        errored=kinds.RESUME,
    )


def _search(experiment: Prepared) -> tuple[Any, dict[str, Any], int]:
    """The search algorithm, the config as Tune takes it, and how many samples Tune counts."""
    if experiment.sweep is None:
        return None, experiment.config, 1
    return search_algorithm(experiment.sweep, experiment.config)


def _tune_experiment(
    experiment: Prepared, criteria: Criteria, config: dict[str, Any], samples: int
) -> tune.Experiment:
    spec = experiment.spec
    return tune.Experiment(
        experiment.name,
        _runnable(experiment),
        stop=criteria,
        config=config,
        num_samples=samples,
        storage_path=experiment.storage,
        checkpoint_config=tune.CheckpointConfig(**spec.checkpoint_config.model_dump()),
        export_formats=spec.export_formats,
        log_to_file=spec.log_to_file,
        max_failures=spec.max_failures,
        restore=spec.restore,
        trial_dirname_creator=trial_folder,
    )


def trial_folder(trial: Any) -> str:
    """A trial's folder, and its name in TensorBoard: algorithm, id, and what it was given."""
    given = trial.evaluated_params or {"seed": trial.config.get("seed")}
    values = [f"{k.rpartition('/')[2]}={shown(v)}" for k, v in given.items() if v is not None]
    name = "_".join([trial.trainable_name, trial.trial_id, ",".join(values)])
    return re.sub(r"[^\w=.,-]+", "_", name)[:100].rstrip("_,.")


def _runnable(experiment: Prepared) -> Any:
    """The name where Tune knows it, so that trials are called by it; otherwise the class."""
    from ray.tune.registry import TRAINABLE_CLASS

    from rllib_metarl.sampling.envs import registered

    name = experiment.spec.run
    return name if registered(TRAINABLE_CLASS, name) else experiment.algorithm


def _failure(trial: Any) -> str:
    error = cause_of(trial)
    if _is_storage(error, trial):
        return f"trial {trial} failed: {storage_problem(Path(trial.path), error)}"
    place = f" (details: {trial.error_file})" if trial.error_file else ""
    return f"trial {trial} failed: {reason(error)}{place}"


def cause_of(trial: Any) -> Any:
    """What made a trial fail: the exception in its process, or what is known of it."""
    error = trial.get_pickled_error() or trial.get_error()
    while getattr(error, "cause", None) is not None:
        error = error.cause
    return error


def _is_storage(error: Any, trial: Any) -> bool:
    """Whether a failure is of the storage, and not of some file that an env wanted."""
    return isinstance(error, OSError) and (error.errno in _FULL or trial.path in str(error))


def reason(error: Any) -> str:
    """A failure in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, UserError):
        return str(error)
    return lines[-1] if lines else type(error).__name__


def _plain(value: Any) -> str | None:
    try:
        return json.dumps(value, sort_keys=True)
    except TypeError:
        return None
