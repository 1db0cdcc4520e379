"""Meta-episodes that have begun can be saved as plain data and gone on with elsewhere."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_metarl.envs import (
    BatchedEnvs,
    Bernoulli,
    Markov,
    MetaEpisode,
    Sessions,
    Stream,
    make_vector,
)
from rllib_metarl.envs.core.nested import nested, parts_of, values_of
from tests.envs.test_every_env import IDS

STEPS = 25


class Walk(gym.Env):
    """A plain env with a generator, a context and an end by chance."""

    def __init__(self, forgets: bool = True) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.forgets, self.carried = forgets, 0.0

    def set_context(self, context: np.ndarray) -> None:
        self.context = context

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=2) + self.carried
        return self.place.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place += action + self.np_random.normal(size=2)
        self.carried += not self.forgets
        ended = bool(self.np_random.random() < 0.1)
        return self.place.copy(), float(self.context[0]), ended, False, {}


class Parts(gym.Wrapper):
    """Spaces in spaces, and the older of numpy's two kinds of generators, as dm_control has it."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = gym.spaces.Dict(
            place=env.observation_space, seen=gym.spaces.Tuple([gym.spaces.MultiBinary(2)])
        )
        self.action_space = gym.spaces.Tuple((env.action_space, gym.spaces.Discrete(2)))
        self.unwrapped.np_random = np.random.RandomState(0)

    def observation(self, place: Any) -> dict[str, Any]:
        return {"place": place, "seen": ((place > 0).astype(np.int8),)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self.unwrapped.np_random = np.random.RandomState(seed)
        place, info = self.env.reset(options=options)
        return self.observation(place), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        place, *rest = self.env.step(action[0] * action[1])
        return self.observation(place), *rest


def parts(seed: int) -> BatchedEnvs:
    dynamics = Markov([0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], [[-1.0], [1.0]])
    batched = BatchedEnvs([Parts(Sessions(Walk(), Bernoulli(0.3), dynamics)) for _ in range(3)])
    batched.set_stream(Stream(seed))
    return batched


def walks(seed: int = 0, **settings: Any) -> BatchedEnvs:
    dynamics = Markov([0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], [[-1.0], [1.0]])
    envs = [MetaEpisode(Sessions(Walk(**settings), Bernoulli(0.3), dynamics), 2) for _ in range(3)]
    batched = BatchedEnvs(envs)
    batched.set_stream(Stream(seed))
    return batched


def act(env: gym.vector.VectorEnv, steps: int, seed: int) -> list[Any]:
    """What comes back for random actions, infos of labels included."""
    rng = np.random.default_rng(seed)
    record = []
    for _ in range(steps):
        actions = _batch(env.single_action_space, rng, env.num_envs)
        observation, *told, infos = env.step(actions)
        labels = {key: v.tolist() for key, v in infos.items() if isinstance(v, np.ndarray)}
        told += values_of(env.single_observation_space, observation)
        record.append([*(array.tolist() for array in told), labels])
    return record


def _batch(space: gym.Space, rng: np.random.Generator, count: int) -> Any:
    columns = [np.stack([_drawn(part, rng) for _ in range(count)]) for part in parts_of(space)]
    return nested(space, iter(columns))


def _drawn(space: gym.Space, rng: np.random.Generator) -> Any:
    if isinstance(space, gym.spaces.Box):
        return rng.uniform(space.low, space.high).astype(space.dtype)
    return np.int64(rng.integers(space.n))


def goes_on(env: Any, other: Any, before: int) -> bool:
    """Whether `other`, which has done something else, goes on as `env` does after saving."""
    env.reset()
    act(env, before, seed=1)
    state = pickle.loads(pickle.dumps([env.under_way(), env.rng_state()]))
    other.reset()
    act(other, 7, seed=2)
    other.set_under_way(state[0])
    other.set_rng_state(state[1])
    again = other.under_way()  # saved once more before it has done anything
    expected = act(env, STEPS, seed=3)
    if act(other, STEPS, seed=3) != expected:
        return False
    other.set_under_way(again)
    other.set_rng_state(state[1])
    return act(other, STEPS, seed=3) == expected


@pytest.mark.parametrize("env_id", IDS)
def test_every_env_goes_on_where_it_was(env_id: str) -> None:
    assert goes_on(*(make_vector(env_id, 2, stream=Stream(seed)) for seed in (0, 1)), before=13)


def test_so_do_plain_envs_and_their_wrappers() -> None:
    for before in (0, 3, 40):
        assert goes_on(walks(0), walks(1), before)
        assert goes_on(parts(0), parts(1), before)


def test_an_env_that_does_not_do_the_same_again_is_told_of() -> None:
    env, other = walks(0, forgets=False), walks(1, forgets=False)
    with pytest.raises(ValueError, match="did not do the same again"):
        goes_on(env, other, before=13)


def test_a_state_of_other_arguments_is_refused() -> None:
    env = make_vector("DLCMDP/GridWorld-v0", 2, {"horizon": 10}, Stream(0))
    other = make_vector("DLCMDP/GridWorld-v0", 2, {"horizon": 12}, Stream(0))
    assert env.under_way() is None  # nothing has begun
    env.reset()
    with pytest.raises(ValueError, match="GridWorldSimulator: .* has shape .* is needed"):
        other.set_under_way(env.under_way())
