"""Where a resumed sweep finds that a trial has come to its end, the next one has its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.search import SearchGenerator

from rllib_metarl.cli.experiment.space import Parameter, Space
from rllib_metarl.cli.experiment.sweep import Sweep
from rllib_metarl.cli.running.scheduler import trial_scheduler
from rllib_metarl.cli.running.search import search_algorithm
from rllib_metarl.cli.running.sweep_memory import Journal

pytestmark = pytest.mark.usefixtures("shared_ray")  # Tune asks Ray where its files go
SETTINGS: dict[str, dict[str, Any]] = {
    "asha": {"time_attr": "training_iteration", "grace_period": 2, "max_t": 9},
    "median": {"time_attr": "training_iteration", "grace_period": 2},
    "pbt": {"time_attr": "training_iteration", "perturbation_interval": 2, "synch": True},
    "pb2": {"time_attr": "training_iteration", "perturbation_interval": 2, "synch": True},
}


def sweep_of(search: str, scheduler: str) -> Sweep:
    space = Space((Parameter(("lr",), "uniform", low=0.0, high=1.0),))
    compared = {"metric": "m", "max_concurrent": 2}
    return Sweep(space, 4, search, scheduler, SETTINGS[scheduler], **compared)


def controller_of(sweep: Sweep, folder: Path, going_on: bool) -> TuneController:
    """Tune with two trials of four, of which no more may run at once."""
    search, config, samples = search_algorithm(sweep, {"lr": 0.0})
    search = SearchGenerator(search) if sweep.adaptive else search
    place = {"storage_path": str(folder), "export_formats": ["model"]}
    experiment = tune.Experiment(
        "mine", tune.Trainable, config=config, num_samples=samples, **place
    )
    search.add_configurations([experiment])
    journal = Journal(folder / "journal", going_on)
    scheduler = trial_scheduler(sweep, journal, lambda result: result.get("n", 0) >= 9)
    controller = TuneController(search_alg=search, scheduler=scheduler, storage=experiment.storage)
    while (trial := search.next_trial()) is not None:
        controller.add_trial(trial)
    assert len(controller.get_trials()) == 2
    return controller


@pytest.mark.parametrize(
    ("search", "scheduler"),
    [("random", "asha"), ("optuna", "asha"), ("optuna", "median"), ("random", "pbt")],
)
@pytest.mark.parametrize("told", [True, False])
def test_the_next_trial_has_its_place(
    search: str, scheduler: str, told: bool, tmp_path: Path
) -> None:
    sweep = sweep_of(search, scheduler)
    controller = controller_of(sweep, tmp_path, going_on=False)
    ended, other = controller.get_trials()
    ended.run_metadata.last_result = {"training_iteration": 4, "m": 1.0, "n": 9}
    journal = controller.scheduler_alg.journal
    journal.note(ended.trial_id, {"training_iteration": 4.0, "m": 1.0}, ended=told)
    journal.entries = Journal(tmp_path / "journal", going_on=True).entries
    for _ in range(3):
        controller.scheduler_alg.choose_trial_to_run(controller._wrapped())
    assert (ended.status, other.status) == (ended.TERMINATED, other.PENDING)
    following = controller.search_alg.next_trial()
    assert following is not None and controller.search_alg.next_trial() is None


@pytest.mark.parametrize("scheduler", ["pbt", "pb2"])
def test_a_population_does_not_wait_for_one_that_has_failed(scheduler: str, tmp_path: Path) -> None:
    controller = controller_of(sweep_of("random", scheduler), tmp_path, going_on=False)
    kept, failed = controller.get_trials()
    population = controller.scheduler_alg
    assert population.choose_trial_to_run(controller._wrapped()) is not None
    population._trial_state[kept].last_train_time = 2
    population._next_perturbation_sync = 2
    controller._set_trial_status(kept, kept.PAUSED)
    failed.init_local_path()
    controller._set_trial_status(failed, failed.RUNNING)
    assert population.choose_trial_to_run(controller._wrapped()) is None
    controller._process_trial_failure(failed, RuntimeError("no more"))
    assert failed.status == failed.ERROR and failed not in controller.get_live_trials()
    assert population.choose_trial_to_run(controller._wrapped()) is kept
