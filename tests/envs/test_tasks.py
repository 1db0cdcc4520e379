"""Tasks that are held: each row plays its own, and nothing else of its randomness changes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_metarl.envs import (
    _NATIVE,
    BatchedEnvs,
    Bernoulli,
    MetaEpisode,
    Never,
    Sessions,
    Stream,
    draw_tasks,
    make_vector,
)
from rllib_metarl.envs.core.contexts import IID
from rllib_metarl.envs.gridworld.env import GridWorldEnv

SHORT: dict[str, dict[str, Any]] = {
    "Bandit/Bernoulli-v0": {"pulls": 3},
    "TabularMDP/Random-v0": {"inner_episodes": 2, "inner_horizon": 2},
    "TwoStep-v0": {"rounds": 2},
    "VariBAD/GridWorld-v0": {"inner_episodes": 1, "inner_horizon": 3},
}
IDS = np.array([2, 2, 0, 1])


class Hidden(gym.Env):
    """Shows nothing; its time limit is 3 steps."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def set_context(self, m: Any) -> None:
        self.m = float(m[0])

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.np_random.random(1).astype(np.float32), {}

    def step(self, action: Any) -> Any:
        return self.np_random.random(1).astype(np.float32), self.m, False, False, {}


def wrapped() -> gym.Env:
    sessions = Sessions(Hidden(), Never(), IID(lambda rng: rng.random()))
    return MetaEpisode(gym.wrappers.TimeLimit(sessions, 3), 2)


def a_batch(count: int = 4) -> BatchedEnvs:
    env = BatchedEnvs([wrapped() for _ in range(count)])
    env.set_stream(Stream(3))
    return env


def native(env_id: str) -> Any:
    config = SHORT.get(env_id, {"horizon": 3})
    return make_vector(env_id, 4, config, Stream(3))


def played(env: Any, steps: int) -> tuple[list[Any], list[Any]]:
    """Observations and infos of the first step and of `steps` random ones."""
    env.action_space.seed(0)
    observation, infos = env.reset()
    seen, given = [observation], [infos]
    for _ in range(steps):
        observation, *_, infos = env.step(env.action_space.sample())
        seen.append(observation)
        given.append(infos)
    return seen, given


@pytest.mark.parametrize("env_id", [*_NATIVE, "wrapped"])
def test_rows_with_one_task_have_one_context_in_every_meta_episode(env_id: str) -> None:
    env = a_batch() if env_id == "wrapped" else native(env_id)
    env.hold_tasks(draw_tasks(3, env.task_width, Stream(7)), IDS)
    _, given = played(env, 9)
    begun = [given[0]] + [infos for infos in given[1:] if "final_obs" in infos]
    assert len(begun) > 1
    first = begun[0]["context"]
    assert (first[0] == first[1]).all()
    for infos in begun:
        over = infos["task_id"] >= 0
        assert over.all() and (infos["task_id"] == IDS).all()
        assert "final_obs" not in infos or infos["final_info"]["task_id"].tolist() == IDS.tolist()
    again = a_batch() if env_id == "wrapped" else native(env_id)
    again.set_stream(Stream(99))  # another seed, the same tasks
    again.hold_tasks(draw_tasks(3, env.task_width, Stream(7)), IDS)
    assert (again.reset()[1]["context"] == first).all()


@pytest.mark.parametrize("env_id", ["DLCMDP/GridWorld-v0", "DLCMDP/PointGoal-v0", "wrapped"])
def test_all_else_is_what_it_would_have_been(env_id: str) -> None:
    plain, held = ((a_batch() if env_id == "wrapped" else native(env_id)) for _ in range(2))
    held.hold_tasks(draw_tasks(3, held.task_width, Stream(7)), IDS)
    seen, given = played(plain, 7)
    assert "task_id" not in given[0]
    for one, other in zip(seen, played(held, 7)[0], strict=True):
        np.testing.assert_array_equal(one, other)
    held.hold_tasks(None)
    np.testing.assert_array_equal(plain.reset()[1]["context"], held.reset()[1]["context"])


def test_a_single_env_plays_the_task_it_is_asked_for() -> None:
    env = GridWorldEnv(horizon=4, p_switch=0.0)
    contexts = [
        env.reset(seed=s, options={"task": [u]})[1]["context"][0]
        for u, s in [(0.2, 1), (0.2, 2), (0.8, 1), (0.8, 2)]
    ]
    assert contexts == [0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"give \[count, 1\]"):
        env.reset(options={"task": [0.2, 0.3]})


@pytest.mark.parametrize("kind", ["native", "wrapped"])
def test_held_tasks_outlast_a_checkpoint(kind: str) -> None:
    def made() -> Any:
        env = a_batch() if kind == "wrapped" else native("DLCMDP/GridWorld-v0")
        env.hold_tasks(draw_tasks(3, 1, Stream(7)), IDS)
        return env

    one, other = made(), made()
    played(one, 2)
    state, random = one.under_way(), one.rng_state()
    other.set_under_way(state)
    other.set_rng_state(random)
    action = np.zeros(4, np.int64)
    for _ in range(5):
        left, right = one.step(action), other.step(action)
        np.testing.assert_array_equal(left[0], right[0])
        np.testing.assert_array_equal(left[-1]["context"], right[-1]["context"])


@pytest.mark.parametrize(
    ("tasks", "ids", "message"),
    [
        (np.zeros((3, 2)), IDS, r"tasks have shape \(3, 2\); give \[count, 1\]"),
        (np.full((3, 1), 1.0), IDS, "uniforms in \\[0, 1\\)"),
        (np.zeros((3, 1)), IDS[:2], "give 4 whole numbers"),
        (np.zeros((3, 1)), IDS + 1, "ids must be 0 to 2"),
    ],
)
def test_what_does_not_fit_is_refused(tasks: Any, ids: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        native("DLCMDP/GridWorld-v0").hold_tasks(tasks, ids)


def test_an_env_without_tasks_says_so() -> None:
    env = BatchedEnvs([gym.make("CartPole-v1")])
    with pytest.raises(ValueError, match="no tasks that can be held; give the environment"):
        env.hold_tasks(np.zeros((1, 1)), [0])


def test_switches_go_on_from_a_held_task() -> None:
    env = BatchedEnvs(
        [Sessions(Hidden(), Bernoulli(1.0), IID(lambda rng: rng.random())) for _ in range(2)]
    )
    env.set_stream(Stream(3))
    env.hold_tasks(draw_tasks(1, 1, Stream(7)), [0, 0])
    context = env.reset()[1]["context"]
    assert context[0] == context[1]
    later = env.step(np.zeros(2, np.int64))[-1]["context"]
    assert later[0] != later[1]
