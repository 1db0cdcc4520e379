"""What a sweep's scheduler has seen, kept with the sweep: Tune forgets it when a sweep is resumed.

Ray's schedulers keep their rungs and scores in memory alone (ray issue 30838). Here each number
that they looked at goes into a journal, a line at a time, and when the sweep goes on they are shown
those again that the trials' checkpoints contain. What came after those comes again by itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from numbers import Real
from pathlib import Path
from typing import Any

from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from rllib_metarl import checkpoints
from rllib_metarl.reading import parse_json
from rllib_metarl.report.metrics import flatten

JOURNAL = ".rllib/scheduler.jsonl"
ITERATION = "training_iteration"
MOST_BYTES = 1 << 28


class Journal:
    """The results that a scheduler was shown, in their order.

    Args:
        file: where; it need not be there yet.
        going_on: whether what is there belongs to the sweep; otherwise it is an earlier one's.
    """

    def __init__(self, file: Path, going_on: bool) -> None:
        self._file = file
        self.entries = list(_read(file)) if going_on else []
        self._write_all()

    def note(self, trial_id: str, result: dict[str, Any], ended: bool) -> None:
        """Adds a result: the numbers of it that a scheduler looks at."""
        entry = {"trial": trial_id, "ended": ended, "result": result}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def keep_only(self, entries: list[dict[str, Any]]) -> None:
        """Forgets what comes again."""
        self.entries = entries
        self._write_all()

    def _write_all(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(entry) + "\n" for entry in self.entries)
        checkpoints.write_whole(self._file, text.encode())


def _read(file: Path) -> Iterable[dict[str, Any]]:
    """The entries of a file that are right; a kill may have cut the last one short."""
    try:
        lines = checkpoints.read_plain(file, MOST_BYTES).splitlines()
    except OSError:
        return
    for line in lines:
        try:
            entry = parse_json(line)
            numbers = {str(key): float(value) for key, value in entry["result"].items()}
            ended = bool(entry["ended"])
            yield {"trial": str(entry["trial"]), "ended": ended, "result": numbers}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue


class Remembering(TrialScheduler):
    """Mixed into one of Tune's schedulers, makes it one that can be resumed.

    Attributes:
        journal: where it remembers; without one it does not.
        met: whether a result ends a trial, whatever the scheduler says.
    """

    journal: Journal | None = None
    met: Callable[[dict[str, Any]], bool] = staticmethod(lambda result: False)
    _recalled = False
    _time_attr: str
    _metric: str

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Notes the result, and decides."""
        self._note(trial, result, ended=False)
        decision: str = super().on_trial_result(controller, trial, result)  # type: ignore[safe-super]
        return decision

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Notes the last result, too."""
        self._note(trial, result, ended=True)
        super().on_trial_complete(controller, trial, result)  # type: ignore[safe-super]

    def choose_trial_to_run(self, controller: Any) -> Any:
        """Before the first trial goes on, looks at what the journal has."""
        if self.journal is not None and not self._recalled:
            self._recalled = True
            self._recall(controller, self.journal)
        return super().choose_trial_to_run(controller)  # type: ignore[safe-super]

    def _note(self, trial: Any, result: dict[str, Any], ended: bool) -> None:
        if self.journal is None:
            return
        keys = {self._time_attr, self._metric, ITERATION}
        numbers = {k: float(result[k]) for k in keys if isinstance(result.get(k), Real)}
        self.journal.note(trial.trial_id, numbers, ended)

    def _recall(self, controller: Any, journal: Journal) -> None:
        trials = {trial.trial_id: trial for trial in controller.get_trials()}
        reached = {name: _reached(trial) for name, trial in trials.items()}
        entries = [
            entry
            for entry in journal.entries
            if entry["result"].get(ITERATION, math.inf) <= reached.get(entry["trial"], -1)
        ]
        doomed, notified = set(), set()
        for entry in entries:
            name = entry["trial"]
            if self.seen_again(controller, trials[name], entry):
                doomed.add(name)
            if entry["ended"]:
                notified.add(name)
        journal.keep_only(entries)
        journal.entries = []
        # What was decided, but not yet done when the sweep was killed.
        for trial in (one for one in trials.values() if one.status == one.PENDING):
            if trial.trial_id in doomed or self.met(trial.last_result or {}):
                self._end(controller, trial, notified=trial.trial_id in notified)

    def _end(self, controller: Any, trial: Any, notified: bool) -> None:
        result = flatten(trial.last_result or {})
        if not notified:
            self.on_trial_complete(controller, trial, result)
        controller.search_alg.on_trial_result(trial.trial_id, result)
        trial.export_formats = []  # its process would do that, and there is none
        controller.stop_trial(trial)

    def seen_again(self, controller: Any, trial: Any, entry: dict[str, Any]) -> bool:
        """Shows the scheduler a result that it has seen; whether the trial ended with it."""
        raise NotImplementedError


def _reached(trial: Any) -> float:
    """The iteration that a trial goes on from; of one that has ended, all have counted."""
    if trial.status in (trial.TERMINATED, trial.ERROR):
        return math.inf
    return float((trial.last_result or {}).get(ITERATION, 0))


class _Deciding(Remembering):
    """Of schedulers that decide by results alone, in their order."""

    def seen_again(self, controller: Any, trial: Any, entry: dict[str, Any]) -> bool:
        """Decides it again."""
        if not entry["ended"]:
            decision = super(Remembering, self).on_trial_result(  # type: ignore[misc]
                controller, trial, entry["result"]
            )
            return bool(decision == self.STOP)
        super(Remembering, self).on_trial_complete(  # type: ignore[misc]
            controller, trial, entry["result"]
        )
        return True


class Asha(_Deciding, AsyncHyperBandScheduler):
    """Asynchronous successive halving whose rungs outlast the process."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Also of a trial that has been completed already."""
        self._trial_info.pop(trial.trial_id, None)


