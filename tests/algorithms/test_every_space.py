"""Every algorithm trains with every space of observations and of actions."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.examples.envs.classes.random_env import RandomEnv
from ray.rllib.utils.test_utils import check_train_results_new_api_stack
from ray.tune.registry import register_env

from rllib_metarl.algorithms import ALGORITHMS
from rllib_metarl.checkpoint import Checkpoint
from rllib_metarl.checkpoints import POLICY
from rllib_metarl.learning.batch import rollout_from_episodes
from rllib_metarl.sampling.stepwise import StepwiseRunner
from tests.algorithms.small import small_config, small_learner, small_runner

F = np.float32
IMAGE = spaces.Box(0, 255, (8, 8, 3), np.uint8)
MIXED = spaces.Dict(
    which=spaces.Discrete(3, start=1),
    how=spaces.Tuple([spaces.Box(-2, 2, (2,), F), spaces.Dict(b=spaces.MultiBinary(2))]),
)
# Observations and actions. RLlib's `check_supported_spaces` has the last six of each.
PAIRS: dict[str, tuple[gym.Space, gym.Space]] = {
    "a Discrete from 1 on, twice": (spaces.Discrete(5, start=1), spaces.Discrete(3, start=1)),
    "MultiDiscrete, MultiBinary": (spaces.MultiDiscrete([3, 4]), spaces.MultiBinary(3)),
    "Box (), twice": (spaces.Box(-1, 1, (), F), spaces.Box(-1, 1, (), F)),
    "Box (4, 5), half-bounded": (spaces.Box(-1, 1, (4, 5), F), spaces.Box(0, np.inf, (2,), F)),
    "image, whole numbers": (IMAGE, spaces.Box(-100, 100, (2,), np.int64)),
    "double, unbounded": (
        spaces.Box(-np.inf, np.inf, (2, 2), np.float64),
        spaces.Box(-np.inf, np.inf, (1, 2), np.float64),
    ),
    "image within a Dict, nested": (
        spaces.Dict(see=spaces.Tuple([IMAGE, spaces.Discrete(2)]), at=spaces.Box(0, 9, (2,), int)),
        MIXED,
    ),
    "RLlib's first": (spaces.MultiBinary([3, 10, 10]), spaces.Discrete(5)),
    "RLlib's second": (spaces.Discrete(5), spaces.Box(-1.0, 1.0, (5,), F)),
    "RLlib's third": (spaces.Box(-1.0, 1.0, (5, 5), F), spaces.Box(0, 3, (2, 3), np.int32)),
    "RLlib's fourth": (
        spaces.Box(-1.0, 1.0, (84, 84, 1), F),
        spaces.MultiDiscrete([1, 2, 3, 4]),
    ),
    "RLlib's fifth": (
        spaces.Tuple([spaces.Discrete(10), spaces.Box(-1.0, 1.0, (5,), F)]),
        spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3), spaces.Box(-1.0, 1.0, (5,), F)]),
    ),
    "RLlib's sixth": (
        spaces.Dict(task=spaces.Discrete(10), position=spaces.Box(-1.0, 1.0, (5,), F)),
        spaces.Dict(
            action_choice=spaces.Discrete(3),
            parameters=spaces.Box(-1.0, 1.0, (1,), F),
            yet_another_nested_dict=spaces.Dict(
                a=spaces.Tuple([spaces.Discrete(2), spaces.Discrete(3)])
            ),
        ),
    ),
}


class Strict(gym.Env):
    """Observes at random for six steps, and takes no action that is not in its space."""

    task_width = 1  # all of its tasks are alike

    def __init__(self, config: dict[str, Any]) -> None:
        self.observation_space, self.action_space = copy.deepcopy(PAIRS[config["pair"]])

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.t = 0
        return self.observation_space.sample(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.t += 1
        reward = float(self.np_random.normal())
        return self.observation_space.sample(), reward, False, self.t >= 6, self._info()

    def _info(self) -> dict[str, Any]:
        labels = {"context": np.array([self.t // 3], F), "session": np.int64(self.t // 3)}
        return labels | {"switched": np.int8(self.t == 3)}


LATENT = {"context": "latent", "train_encoder": True, "forward_updates": 1, "forward_hidden": [8]}
SETTINGS: dict[str, dict[str, Any]] = {name: {} for name in ALGORITHMS} | {
    "LSTMA2C": {"minibatch_size": None, "num_epochs": 1},
    "LSTMA3C": {"minibatch_size": None, "num_epochs": 1},
    "ContextPPO": LATENT,
    "MAME": {"inner_lr": 0.05},
    "MAML": {"inner_lr": 0.05},  # of so few steps a trust region says little
}


def _config(name: str, pair: str, **settings: Any) -> Any:
    own = {"max_env_faults": 0} | SETTINGS[name] | settings
    return small_config(name, env=Strict, env_config={"pair": pair}, **own)


# Fast: each pair with every fourth algorithm, each algorithm with every fourth pair.
EVERY = [
    pytest.param(name, pair, marks=() if (i + j) % 4 == 0 else pytest.mark.slow)
    for i, name in enumerate(ALGORITHMS)
    for j, pair in enumerate(PAIRS)
]


@pytest.mark.parametrize(("name", "pair"), EVERY)
def test_trains_with_every_space(name: str, pair: str) -> None:
    config = _config(name, pair, train_batch_size_per_learner=24, num_epochs=1)
    runner, learner = small_runner(config), small_learner(config)
    before = [p.detach().clone() for p in learner.agent.policy.parameters()]
    report = learner.update(episodes=runner.sample(num_timesteps=24))["default_policy"]
    declared = {key.rpartition("/")[2] for key in config.declared_metrics()}
    names = {"policy_loss", "vf_loss", "entropy", "mean_kl_loss"} & declared
    assert np.isfinite([report[key].peek() for key in names]).all()
    changed = zip(before, learner.agent.policy.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in changed)
    config.held_out(2, 0).play(runner.module)


class Watching(RLlibCallback):
    """Looks at every step, so that RLlib's own EnvRunner takes the fast one's place."""

    def on_episode_step(self, **kwargs: Any) -> None:
        pass


@pytest.mark.parametrize("pair", PAIRS)
def test_rllibs_own_runner_converts_alike(pair: str) -> None:
    config = _config("DynaMITE", pair, train_batch_size_per_learner=24, num_epochs=1)
    config.callbacks(Watching).env_runners(num_envs_per_env_runner=4)
    config.validate()
    torch.manual_seed(0)
    runner = StepwiseRunner(config=config, worker_index=1, num_workers=2)
    learner = small_learner(_config("DynaMITE", pair))
    episodes = runner.sample(num_timesteps=24)
    assert np.shape(episodes[0].get_observations()) == (7, runner.module.observations.size)
    report = learner.update(episodes=episodes)["default_policy"]
    assert np.isfinite(report["vf_loss"].peek())
    # What the fast runner's module would say of the same steps is what was said.
    played = rollout_from_episodes(episodes, runner.module)
    data = played.trajectories
    with torch.no_grad():
        belief = runner.module.encode(data.inputs)
        seen = runner.module.policy_belief(belief)[:, :-1]
        logits = runner.module.act(data.observation[:, :-1], seen)
    log_prob = runner.module.actions.log_prob(logits, played.action)
    torch.testing.assert_close(log_prob, played.log_prob, atol=2e-3, rtol=1e-3)
    runner.stop()


@pytest.mark.parametrize("pair", ["image within a Dict, nested", "RLlib's sixth"])
def test_a_stored_policy_acts_as_the_trained_one(pair: str, tmp_path: Path) -> None:
    register_env("Strict", Strict)
    config = _config("VariBAD", pair).environment("Strict")  # by name: a class is not plain
    algorithm = config.build_algo()
    algorithm.train()
    algorithm.save_to_path(tmp_path)
    held_out = algorithm.make_held_out(3, 0)
    expected = held_out.play(algorithm.env_runner.module)
    algorithm.stop()
    assert (tmp_path / POLICY).is_file()
    stored = Checkpoint.open(tmp_path).module()
    assert (stored.observation_space, stored.action_space) == PAIRS[pair]
    for one, other in zip(expected, held_out.play(stored), strict=True):
        np.testing.assert_array_equal(one.logits, other.logits)
        np.testing.assert_array_equal(one.actions, other.actions)


def test_rllibs_random_env_and_results() -> None:
    observation, action = PAIRS["RLlib's sixth"]
    one = spaces.Box(1.0, 1.0, (), F)
    arguments = {"observation_space": observation, "action_space": action, "reward_space": one}
    checked = arguments | {"p_terminated": 1.0, "check_action_bounds": True}
    config = small_config("RL2", env=RandomEnv, env_config=checked, max_env_faults=0)
    algorithm = config.build_algo()
    check_train_results_new_api_stack(algorithm.train())
    algorithm.stop()
