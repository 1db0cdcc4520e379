"""Every algorithm trains on every kind of env: discrete or continuous actions, any labels."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit
from ray.tune.registry import register_env

from rllib_metarl.algorithms import ALGORITHMS
from rllib_metarl.envs import IID, Bernoulli, Sessions, Stream
from rllib_metarl.sampling.envs import build_vector
from tests.algorithms.small import numbers, small_config, small_runner


class Reach(gym.Env):
    """A point on a plane is to be moved to a hidden goal."""

    observation_space = gym.spaces.Box(-2.0, 2.0, (2,), np.float32)
    action_space = gym.spaces.Box(-0.5, 0.5, (2,), np.float32)

    def set_context(self, m: np.ndarray) -> None:
        self.goal = m

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place = np.zeros(2, np.float32)
        return self.place.copy(), {}

    def step(self, action: np.ndarray) -> Any:
        self.place = np.clip(self.place + action, -2.0, 2.0).astype(np.float32)
        return self.place.copy(), -float(np.abs(self.place - self.goal).sum()), False, False, {}


def _make() -> gym.Env:
    goals = IID(lambda rng: rng.uniform(-1.0, 1.0, 2))
    return TimeLimit(Sessions(Reach(), Bernoulli(0.2), goals), 6)


ENVS: dict[str, dict[str, Any]] = {
    "DLCMDP/GridWorld-v0": {"size": 3, "horizon": 6},
    "DLCMDP/GridWorldFamily-v0": {"size": 3, "horizon": 6},
    "DLCMDP/GridWorldCycle-v0": {"horizon": 6, "announce": True},
    "VariBAD/GridWorld-v0": {"size": 3, "inner_horizon": 3, "inner_episodes": 2},
    "Bandit/Bernoulli-v0": {"arms": 3, "pulls": 6},
    "TabularMDP/Random-v0": {"states": 3, "actions": 2, "inner_horizon": 3, "inner_episodes": 2},
    "TwoStep-v0": {"rounds": 3},
}
WITHOUT_EPOCHS = {"num_epochs": 1, "minibatch_size": None}
OF_ITS_OWN: dict[str, dict[str, Any]] = {
    "LSTMA2C": WITHOUT_EPOCHS,
    "LSTMA3C": WITHOUT_EPOCHS | {"updates_per_iteration": 2, "train_batch_size_per_learner": 24},
}


def _trains(name: str, env: str, env_config: dict[str, Any]) -> None:
    settings = dict(OF_ITS_OWN.get(name, {}))
    if name == "OraclePPO":
        vector = build_vector(env, 1, env_config, Stream(0))
        settings["context_size"] = vector.reset()[1]["context"].shape[1]
    runners = 2 if name == "LSTMA3C" else 0
    config = small_config(name, env=env, env_config=env_config, runners=runners, **settings)
    algorithm = config.build_algo()
    before = _output(algorithm)
    report = numbers(algorithm.train())
    after = _output(algorithm)
    steps = algorithm.env_steps()
    algorithm.stop()
    assert steps >= 48 and np.isfinite(list(report.values())).all()
    assert not np.array_equal(before, after)


def _output(algorithm: Any) -> np.ndarray:
    """Weights and biases: where nothing is ever seen, a policy without belief moves the latter."""
    output = algorithm.env_runner.module.policy.output
    return np.append(output.weight.detach().numpy(), output.bias.detach().numpy())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_trains_where_actions_are_vectors(name: str, shared_ray: None) -> None:
    register_env("Reach", lambda _: _make())  # into the session that is there now
    _trains(name, "Reach", {})


def test_a_gaussian_policy_starts_from_the_standard_deviation_asked_for(shared_ray: None) -> None:
    register_env("Reach", lambda _: _make())
    config = small_config("DynaMITE", env="Reach", policy_init_std=0.2)
    assert _spread_of_actions(small_runner(config)) == pytest.approx(0.2, rel=0.1)


def test_a_gaussian_policy_stays_above_its_least_standard_deviation(shared_ray: None) -> None:
    register_env("Reach", lambda _: _make())
    schedule = [[0, 0.2], [3000, 0.2], [4000, 0.1]]  # measuring takes 2000 steps
    config = small_config("DynaMITE", env="Reach", policy_init_std=0.5, policy_min_std=schedule)
    algorithm = config.build_algo()
    runner = algorithm.env_runner
    assert _spread_of_actions(runner) == pytest.approx(0.5, rel=0.1)
    for least in (0.2, 0.1):
        algorithm.train()
        with torch.no_grad():  # as far down as a policy can be driven
            runner.module.policy.output.bias[runner.module.action_width :] = -100.0
        assert _spread_of_actions(runner) == pytest.approx(least, rel=0.15)
    algorithm.stop()


def test_a_gaussian_policy_stays_below_its_greatest_standard_deviation(shared_ray: None) -> None:
    register_env("Reach", lambda _: _make())
    config = small_config("DynaMITE", env="Reach", policy_init_std=0.3, policy_max_std=0.4)
    runner = small_runner(config)
    module = runner.module
    assert _spread_of_actions(runner) == pytest.approx(0.3, rel=0.1)
    with torch.no_grad():  # as far up as an entropy bonus pushes in a long run
        module.policy.output.bias[module.action_width :] = 5.0
    assert _spread_of_actions(runner) == pytest.approx(0.4, rel=0.1)
    module.act(torch.zeros(1, 2), torch.zeros(1, module.belief_size))[0, -1].backward()
    assert module.policy.output.bias.grad[-1] > 0.0  # it can still come down


def _spread_of_actions(runner: Any) -> np.ndarray:
    episodes = runner.sample(num_timesteps=2000, explore=True)
    return np.std(np.concatenate([episode.actions for episode in episodes]), 0)


@pytest.mark.slow
@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithm_trains_on_an_env(name: str, env: str, shared_ray: None) -> None:
    _trains(name, env, ENVS[env])