class Median(_Deciding, MedianStoppingRule):
    """The median rule whose running means outlast the process."""


class Synchronised(TrialScheduler):
    """Mixed into PBT: with `synch`, nobody waits for a trial that has failed (in Tune, all do)."""

    _synch: bool
    _perturbation_interval: float
    _trial_state: dict[Any, Any]

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        """Tune counts it among the live ones for good."""
        controller.get_live_trials().discard(trial)
        super().on_trial_error(controller, trial)  # type: ignore[safe-super]

    def choose_trial_to_run(self, controller: Any) -> Any:
        """Where the failed one was the last to be waited for, the others go on as they are."""
        chosen = super().choose_trial_to_run(controller)  # type: ignore[safe-super]
        live = controller.get_live_trials()
        if chosen is None and self._synch and live and all(t.status == t.PAUSED for t in live):
            reached = max(self._trial_state[trial].last_train_time for trial in live)
            self._next_perturbation_sync = reached + self._perturbation_interval
            chosen = super().choose_trial_to_run(controller)  # type: ignore[safe-super]
        return chosen


class Population(Remembering, Synchronised, PopulationBasedTraining):
    """PBT whose scores and clocks outlast the process; draws of new values start over."""

    def seen_again(self, controller: Any, trial: Any, entry: dict[str, Any]) -> bool:
        """Takes over the score and the clocks; what was exploited is in the trial's checkpoint."""
        result, state = entry["result"], self._trial_state[trial]
        if entry["ended"] or not {self._time_attr, self._metric} <= result.keys():
            return bool(entry["ended"])
        time = result[self._time_attr]
        if time < self._burn_in_period:
            return False
        if time - state.last_perturbation_time >= self._perturbation_interval:
            self._save_trial_state(state, time, result, trial)
            state.last_perturbation_time = time
            state.last_checkpoint = trial.checkpoint
            if self._synch:
                due = time + self._perturbation_interval
                known: float = self._next_perturbation_sync  # type: ignore[has-type]
                self._next_perturbation_sync = max(known, due)
        return False
