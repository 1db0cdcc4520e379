"""The TensorBoard callback on trials of a sweep."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from ray.train._internal.storage import StorageContext
from ray.tune.experiment import Trial

from rllib_metarl.report import tensorboard
from rllib_metarl.report.tensorboard import TensorBoard
from tests.cli.tensorboard_server import serving

pytestmark = pytest.mark.usefixtures("shared_ray")  # a trial asks Ray where its files go


def trial_of(folder: Path, number: int, searched: dict[str, Any]) -> Trial:
    """A trial of a sweep as Tune makes it, with its results in ``folder``."""
    storage = StorageContext(str(folder), "sweep", trial_dir_name=f"trial_{number}")
    return Trial(
        "DynaMITE",
        stub=True,
        config={"seed": number, "gamma": 0.9, **searched},
        evaluated_params=searched,
        trial_id=f"t{number}",
        storage=storage,
    )


def test_a_sweep_is_compared_by_its_searched_settings(tmp_path: Path) -> None:
    callback = TensorBoard()
    places = []
    for number, (lr, schedule) in enumerate([(0.1, [[0, 1.0], [9, 0.5]]), (0.2, None)]):
        searched = {"lr": lr, "model": {"entropy_coeff": schedule}}
        trial = trial_of(tmp_path, number, searched)
        result = {
            "num_env_steps_sampled_lifetime": 100,
            "evaluation": {"return_mean": 10.0 * lr, "at_env_steps": 100},
        }
        callback.log_trial_result(1, trial, result)
        callback.log_trial_end(trial)
        places.append(Path(trial.local_path))
    with serving(places[0].parent) as served:
        groups = {group["hparams"]["seed"]: group for group in served.session_groups(2)}
    assert groups[0.0]["hparams"] == {
        "algorithm": "DynaMITE",
        "seed": 0.0,
        "lr": 0.1,
        "model/entropy_coeff": "[[0, 1.0], [9, 0.5]]",
    }
    assert groups[1.0]["hparams"] == {"algorithm": "DynaMITE", "seed": 1.0, "lr": 0.2}
    values = {seed: group["metricValues"][0]["value"] for seed, group in groups.items()}
    assert values == pytest.approx({0.0: 1.0, 1.0: 2.0})


def test_what_goes_wrong_while_drawing_is_told_at_the_end(tmp_path: Path) -> None:
    callback, trial = TensorBoard(), trial_of(tmp_path, 0, {})
    result = {"num_env_steps_sampled_lifetime": 1, "evaluation": {"snapshot": {"entropy": {}}}}
    callback.log_trial_result(1, trial, result)
    with pytest.raises(KeyError, match="meta_episode"):
        callback.log_trial_end(trial)


def test_evaluations_faster_than_their_pictures_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They once held up the end of a trial, and so a sweep, by minutes."""
    gate, drawn = threading.Event(), []

    def draw(writer: Any, folder: Path, snapshot: dict[str, Any], step: int) -> None:
        assert gate.wait(60)
        drawn.append((snapshot["of"], step))

    monkeypatch.setattr(tensorboard, "draw", draw)
    callback, trials = TensorBoard(), [trial_of(tmp_path, number, {}) for number in range(3)]
    for step in range(1, 41):
        for number, trial in enumerate(trials):
            evaluation = {"at_env_steps": step, "snapshot": {"of": number}}
            result = {"num_env_steps_sampled_lifetime": step, "evaluation": evaluation}
            callback.log_trial_result(step, trial, result)
    gate.set()
    for trial in trials:
        callback.log_trial_end(trial)
    assert len(drawn) <= 1 + len(trials)
    assert dict(drawn) == {0: 40, 1: 40, 2: 40}, "the last evaluation of each is drawn"
