"""What counts as a reward: one finite number, of whatever type says so."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_metarl.envs import BatchedEnvs, BrokenEnv, Guard, Stream, Tolerance
from rllib_metarl.envs.core.guard import MOST_NEWS


class Paying(gym.Env):
    """Pays the same at each step."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, reward: Any) -> None:
        self.reward = reward

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), self.reward, False, False, {}


def stepped(reward: Any) -> tuple[Any, Guard]:
    guard = Guard(lambda i: Paying(0.0), Tolerance())
    env = BatchedEnvs([Paying(reward)], guard)
    env.set_stream(Stream(0))
    env.reset()
    return env.step(np.zeros(1, int)), guard


@pytest.mark.parametrize("reward", [2, 2.0, np.float32(2), np.int64(2), np.array(2.0), np.ones(1)])
def test_a_number_of_any_type_is_paid(reward: Any) -> None:
    (_, paid, _, truncated, _), guard = stepped(reward)
    assert paid.tolist() == [float(np.ravel(reward)[0])] and not truncated.any()
    assert not guard.faults


@pytest.mark.parametrize("reward", ["2", None, np.ones(2), [], np.inf, np.nan, np.array("2")])
def test_anything_else_is_told_for_what_it_is(reward: Any) -> None:
    (_, paid, _, truncated, _), guard = stepped(reward)
    assert paid.tolist() == [0.0] and truncated.all() and guard.faults == 1
    assert "gave a reward that is not a finite number" in guard.news[0]


def test_a_meta_episode_that_ended_well_wipes_the_slate_clean() -> None:
    guard = Guard(lambda i: Paying(0.0), Tolerance(most=2))
    for _ in range(3):
        guard.count(0, ValueError("now and then"))
        guard.ended_well()
    guard.count(0, ValueError("one"))
    with pytest.raises(BrokenEnv, match="2 faults in a row"):
        guard.count(0, ValueError("two"))


def test_news_are_kept_up_to_a_limit() -> None:
    guard = Guard(lambda i: Paying(0.0), Tolerance(most=1000))
    for _ in range(MOST_NEWS + 5):
        guard.count(0, ValueError("again"))
    assert len(guard.news) == MOST_NEWS == 20 and guard.faults == 25
