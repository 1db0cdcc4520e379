"""A simulator may take vectors for actions: what a batched physics engine would stand behind."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from rllib_metarl.envs import DLCMDPEnv, DLCMDPVectorEnv, Simulator, Stream


class Points(Simulator):
    """N points that are pushed around; the hidden context is the side that pays."""

    uniforms_per_episode = 1

    def __init__(self, num_envs: int):
        self.num_envs = num_envs
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.at = np.zeros((num_envs, 2))
        self.side, self.t = np.ones(num_envs), np.zeros(num_envs, np.int64)

    def begin(self, rows, uniforms):
        self.at[rows], self.t[rows] = 0.0, 0
        self.side[rows] = np.where(uniforms[:, 0] < 0.5, -1.0, 1.0)

    def advance(self, actions):
        assert actions.dtype == np.float32  # all rows at once, in the type the engine takes
        self.at = self.at + actions
        self.t += 1
        return self.side * self.at[:, 0], np.zeros(self.num_envs, bool), self.t >= 3

    def observe(self):
        return self.at.astype(np.float32)

    def labels(self):
        none = np.zeros(self.num_envs, np.int64)
        context = self.side[:, None].astype(np.float32)
        return {"context": context, "session": none, "switched": none.astype(np.int8)}


def test_one_call_moves_every_row_and_agrees_with_the_single_env():
    env = DLCMDPVectorEnv(Points(4))
    single = DLCMDPEnv(Points(1))
    observations, infos = env.reset(seed=3)
    single.reset(seed=5)  # sub-env 2
    assert env.action_space.shape == (4, 2)
    rng = np.random.default_rng(0)
    for step in range(3):
        actions = rng.uniform(-1, 1, (4, 2))
        _, rewards, _, truncated, infos = env.step(actions)
        _, reward, _, ended, _ = single.step(actions[2])
        assert rewards[2] == pytest.approx(reward) and truncated.all() == ended == (step == 2)
    assert "final_obs" in infos and np.any(infos["final_obs"] != 0)


def test_the_native_env_draws_from_its_streams():
    env = DLCMDPVectorEnv(Points(64))
    env.set_stream(Stream(0))
    assert set(env.reset()[1]["context"][:, 0]) == {-1.0, 1.0}


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros(4), r"actions have shape \(4,\).*give numbers of shape \(4, 2\)"),
        (np.full((4, 2), "up"), "give numbers of shape"),
        (np.full((4, 2), np.nan), "actions hold nan; give finite numbers"),
    ],
)
def test_actions_that_cannot_be_taken_are_named(actions, message):
    env = DLCMDPVectorEnv(Points(4))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(actions)
