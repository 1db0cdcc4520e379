"""What a training has come to, as flat numbers; and its second half in a process of its own."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch

from rllib_metarl.algorithms import ALGORITHMS
from rllib_metarl.envs import Bernoulli, Markov, Sessions
from tests.algorithms.small import small_config

ROOT = Path(__file__).resolve().parents[2]
# What depends on the machine's speed or counts what happened to this process alone.
CLOCKS = (
    "trainable_parameters",
    "_since_restore",
    "time",
    "timing",
    "throughput",
    "date",
    "pid",
    "perf/",
    "_runners/sample",
)


class Wandering(gym.Env):
    """A plain env: it walks at random, pays near its target, and ends by chance."""

    def __init__(self, config: Any = None) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.target = np.zeros(1)

    def set_context(self, context: np.ndarray) -> None:
        self.target = context

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.t = self.np_random.normal(size=2), 0
        return self.place.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place += action + 0.1 * self.np_random.normal(size=2)
        self.t += 1
        reward = -float(np.abs(self.place - self.target).sum())
        ended = self.np_random.random() < 0.1
        return self.place.copy(), reward, bool(ended), self.t == 9, {}


class WanderingSessions(Sessions):
    """With a target that changes, so that there are two generators in it."""

    def __init__(self, config: Any = None) -> None:
        dynamics = Markov([0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], [[-1.0], [1.0]])
        super().__init__(Wandering(), Bernoulli(0.3), dynamics)


class Nested(gym.Wrapper):
    """The same with spaces in spaces: it is seen in parts, and its action has two."""

    def __init__(self, config: Any = None) -> None:
        super().__init__(WanderingSessions())
        box, halves = self.env.observation_space, gym.spaces.MultiBinary(2)
        self.observation_space = gym.spaces.Dict(place=box, more=gym.spaces.Tuple((halves,)))
        self.action_space = gym.spaces.Dict(
            way=self.env.action_space, fast=gym.spaces.Tuple((gym.spaces.Discrete(2, start=1),))
        )

    def observation(self, place: Any) -> dict[str, Any]:
        return {"place": place, "more": ((place > 0).astype(np.int8),)}

    def reset(self, **settings: Any) -> tuple[Any, dict[str, Any]]:
        place, info = self.env.reset(**settings)
        return self.observation(place), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        place, *rest = self.env.step(action["way"] * action["fast"][0])
        return self.observation(place), *rest


ENVS = {"wandering": WanderingSessions, "nested": Nested}


def config_of(name: str, env: str) -> Any:
    """A batch is no multiple of what the sub-envs play at once: meta-episodes are cut by it."""
    settings = {"env": ENVS[env], "env_config": {}} if env in ENVS else {}
    config = small_config(name, train_batch_size_per_learner=45, **settings)
    if name != "MAML":  # which begins all of them anew in each iteration
        config.env_runners(num_envs_per_env_runner=7, rollout_fragment_length="auto")
    config.evaluate_every_steps, config.held_out_episodes = 96, 4
    return config


def train(algorithm: Any, iterations: int) -> list[dict[str, float]]:
    """Numbers that each iteration reported, but for clocks."""
    return [told(algorithm.train()) for _ in range(iterations)]


def told(result: dict[str, Any]) -> dict[str, float]:
    """The numbers of a result that do not depend on how fast the machine is."""
    numbers = {key: value for key, value in flat(result).items() if key.split("/")[1] != "config"}
    return {k: v for k, v in numbers.items() if not any(word in k for word in CLOCKS)}


def state_of(algorithm: Any) -> dict[str, Any]:
    """All that the next iteration depends on, by its path."""
    state = algorithm.get_state()
    state["learner"] = algorithm.learner_group._learner.get_state()
    state["acting"] = algorithm.env_runner.module.get_state()
    del state["learner_group"], state["metrics_logger"], state["learner"]["metrics_logger"]
    return flat(state)


def flat(state: Any, prefix: str = "") -> dict[str, Any]:
    """Every array and number of a nested state by its path."""
    if isinstance(state, dict):
        parts = [flat(value, f"{prefix}/{key}") for key, value in state.items()]
        return {key: value for part in parts for key, value in part.items()}
    if isinstance(state, (list, tuple)):
        return flat(dict(enumerate(state)), prefix)
    if isinstance(state, torch.Tensor):
        return {prefix: state.detach().cpu().numpy()}
    if isinstance(state, (bool, int, float, np.ndarray, np.generic)):
        return {prefix: np.asarray(state)}
    return {}


def second_halves(checkpoints: dict[str, Path], iterations: int, address: str) -> dict[str, Any]:
    """Restores checkpoints in a new process and trains on; what each reported and came to.

    Args:
        checkpoints: algorithm's name -> its checkpoint.
        iterations: how many more.
        address: of a Ray that runs.
    """
    told = next(iter(checkpoints.values())).parent / "second.pickle"
    pairs = [word for name, path in checkpoints.items() for word in (name, str(path))]
    words = [sys.executable, "-m", "tests.reliability.resuming", address, iterations, told, *pairs]
    command = [str(word) for word in words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
    return pickle.loads(told.read_bytes())


def main(address: str, iterations: str, told: str, *pairs: str) -> None:
    """The second halves."""
    ray.init(address=address, log_to_driver=False)
    came_to = {}
    for name, checkpoint in zip(pairs[::2], pairs[1::2], strict=True):
        torch.rand(5), np.random.rand(5)  # the new process begins elsewhere
        algorithm = ALGORITHMS[name].algorithm().from_checkpoint(checkpoint)
        came_to[name] = {"reported": train(algorithm, int(iterations))}
        came_to[name]["state"] = state_of(algorithm)
        algorithm.stop()
    Path(told).write_bytes(pickle.dumps(came_to))


if __name__ == "__main__":
    main(*sys.argv[1:])
