"""A checkpoint holds everything: what is learnt goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from tests.algorithms.small import numbers, small_config


def _flat(state: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Every array and number of a nested state by its path."""
    if isinstance(state, dict):
        parts = [_flat(value, f"{prefix}/{key}") for key, value in state.items()]
        return {key: value for part in parts for key, value in part.items()}
    if isinstance(state, (list, tuple)):
        return _flat(dict(enumerate(state)), prefix)
    if isinstance(state, torch.Tensor):
        return {prefix: state.detach().cpu().numpy()}
    return {prefix: np.asarray(state)} if isinstance(state, (int, float, np.ndarray)) else {}


def _learner(algorithm: Any) -> Any:
    return algorithm.learner_group._learner


def _episodes(algorithm: Any, steps: int = 144) -> list[Any]:
    return algorithm.env_runner.sample(num_timesteps=steps, explore=True)


@pytest.fixture(scope="module", params=["DynaMITE", "HLTDynaMITE", "RL2", "OraclePPO"])
def saved(
    request: pytest.FixtureRequest, driver_ray: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Path, dict[str, np.ndarray], list[Any]]]:
    """A trained algorithm, its checkpoint, its learner's state, a new run's first episodes."""
    algorithm = small_config(request.param).build_algo()
    first = small_config(request.param).build_algo()
    episodes = _episodes(first, steps=96)  # as many as the saved one has seen
    first.stop()
    for _ in range(2):
        algorithm.train()
    path = tmp_path_factory.mktemp("run") / "checkpoint_000000"
    algorithm.save_to_path(str(path))
    state = _flat(_learner(algorithm).get_state())
    yield algorithm, path, state, episodes
    algorithm.stop()


@pytest.fixture
def restored(saved: Any) -> Iterator[Any]:
    algorithm = type(saved[0]).from_checkpoint(str(saved[1]))
    yield algorithm
    algorithm.stop()


def test_the_learner_is_restored_to_the_last_number(saved: Any, restored: Any) -> None:
    expected, got = saved[2], _flat(_learner(restored).get_state())
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(value, got[key], err_msg=key)
    wanted = [
        "default_policy_policy/state/state/0/exp_avg",
        "default_policy_value/state/state/0/exp_avg",
        "normalise_observation.mean",
        "value.std",
        "learner_extras/generator",
    ]
    if "DynaMITE" in type(restored).__name__:
        wanted += ["learner_extras/noise", "extras/buffer/storage/reward", "buffer/generator"]
        wanted += [
            "normalise_belief.std",
            "default_policy_vae/state/state/0/exp_avg",
            "session_prior.net.0.weight",
        ]
    for name in wanted:
        assert any(name in key for key in got), name


def test_the_count_of_steps_and_iterations_goes_on(saved: Any, restored: Any) -> None:
    assert restored.env_steps() == 96 and restored.iteration == 2
    for _ in range(2):
        result = restored.train()
    assert result["num_env_steps_sampled_lifetime"] == 192
    assert result["training_iteration"] == 4
    values = numbers(result)
    assert np.isfinite(list(values.values())).all()
    if "vae_buffer_episodes" in values:
        assert values["vae_buffer_episodes"] == 20  # 32 meta-episodes in a buffer of 20


def test_what_comes_next_is_not_a_replay_of_what_came_first(saved: Any, restored: Any) -> None:
    starts = [
        {
            tuple(np.append(e.get_observations(0), e.get_extra_model_outputs("context")))
            for e in episodes
        }
        for episodes in (saved[3], _episodes(restored))
    ]
    assert len(starts[0] & starts[1]) < 4  # small grid: a few by chance


def test_two_restored_algorithms_learn_the_same(saved: Any, restored: Any) -> None:
    other = type(saved[0]).from_checkpoint(str(saved[1]))
    for algorithm in (restored, other):
        algorithm.train()
    states = [_flat(_learner(a).get_state()) for a in (restored, other)]
    other.stop()
    for key, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][key], err_msg=key)


def test_schedules_go_on_where_they_were(driver_ray: None, tmp_path: Path) -> None:
    config = small_config(
        lr=[[0, 0.1], [480, 0.0]], vae_lr=[[0, 0.2], [480, 0.0]], entropy_coeff=[[0, 0.1], [480, 0]]
    )
    config.evaluate_every_steps, config.held_out_episodes = 96, 4
    algorithm = config.build_algo()
    for _ in range(2):
        algorithm.train()
    path = algorithm.save_to_path(str(tmp_path / "checkpoint"))
    in_force = _learner(algorithm).entropy_coeff_schedulers_per_module
    in_force = float(in_force[DEFAULT_MODULE_ID].get_current_value())
    evaluation = algorithm._newest_evaluation
    uninterrupted = numbers(algorithm.train())
    algorithm.stop()
    resumed = type(algorithm).from_checkpoint(path)
    schedules = _learner(resumed).entropy_coeff_schedulers_per_module
    assert float(schedules[DEFAULT_MODULE_ID].get_current_value()) == pytest.approx(in_force)
    assert in_force == pytest.approx(0.08)
    assert resumed._newest_evaluation == evaluation and evaluation["at_env_steps"] == 96
    values = numbers(resumed.train())
    resumed.stop()
    for key in ("policy_learning_rate", "vae_learning_rate", "curr_entropy_coeff"):
        assert values[key] == pytest.approx(uninterrupted[key]), key
    assert values["curr_entropy_coeff"] == pytest.approx(0.07)
