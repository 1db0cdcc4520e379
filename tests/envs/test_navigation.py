"""2-D navigation: rewards, ends, and what a policy that sees the goal is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rllib_metarl.envs import Stream, make_vector

ID = "Navigation2D-v0"


def straight(env: Any, episodes: int) -> np.ndarray:
    """Returns of the first `episodes` meta-episodes of a policy that goes straight to the goal."""
    at, infos = env.reset()
    total, ended = np.zeros(env.num_envs), []
    while len(ended) < episodes:
        action = np.clip((infos["context"] - at[:, :2]) / 0.1, -1.0, 1.0).astype(np.float32)
        at, rewards, terminated, truncated, infos = env.step(action)
        total += rewards
        done = terminated | truncated
        ended += total[done].tolist()
        total[done] = 0.0
    return np.array(ended[:episodes])


def test_the_reward_is_minus_the_distance_after_the_step() -> None:
    env = make_vector(ID, 3, {"horizon": 4}, Stream(0))
    _, infos = env.reset()
    goal = infos["context"]
    at, rewards, *_ = env.step(np.array([[1.0, 0.0], [0.0, -0.5], [9.0, 9.0]], np.float32))
    assert np.allclose(at, [[0.1, 0.0], [0.0, -0.05], [0.1, 0.1]])
    assert np.allclose(rewards, -np.linalg.norm(at - goal, axis=1))
    assert (np.abs(goal) <= 0.5).all()


@pytest.mark.parametrize("ends", [True, False])
def test_it_ends_at_the_goal_where_it_is_to(ends: bool) -> None:
    env = make_vector(ID, 50, {"ends_at_goal": ends, "horizon": 7}, Stream(0))
    at, infos = env.reset()
    goal = infos["context"]
    for t in range(7):
        action = np.clip((goal - at) / 0.1, -1.0, 1.0).astype(np.float32)
        there = (np.abs(goal - at - 0.1 * action) < 0.01).all(1)
        at, _, terminated, truncated, _ = env.step(action)
        if ends:
            assert (terminated == there).all()
            break  # what ended has begun anew
        assert not terminated.any() and (truncated == (t == 6)).all()


def test_the_oracles_return_is_what_going_straight_earns() -> None:
    env = make_vector(ID, 500, stream=Stream(1))
    returns = straight(env, 20_000)
    error = returns.std() / len(returns) ** 0.5
    assert returns.mean() == pytest.approx(env.reference_returns()["oracle"], abs=4 * error)
    twice = make_vector(ID, 1, {"inner_episodes": 2, "goal_range": 0.2}).reference_returns()
    once = make_vector(ID, 1, {"goal_range": 0.2}).reference_returns()
    assert twice["oracle"] == 2 * once["oracle"]


def test_with_switches_the_goal_moves_within_the_square_and_nothing_is_exact() -> None:
    settings = {"p_switch": 0.3, "ends_at_goal": False, "goal_range": 0.2}
    env = make_vector(ID, 20, settings, Stream(0))
    _, infos = env.reset()
    goals = [infos["context"]]
    for _ in range(50):
        goals.append(env.step(np.zeros((20, 2), np.float32))[4]["context"])
    assert (np.diff(goals, axis=0) != 0.0).any(axis=2).mean() == pytest.approx(0.3, abs=0.07)
    assert (np.abs(goals) <= 0.2).all()
    assert env.reference_returns() is None and env.frame(np.zeros((3, 2)), np.zeros((3, 2))) is None


def test_the_frame_has_the_point_and_the_goal_where_they_are() -> None:
    env = make_vector(ID, 1)
    told = env.frame(np.array([[0.0, 0.0], [9.0, -0.99]]), np.array([[-0.99, 0.99]] * 2))
    assert told["size"] == 41
    assert told["position"].tolist() == [[20, 20], [40, 40]] and told["goals"].tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"goal_range": 0.0}, "goal_range is 0.0, but must be a number from 0.001"),
        ({"ends_at_goal": 1}, "ends_at_goal is 1, but must be true or false"),
        ({"horizon": 0}, "Navigation2D: horizon is 0"),
    ],
)
def test_wrong_arguments_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_vector(ID, 1, wrong)
