"""Training with EnvRunners in processes of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from rllib_metarl.algorithms.base import algorithm as implementation
from rllib_metarl.errors import UserError
from tests.algorithms.small import numbers, small_config, small_runner

# A batch on 2 workers of 4 sub-envs is one meta-episode of each sub-env.


def _tasks(episodes: list[Any]) -> list[tuple[float, ...]]:
    contexts = [e.get_extra_model_outputs("context")[:, 0] for e in episodes]
    starts = [e.get_observations(0) for e in episodes]
    pairs = zip(starts, contexts, strict=True)
    return [tuple(np.append(start, context).tolist()) for start, context in pairs]


def _sampled(algorithm: Any) -> dict[int, list[tuple[float, ...]]]:
    """Tasks of the next 24 meta-episodes of each worker."""
    results = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: (runner.worker_index, runner.sample(num_timesteps=144, explore=True)),
        local_env_runner=False,
    )
    return {index: _tasks(episodes) for index, episodes in results}


def _first_tasks(worker_index: int) -> list[tuple[float, ...]]:
    """What a worker of a new run begins with; tasks are drawn whatever is done in them."""
    runner = small_runner(_config(), worker_index)
    return _tasks(runner.sample(num_timesteps=144, explore=True))


def _config() -> Any:
    config = small_config(runners=2)
    config.fault_tolerance(
        restart_failed_env_runners=True,
        env_runner_health_probe_timeout_s=5,
        env_runner_restore_timeout_s=20,
        delay_between_env_runner_restarts_s=0,
    )
    return config


@pytest.fixture(scope="module")
def algorithm(shared_ray: None) -> Iterator[Any]:
    built = _config().build_algo()
    yield built
    built.stop()


def test_two_workers_train_and_share_no_task(algorithm: Any) -> None:
    result = algorithm.train()
    assert result["num_env_steps_sampled_lifetime"] == 48
    assert result["timing"]["env_steps_per_s"] > 0
    assert np.isfinite(list(numbers(result).values())).all()
    assert result["env_runners"]["num_episodes"] == 8
    tasks = _sampled(algorithm)
    assert set(tasks) == {1, 2} and tasks[1] != tasks[2]
    assert len(set(tasks[1]) & set(_first_tasks(1))) >= 12  # so that what follows means something
    assert len(set(tasks[1]) & set(tasks[2])) < 4  # small grid: a few by chance, no stream


def test_workers_and_the_evaluation_act_with_the_newest_weights(algorithm: Any) -> None:
    algorithm.train()
    learnt = algorithm.learner_group._learner.agent
    expected = learnt.policy.output.weight, learnt.normalise_observation.mean
    modules = algorithm.env_runner_group.foreach_env_runner(
        lambda r: (r.module.policy.output.weight.detach(), r.module.normalise_observation.mean),
        local_env_runner=True,
    )
    assert len(modules) == 3
    for weight, mean in modules:
        assert torch.equal(weight, expected[0]) and torch.equal(mean, expected[1])


@pytest.mark.slow
def test_a_resumed_run_goes_on_with_tasks_not_seen_before(algorithm: Any, tmp_path: Path) -> None:
    algorithm.train()
    path = algorithm.save_to_path(str(tmp_path / "checkpoint"))
    resumed = type(algorithm).from_checkpoint(path)
    tasks = _sampled(resumed)
    resumed.stop()
    assert tasks == _sampled(algorithm), "those that the run itself comes to next"
    for worker in (1, 2):
        assert tasks[worker] != _first_tasks(worker)


def test_a_killed_worker_comes_back_with_tasks_of_its_own(algorithm: Any) -> None:
    """Runs last: it leaves the algorithm with a worker restarted."""
    victim = algorithm.env_runner_group._worker_manager.actors()[1]
    ray.kill(victim, no_restart=False)
    deadline = time.time() + 60
    steps = algorithm.env_steps()
    while time.time() < deadline:
        result = algorithm.train()
        if algorithm.env_runner_group.num_healthy_remote_workers() == 2:
            break
    assert result["num_env_steps_sampled_lifetime"] > steps
    assert np.isfinite(list(numbers(result).values())).all()
    tasks = _sampled(algorithm)
    assert set(tasks) == {1, 2}
    assert len(set(tasks[1]) & set(_first_tasks(1))) < 4 and tasks[1] != tasks[2]


def test_training_waits_while_all_workers_start_again(algorithm: Any) -> None:
    """Runs last, as the one before. An iteration is one that has sampled, however long it took."""
    for victim in algorithm.env_runner_group._worker_manager.actors().values():
        ray.kill(victim, no_restart=False)
    steps = algorithm.env_steps()
    for _ in range(3):
        algorithm.train()
        before, steps = steps, algorithm.env_steps()
        assert steps > before


def test_workers_that_never_sample_end_training_with_what_to_do(
    algorithm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs last, as the one before."""
    monkeypatch.setattr(implementation, "STARTING_S", -1000.0)
    monkeypatch.setattr(implementation, "IDLE_PAUSE_S", 0.0)
    monkeypatch.setattr(algorithm, "_idle", 0)
    monkeypatch.setattr(type(algorithm), "sample_and_learn", lambda self: None)
    with pytest.raises(UserError, match="no EnvRunner sampled a step in 5 iterations.*: 0 to see"):
        for _ in range(10):
            algorithm.train()
