"""A sweep that was killed prunes what one left alone prunes: its scheduler remembers."""

from __future__ import annotations

import itertools
import os
import random
from pathlib import Path
from typing import Any

import pytest
from ray.tune.schedulers.pbt import _PBTTrialState

from rllib_metarl.cli.running.sweep_memory import Asha, Journal, Median, Population, Remembering

STEPS = 9
TRIALS = 8
MADE = {
    "asha": lambda: Asha(
        metric="m", mode="max", time_attr="t", grace_period=1, max_t=STEPS, reduction_factor=2
    ),
    "median": lambda: Median(metric="m", mode="max", time_attr="t", grace_period=1),
}


class Trial:
    """As much of a trial as a scheduler looks at."""

    PENDING, RUNNING, TERMINATED, ERROR = "PENDING", "RUNNING", "TERMINATED", "ERROR"
    checkpoint = "checkpoint"
    experiment_tag = ""
    config: dict[str, Any] = {}

    def __init__(self, name: str) -> None:
        self.trial_id, self.status = name, self.PENDING
        self.last_result: dict[str, float] = {}

    def __hash__(self) -> int:
        return hash(self.trial_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trial) and self.trial_id == other.trial_id


class Killed(Exception):
    """The driver's end."""


class Sweep:
    """Trials one after the other, each step a result and then a checkpoint, as Tune runs them."""

    def __init__(self, scheduler: Remembering, file: Path, statuses: dict[str, Any]) -> None:
        self.scheduler = scheduler
        scheduler.met = lambda result: result.get("t", 0) >= STEPS
        scheduler.journal = Journal(file, going_on=bool(statuses))
        self.trials = [Trial(str(i)) for i in range(TRIALS)]
        self.search_alg = self
        for trial in self.trials:
            trial.status, trial.last_result = statuses.get(trial.trial_id, (trial.PENDING, {}))
            scheduler.on_trial_add(self, trial)

    def get_trials(self) -> list[Trial]:
        return self.trials

    get_live_trials = get_trials

    def on_trial_result(self, trial_id: str, result: Any) -> None:
        """Of the search algorithm."""

    def stop_trial(self, trial: Trial) -> None:
        if trial.status == trial.PENDING:
            self.scheduler.on_trial_remove(self, trial)
        else:
            self.scheduler.on_trial_complete(self, trial, trial.last_result)
        trial.status = trial.TERMINATED

    def run(self, kept: dict[str, Any], kill_after: int) -> None:
        """Until all have ended, or so many operations are done; `kept` is what is on the disk."""
        left = kill_after

        def operation() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        self.scheduler.choose_trial_to_run(self)
        for trial in self.trials:
            while trial.status != trial.TERMINATED:
                trial.status = trial.RUNNING
                step = trial.last_result.get("t", 0) + 1
                result = {"t": step, "m": value(trial, step), "training_iteration": step}
                trial.last_result = result
                if step == STEPS:
                    kept[trial.trial_id] = (trial.PENDING, result)  # checkpoint at the end
                    operation()
                    self.stop_trial(trial)
                else:
                    decision = self.scheduler.on_trial_result(self, trial, result)
                    operation()
                    kept[trial.trial_id] = (trial.PENDING, result)
                    operation()
                    if decision == self.scheduler.STOP:
                        self.stop_trial(trial)
                operation()
                if trial.status == trial.TERMINATED:
                    kept[trial.trial_id] = (trial.TERMINATED, result)


def value(trial: Trial, step: int) -> float:
    """A learning curve; curves cross."""
    rng = random.Random(int(trial.trial_id))
    return rng.random() * step + 3 * rng.random()


def reached(kept: dict[str, Any]) -> dict[str, float]:
    return {name: result["t"] for name, (_, result) in kept.items()}


@pytest.mark.parametrize("kind", MADE)
def test_killed_at_any_point_the_same_trials_are_pruned(kind: str, tmp_path: Path) -> None:
    alone: dict[str, Any] = {}
    Sweep(MADE[kind](), tmp_path / "alone", {}).run(alone, 10_000)
    assert len(set(reached(alone).values())) > 1, "some are pruned and some are not"
    for kill in itertools.count(1, 4):
        kept: dict[str, Any] = {}
        file = tmp_path / str(kill)
        try:
            Sweep(MADE[kind](), file, {}).run(kept, kill)
            break
        except Killed:
            Sweep(MADE[kind](), file, dict(kept)).run(kept, 10_000)
        assert reached(kept) == reached(alone), kill
    assert kill > 60


@pytest.mark.parametrize("kind", MADE)
def test_killed_thirty_times(kind: str, tmp_path: Path) -> None:
    alone: dict[str, Any] = {}
    Sweep(MADE[kind](), tmp_path / "alone", {}).run(alone, 10_000)
    rng, kept, kills = random.Random(0), {}, 0
    while kills < 30:
        try:
            Sweep(MADE[kind](), tmp_path / "killed", dict(kept)).run(kept, 1 + rng.randrange(4))
            break
        except Killed:
            kills += 1
    Sweep(MADE[kind](), tmp_path / "killed", dict(kept)).run(kept, 10_000)
    assert kills >= 20 and reached(kept) == reached(alone)


def test_without_its_memory_it_prunes_others(tmp_path: Path) -> None:
    """What the other tests hold against."""
    alone: dict[str, Any] = {}
    Sweep(MADE["asha"](), tmp_path / "alone", {}).run(alone, 10_000)
    unlike = 0
    for kill in range(1, 60, 6):
        kept: dict[str, Any] = {}
        with pytest.raises(Killed):
            Sweep(MADE["asha"](), tmp_path / str(kill), {}).run(kept, kill)
        Sweep(MADE["asha"](), tmp_path / f"{kill}-other", dict(kept)).run(kept, 10_000)
        unlike += reached(kept) != reached(alone)
    assert unlike


def test_a_population_knows_the_scores_of_the_others_again(tmp_path: Path) -> None:
    def made() -> Population:
        return Population(
            *("t", "m", "max"),
            perturbation_interval=2,
            hyperparam_mutations={"lr": [1.0, 2.0]},
            require_attrs=False,
        )

    file, trial = tmp_path / "journal", Trial("0")
    first = made()
    first.journal = Journal(file, going_on=False)
    for step in (1.0, 2.0, 3.0, 4.0):
        first._note(trial, {"t": step, "m": 10 * step, "training_iteration": step}, ended=False)
    trial.last_result = {"training_iteration": 3}
    second = made()
    second.journal = Journal(file, going_on=True)
    controller = Sweep.__new__(Sweep)
    controller.trials, controller.search_alg = [trial], None
    second._trial_state[trial] = _PBTTrialState(trial)
    second._recall(controller, second.journal)
    state = second._trial_state[trial]
    assert (state.last_score, state.last_perturbation_time) == (20.0, 2.0)
    assert state.last_checkpoint == "checkpoint"


def test_a_damaged_journal_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    journal = Journal(file, going_on=False)
    journal.note("0", {"t": 1.0, "m": 2.0}, ended=False)
    with file.open("ab") as opened:
        opened.write(b'{"trial": 1}\n[[[\n{"trial": "0", "result": {"t": "x"}, "ended": 0}\n{"tr')
    assert [entry["result"] for entry in Journal(file, True).entries] == [{"t": 1.0, "m": 2.0}]
    assert not Journal(file, going_on=False).entries


def test_a_journal_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "journal")
    journal = Journal(tmp_path / "journal", going_on=True)
    journal.note("0", {"t": 1.0, "m": 2.0}, ended=False)
    assert len(Journal(tmp_path / "journal", going_on=True).entries) == 1
