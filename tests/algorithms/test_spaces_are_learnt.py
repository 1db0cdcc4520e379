"""A Dict, an image and a MultiDiscrete are learnt from, not just taken."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rllib_metarl.algorithms import ALGORITHMS

F = np.float32


class Grid(gym.Env):
    """Walks to a goal in sight on 7 x 7 cells, 1 for each step on it; four numbers or a picture."""

    size = 7

    def __init__(self, config: dict[str, Any]) -> None:
        self.pixels = config["pixels"]
        self.action_space = spaces.Discrete(5)
        shape = (self.size, self.size, 3)
        numbers = spaces.Box(0, self.size - 1, (4,), F)
        self.observation_space: gym.Space = numbers
        if self.pixels:
            self.observation_space = spaces.Box(0, 255, shape, np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at, self.goal = self.np_random.integers(self.size, size=(2, 2))
        self.t = 0
        return self._observe(), {}

    def step(self, action: int) -> Any:
        moves = np.array([[1, 0], [0, -1], [-1, 0], [0, 1], [0, 0]])
        self.at = np.clip(self.at + moves[action], 0, self.size - 1)
        self.t += 1
        reward = float((self.at == self.goal).all())
        return self._observe(), reward, False, self.t >= 20, {}

    def _observe(self) -> np.ndarray:
        if not self.pixels:
            return np.concatenate([self.at, self.goal]).astype(F)
        picture = np.zeros((self.size, self.size, 3), np.uint8)
        picture[tuple(self.at)][0] = 255
        picture[tuple(self.goal)][1] = 255
        return picture


class Match(gym.Env):
    """Pays for what is shown: a kind and a number in a Dict, or two kinds to be named at once."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.several = config["several"]
        self.action_space: gym.Space = spaces.Discrete(3, start=1)
        if self.several:
            self.action_space = spaces.MultiDiscrete([3, 4])
        second = spaces.Discrete(4) if self.several else spaces.Box(-1, 1, (), F)
        self.observation_space = spaces.Dict(kind=spaces.Discrete(3, start=5), second=second)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        right = np.mean(np.asarray(action) == self.right)
        self.t += 1
        return self._observe(), float(right), False, self.t >= 10, {}

    def _observe(self) -> dict[str, Any]:
        kind = int(self.np_random.integers(3))
        if self.several:
            second: Any = int(self.np_random.integers(4))
            self.right: Any = np.array([kind, second])
        else:
            second = np.array(self.np_random.uniform(-1, 1), F)
            self.right = 1 + (kind if second > 0 else (kind + 1) % 3)
        return {"kind": kind + 5, "second": second}


def _return(env: type[gym.Env], arguments: dict[str, Any], iterations: int) -> float:
    """The greedy return after training."""
    config = ALGORITHMS["BlindPPO"].config()().environment(env, env_config=arguments)
    config.env_runners(num_env_runners=0).debugging(seed=1)
    config.evaluate_every_steps = 0
    algorithm = config.training(policy_hidden=[64, 64]).build_algo()
    for _ in range(iterations):
        algorithm.train()
    result = algorithm.evaluate_held_out()["return_mean"]
    algorithm.stop()
    return float(result)


@pytest.mark.slow
def test_a_grid_in_pixels_is_learnt_as_one_in_numbers() -> None:
    numbers, pixels = (_return(Grid, {"pixels": p}, 25) for p in (False, True))
    assert numbers > 13.0  # of 20 steps 4.6 on average are needed to get there
    assert pixels > 0.8 * numbers


@pytest.mark.slow
def test_a_dict_is_learnt() -> None:
    assert _return(Match, {"several": False}, 15) > 9.0  # of 10; 3.3 by chance


@pytest.mark.slow
def test_a_multi_discrete_is_learnt() -> None:
    assert _return(Match, {"several": True}, 15) > 9.0  # of 10; 2.9 by chance
