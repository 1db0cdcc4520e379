"""A user's own environment, named in a file, works on remote workers with RLlib's own PPO."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import finish, start

PLUGIN = """
import gymnasium as gym
import numpy as np


class Corridor(gym.Env):
    observation_space = gym.spaces.Box(0.0, 1.0, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length=4):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = self.length
        return np.ones(1, np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.ones(1, np.float32), 1.0, self.left == 0, False, {}


gym.register("CorridorOfATest-v0", Corridor)
"""
FILE = """
plugins: [corridor_of_a_test]
corridor:
  run: PPO
  env: CorridorOfATest-v0
  stop: {training_iteration: 1}
  config:
    env_config: {length: 5}
    num_env_runners: 1
    train_batch_size_per_learner: 40
    minibatch_size: 20
    num_epochs: 1
"""


@pytest.fixture(scope="module")
def trained(folder: Path):
    (folder / "corridor_of_a_test.py").write_text(PLUGIN)
    (folder / "corridor.yaml").write_text(FILE)
    return finish(
        start(
            *("train", "file", folder / "corridor.yaml", "--storage-path", folder / "results"),
            *("--json", folder / "summary.json"),
        )
    )


def test_the_environment_is_known_on_the_worker(trained, folder):
    assert trained.code == 0, trained.err
    summary = json.loads((folder / "summary.json").read_text())
    # Reward 1 in each of the 5 steps: env_config has arrived too.
    assert summary["return_mean"] == 5.0
    assert summary["normalised_score"] is None


@pytest.mark.slow
def test_evaluating_rllibs_own_algorithm(trained, folder):
    ended = finish(
        start(
            *("evaluate", folder / "results", "--episodes", 3, "--plugin", "corridor_of_a_test"),
            *("--json", folder / "evaluation.json"),
            cwd=folder,
        )
    )
    assert ended.code == 0, ended.err
    result = json.loads((folder / "evaluation.json").read_text())
    assert (result["run"], result["episodes"], result["return_mean"]) == ("PPO", 3, 5.0)


@pytest.mark.slow
def test_a_trial_that_asks_for_too_much_is_refused_instead_of_waiting(folder):
    ended = finish(
        start(
            *("train", "file", folder / "corridor.yaml", "--storage-path", folder / "results"),
            *("--config", '{"num_env_runners": 9}', "--ray-num-cpus", 2),
        )
    )
    assert ended.code == 2
    assert "needs 10 CPU and Ray has 2" in ended.err


@pytest.mark.slow
def test_grid_and_samples_make_trials(folder):
    ended = finish(
        start(
            *("train", "file", folder / "corridor.yaml", "--storage-path", folder / "grid"),
            *("--config", '{"lr": {"grid_search": [0.1, 0.01]}, "num_env_runners": 0}'),
            *("--json", folder / "grid.json"),
        )
    )
    assert ended.code == 0, ended.err
    summary = json.loads((folder / "grid.json").read_text())
    assert len(summary["trials"]) == 2
    assert summary["env_steps"] == sum(trial["env_steps"] for trial in summary["trials"])
