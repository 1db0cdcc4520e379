"""The point robots: rewards, starts, tasks that are held, and what an oracle earns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rllib_metarl.envs import Stream, draw_tasks, make_vector

ID = "PointRobot-v0"
PAPERS = {"dense": {}, "sparse": {"reward": "sparse"}}
OTHERS = {
    "starts around a circle": {"reward": "sparse", "goals": "circle", "start_range": 0.5},
    "a square from its middle": {"start_range": 0.0},
}


def straight(settings: dict[str, Any], robots: int) -> np.ndarray:
    """Returns of one walk of each robot straight to its goal."""
    env = make_vector(ID, robots, settings | {"inner_episodes": 1}, Stream(1))
    at, infos = env.reset()
    goal, total = infos["context"], np.zeros(robots)
    for _ in range(20):
        action = np.clip((goal - at[:, :2]) / 0.1, -1.0, 1.0).astype(np.float32)
        at, rewards, *_ = env.step(action)
        total += rewards
    return total


@pytest.mark.parametrize("settings", [*PAPERS.values(), *OTHERS.values()], ids=[*PAPERS, *OTHERS])
def test_the_oracles_return_is_what_going_straight_earns(settings: dict[str, Any]) -> None:
    returns = straight(settings, 20_000)
    reference = make_vector(ID, 1, settings | {"inner_episodes": 2}).reference_returns()
    error = returns.std() / len(returns) ** 0.5
    assert reference["oracle"] / 2 == pytest.approx(returns.mean(), abs=4 * error)


def test_the_two_robots_are_those_of_the_paper() -> None:
    for settings, goals in ((PAPERS["dense"], "square"), (PAPERS["sparse"], "semi_circle")):
        env = make_vector(ID, 500, settings, Stream(0))
        at, infos = env.reset()
        goal, inside = infos["context"], (np.abs(at[:, :2]) <= 1.0).all()
        on_arc = np.allclose(np.linalg.norm(goal, axis=1), 1.0) and (goal[:, 1] >= 0.0).all()
        assert on_arc == (goals == "semi_circle") and inside
        assert (at[:, :2] == 0.0).all() == (goals == "semi_circle")
        assert env.single_observation_space.contains(at[0])


def test_rewards_are_dense_or_paid_near_the_goal() -> None:
    for settings in PAPERS.values():
        env = make_vector(ID, 300, settings, Stream(0))
        at, infos = env.reset()
        for _ in range(19):
            step = np.clip((infos["context"] - at[:, :2]) / 0.1, -1.0, 1.0).astype(np.float32)
            at, rewards, _, _, infos = env.step(step * np.linspace(0, 1, 300)[:, None])
            away = np.linalg.norm(at[:, :2] - infos["context"], axis=1)
            paid = np.where(away <= 0.2, 1.0 - away, 0.0) if settings else -away
            assert np.allclose(rewards, paid, atol=1e-5)


def test_a_held_task_keeps_its_goal_and_not_its_starts() -> None:
    env = make_vector(ID, 4, {"inner_episodes": 2, "horizon": 3}, Stream(0))
    env.hold_tasks(draw_tasks(5, env.task_width, Stream(7)), np.array([0, 3, 3, 4]))
    at, infos = env.reset()
    goals, starts = infos["context"], [at]
    assert np.array_equal(goals[1], goals[2]) and not np.array_equal(at[1], at[2])
    for _ in range(12):
        at, *_, infos = env.step(np.zeros((4, 2), np.float32))
        assert np.array_equal(infos["context"], goals)
        assert infos["task_id"].tolist() == [0, 3, 3, 4]
        starts.append(at)
    assert (starts[3][:, 2] == 1.0).all() and not np.allclose(starts[3], starts[2])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"reward": "spares"}, "no reward 'spares'.*sparse"),
        ({"goals": "squares"}, "no goals 'squares'.*square"),
        ({"start_range": -1}, "start_range is -1"),
        ({"goal_radius": float("nan")}, "goal_radius is nan"),
    ],
)
def test_wrong_arguments_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_vector(ID, 1, wrong)


def test_where_the_goal_moves_nothing_is_exact() -> None:
    assert make_vector(ID, 1, {"p_switch": 0.1}).reference_returns() is None
