"""A sweep by HyperBand comes to its end, whatever became of a trial that others wait for."""

from __future__ import annotations

import random
from typing import Any

import pytest
from ray.tune.experiment import Trial as TunesTrial
from ray.tune.schedulers import HyperBandScheduler

from rllib_metarl.cli.running.brackets import Brackets

END = 9


class Trial:
    """As much of a trial as the scheduler looks at."""

    PENDING, RUNNING, PAUSED = TunesTrial.PENDING, TunesTrial.RUNNING, TunesTrial.PAUSED
    TERMINATED, ERROR = TunesTrial.TERMINATED, TunesTrial.ERROR
    is_saving = False

    def __init__(self, number: int, status: str = PENDING, iteration: int = 0) -> None:
        self.trial_id, self.status, self.iteration = str(number), status, iteration

    def is_finished(self) -> bool:
        return self.status in (self.TERMINATED, self.ERROR)


class Tune:
    """Steps trials as Tune does: those that are pending, and of the paused those that may."""

    def __init__(self, trials: list[Trial], max_t: int = END, kind: Any = Brackets) -> None:
        self.scheduler = kind(metric="m", mode="max", max_t=max_t, reduction_factor=3)
        self.trials = trials
        for trial in trials:
            self.scheduler.on_trial_add(self, trial)

    def stop_trial(self, trial: Trial) -> None:
        running, trial.status = trial.status == trial.RUNNING, trial.TERMINATED
        if running:
            self.scheduler.on_trial_complete(self, trial, {})
        else:
            self.scheduler.on_trial_remove(self, trial)

    def fail(self, trial: Trial) -> None:
        trial.status = trial.ERROR
        self.scheduler.on_trial_error(self, trial)

    def step(self, rng: random.Random, failing: float = 0.0) -> bool:
        """One iteration of one trial; False where none can run."""
        for _ in range(3):
            chosen = self.scheduler.choose_trial_to_run(self)
            if chosen is not None:
                chosen.status = chosen.RUNNING
        for trial in self.trials:
            trial.status = trial.RUNNING if trial.status == trial.PENDING else trial.status
        running = [trial for trial in self.trials if trial.status == trial.RUNNING]
        if not running:
            return False
        trial = rng.choice(running)
        if rng.random() < failing:
            self.fail(trial)
            return True
        trial.iteration += 1
        if trial.iteration >= END:
            self.stop_trial(trial)
            return True
        result = {"training_iteration": trial.iteration, "m": rng.random()}
        decision = self.scheduler.on_trial_result(self, trial, result)
        if decision == self.scheduler.STOP:
            self.stop_trial(trial)
        elif decision == self.scheduler.PAUSE:
            trial.status = trial.PAUSED
        return True

    def run(self, rng: random.Random, steps: int = 10_000, failing: float = 0.0) -> None:
        while steps and not all(trial.is_finished() for trial in self.trials):
            assert self.step(rng, failing), f"waits forever: {[t.status for t in self.trials]}"
            steps -= 1


def resumed(trials: list[Trial]) -> list[Trial]:
    """The trials of the next process: Tune begins again with all that have not ended."""
    return [
        Trial(number, one.status if one.is_finished() else one.PENDING, one.iteration)
        for number, one in enumerate(trials)
    ]


@pytest.mark.parametrize("max_t", [END, 5])
@pytest.mark.parametrize("failing", [0.0, 0.05])
def test_every_trial_ends(max_t: int, failing: float) -> None:
    for seed in range(60):
        rng = random.Random(seed)
        tune = Tune([Trial(number) for number in range(11)], max_t)
        for kill in range(seed % 4):
            tune.run(rng, 1 + rng.randrange(40 * (kill + 1)), failing)
            tune = Tune(resumed(tune.trials), max_t)
        tune.run(rng, failing=failing)
        assert all(trial.is_finished() for trial in tune.trials)


def test_a_sweep_left_alone_is_halved_as_by_tunes_own() -> None:
    for seed in range(10):
        runs = []
        for kind in (Brackets, HyperBandScheduler):
            tune = Tune([Trial(number) for number in range(17)], kind=kind)
            tune.run(random.Random(seed))
            runs.append([trial.iteration for trial in tune.trials])
        assert runs[0] == runs[1] and sorted(set(runs[0])) == [1, 3, END]


@pytest.mark.parametrize("failing", [0.0, 0.05])
def test_tunes_own_waits_for_ever(failing: float) -> None:
    """What the other tests hold against."""
    with pytest.raises(AssertionError, match="waits forever"):
        for seed in range(60):
            rng = random.Random(seed)
            tune = Tune([Trial(number) for number in range(11)], kind=HyperBandScheduler)
            tune.run(rng, 40, failing)
            Tune(resumed(tune.trials), kind=HyperBandScheduler).run(rng)
