"""Environments of other conventions become DLCMDPs through a thin adapter."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_metarl.envs import IID, BatchedEnvs, FixedLength, Sessions, Stream
from rllib_metarl.envs.adapt import DictContexts


class Cart(gym.Env):
    """Rewards say what its physics are."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    mass, gravity = 1.0, 9.8

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(2, np.float32), self.mass + 100 * self.gravity, False, False, {}


class Contextual(gym.Wrapper):
    """Contexts as dicts: one after the other, at each reset, shown beside the observation."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.context: dict[str, Any] = {"mass": 1.0, "gravity": 9.8, "surface": "ice"}
        box = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.observation_space = gym.spaces.Dict(
            obs=env.observation_space, context=gym.spaces.Dict(mass=box, gravity=box)
        )

    def _update_context(self) -> None:
        for name in ("mass", "gravity"):
            setattr(self.env, name, self.context[name])

    def _both(self, observation: Any) -> dict[str, Any]:
        shown = {key: np.array([self.context[key]], np.float32) for key in ("mass", "gravity")}
        return {"obs": observation, "context": shown}

    def reset(self, **settings: Any) -> Any:
        self.context = {**self.context, "mass": 5.0, "gravity": 1.0}
        self._update_context()
        observation, info = self.env.reset(**settings)
        return self._both(observation), {**info, "context": self.context}

    def step(self, action: Any) -> Any:
        observation, *rest, info = self.env.step(action)
        return self._both(observation), *rest, {**info, "context": self.context}


def _draw(rng: np.random.Generator) -> Any:
    return rng.integers(1, 9, size=2)


def test_contexts_that_are_dicts_change_between_sessions_and_are_hidden() -> None:
    def make() -> gym.Env:
        env = DictContexts(gym.wrappers.OrderEnforcing(Contextual(Cart())))
        return gym.wrappers.TimeLimit(Sessions(env, FixedLength(2), IID(_draw)), 5)

    env = BatchedEnvs([make() for _ in range(3)])
    assert env.single_observation_space == Cart.observation_space
    env.set_stream(Stream(0))
    _, infos = env.reset()
    for _ in range(12):  # resets, after which the env has chosen another one, among them
        gravity, mass = infos["context"].T
        _, rewards, _, _, infos = env.step(np.zeros(3, int))
        np.testing.assert_array_equal(rewards, mass + 100 * gravity)
    assert infos["context"].shape == (3, 2) and len(np.unique(infos["context"], axis=0)) == 3


def test_a_context_that_comes_with_the_first_reset_is_known_before_it() -> None:
    """As CARL has it: none until a reset chooses one of `contexts`."""

    class Choosing(Contextual):
        def __init__(self, env: gym.Env) -> None:
            super().__init__(env)
            self.contexts, self.context = {0: {"mass": 1.0, "gravity": 9.8}}, None

        def reset(self, **settings: Any) -> Any:
            self.context = {"mass": 1.0, "gravity": 9.8}
            return super().reset(**settings)

    env = DictContexts(Choosing(Cart()))
    assert env.reset(seed=0)[1]["context"].tolist() == [1.0, 5.0]
    env = DictContexts(Choosing(Cart()))
    env.set_context([2.0, 3.0])
    assert env.reset(seed=0)[1]["context"].tolist() == [2.0, 3.0]
    assert env.step(0)[1] == 3.0 + 200.0 and env.step(0)[-1]["context"].tolist() == [2.0, 3.0]


def test_the_other_entries_keep_their_values() -> None:
    env = DictContexts(Contextual(Cart()), ["gravity"])
    env.set_context([2.0])
    env.reset(seed=0)
    assert env.step(0)[1] == 5.0 + 200.0
    with pytest.raises(ValueError, match="zip"):
        env.set_context([1.0, 2.0])


def test_without_adapter_the_label_is_the_dict_by_sorted_keys() -> None:
    class Numbers(Contextual):
        def reset(self, **settings: Any) -> Any:
            self.context.pop("surface", None)
            return super().reset(**settings)

    env = BatchedEnvs([Numbers(Cart())])
    assert env.reset(seed=0)[1]["context"].tolist() == [[1.0, 5.0]]


def test_what_has_no_such_context_is_refused() -> None:
    with pytest.raises(ValueError, match="no attribute `context` that is a dict"):
        DictContexts(Cart())
    with pytest.raises(ValueError, match="no number 'grvity'.*did you mean 'gravity'"):
        DictContexts(Contextual(Cart()), ["grvity"])
    with pytest.raises(ValueError, match="no number 'surface'"):
        DictContexts(Contextual(Cart()), ["surface"])
