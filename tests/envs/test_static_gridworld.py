"""The static grid world: one hidden goal, four inner episodes."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from rllib_metarl.envs import Stream, make_vector
from rllib_metarl.envs.gridworld.static import StaticGridWorldEnv

ID = "VariBAD/GridWorld-v0"
RIGHT, DOWN, LEFT, UP, STAY = range(5)


def test_a_trial_is_four_inner_episodes_from_the_start_with_one_goal():
    env = StaticGridWorldEnv()
    observation, info = env.reset(seed=3)
    goal = info["context"]
    assert observation.tolist() == [0, 0, 0] and info["inner_done"] == 0
    for t in range(1, 61):
        observation, _, terminated, truncated, info = env.step(RIGHT)
        end = t % 15 == 0
        assert observation[2] == info["inner_done"] == end
        assert observation[0] == (0.0 if end and t < 60 else min(t % 15 or 15, 4) / 4)
        assert np.array_equal(info["context"], goal)
        assert info["session"] == info["switched"] == 0
        assert not truncated and terminated == (t == 60)


def test_the_next_trial_begins_without_the_flag():
    env = make_vector(ID, 3, stream=Stream(2))
    env.reset()
    for _ in range(60):
        observations, _, _, _, infos = env.step(np.full(3, RIGHT))
    assert infos["final_obs"].tolist() == [[1.0, 0.0, 1.0]] * 3
    assert observations.tolist() == [[0.0, 0.0, 0.0]] * 3
    assert (infos["inner_done"] == 0).all() and (infos["final_info"]["inner_done"] == 1).all()


def test_the_goal_pays_when_entered_and_is_hidden():
    env = StaticGridWorldEnv(goal=(2, 1))
    env.reset(seed=0)
    steps = [env.step(a) for a in (RIGHT, RIGHT, DOWN, STAY, UP)]
    assert [step[1] for step in steps] == [-0.1, -0.1, 1.0, 1.0, -0.1]
    assert steps[2][4]["context"].tolist() == [0.5, 0.25]
    other = StaticGridWorldEnv(goal=(4, 4))
    other.reset(seed=0)
    unpaid = [other.step(a) for a in (RIGHT, RIGHT, DOWN, STAY, UP)]
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(steps, unpaid, strict=True))


def test_goals_are_uniform_over_21_cells_away_from_the_start():
    env = make_vector(ID, 8000, stream=Stream(0))
    _, infos = env.reset()
    cells = (infos["context"] * 4).astype(int)
    counts = np.zeros((5, 5))
    np.add.at(counts, (cells[:, 0], cells[:, 1]), 1)
    assert (counts[:2, :2] == 0).all()
    assert np.delete(counts.ravel(), [0, 1, 5, 6]) / 8000 == pytest.approx([1 / 21] * 21, abs=0.012)


def test_the_oracle_reference_is_that_of_walking_straight_to_the_goal():
    env = make_vector(ID, 1)
    distances = [x + y for x in range(5) for y in range(5) if x > 1 or y > 1]
    by_hand = 4 * np.mean([-0.1 * (d - 1) + (15 - d + 1) for d in distances])
    references = env.reference_returns()
    assert references["oracle"] == pytest.approx(by_hand)
    assert references["oracle"] / 4 == pytest.approx(11.07, abs=0.005)
    assert list(references) == ["random", "blind", "bayes", "oracle"]
    assert list(references.values()) == sorted(references.values())


def test_the_random_reference_is_what_random_play_earns():
    env = make_vector(ID, 4000, stream=Stream(1))
    env.reset()
    rng = np.random.default_rng(0)
    total = sum(env.step(rng.integers(0, 5, 4000))[1] for _ in range(60))
    assert total.mean() == pytest.approx(env.reference_returns()["random"], abs=0.25)


def test_the_blind_reference_is_the_best_fixed_walk():
    """3 x 3, three steps: all 125 action sequences, over the five possible goals."""
    env = StaticGridWorldEnv(size=3, inner_horizon=3, inner_episodes=1)
    goals = [(2, 0), (2, 1), (2, 2), (0, 2), (1, 2)]
    moves = [(1, 0), (0, 1), (-1, 0), (0, -1), (0, 0)]
    best = -np.inf
    for code in range(125):
        at, total = (0, 0), 0.0
        for k in range(3):
            move = moves[code // 5**k % 5]
            at = tuple(min(max(a + b, 0), 2) for a, b in zip(at, move, strict=True))
            total += np.mean([1.0 if at == goal else -0.1 for goal in goals])
        best = max(best, total)
    assert env.reference_returns()["blind"] == pytest.approx(best)


def best_by_enumeration(size: int, stay: bool, horizon: int, episodes: int, start: tuple) -> float:
    """The best expected return of any policy, from all histories; none of the project's code."""
    moves = [(1, 0), (0, 1), (-1, 0), (0, -1), (0, 0)][: 5 if stay else 4]
    cells = [(x, y) for x in range(size) for y in range(size)]
    goals = frozenset(c for c in cells if max(abs(c[0] - start[0]), abs(c[1] - start[1])) > 1)

    def walk(cell, move):
        moved = cell[0] + move[0], cell[1] + move[1]
        return moved if min(moved) >= 0 and max(moved) < size else cell

    @functools.cache
    def value(cell, possible, n):
        """Sum over the goals still possible of what is yet to come."""
        if n == horizon * episodes or not possible:
            return 0.0
        cell = start if n % horizon == 0 else cell
        return max(after(walk(cell, move), possible, n) for move in moves)

    def after(cell, possible, n):
        hit, rest = possible & {cell}, possible - {cell}
        paid = len(hit) * 1.0 - 0.1 * len(rest)
        return paid + value(cell, hit, n + 1) + value(cell, rest, n + 1)

    return value(start, goals, 0) / len(goals)


@pytest.mark.parametrize(
    "size, stay, horizon, episodes, start",
    [
        (3, True, 4, 2, (0, 0)),
        (3, False, 5, 2, (0, 0)),
        (3, True, 3, 3, (0, 1)),
        (4, True, 5, 2, (0, 0)),
        (4, True, 7, 1, (1, 0)),
    ],
)
def test_the_bayes_reference_is_the_best_over_all_histories(size, stay, horizon, episodes, start):
    env = StaticGridWorldEnv(
        size=size, stay=stay, inner_horizon=horizon, inner_episodes=episodes, start=start
    )
    expected = best_by_enumeration(size, stay, horizon, episodes, start)
    assert env.reference_returns()["bayes"] == pytest.approx(expected, abs=1e-9)


def test_the_bayes_reference_of_the_default_and_of_its_first_sweep():
    assert StaticGridWorldEnv().reference_returns()["bayes"] == pytest.approx(37.214, abs=0.001)
    one = StaticGridWorldEnv(inner_episodes=1).reference_returns()
    assert one["bayes"] == pytest.approx(4.0)
    assert "bayes" not in StaticGridWorldEnv(size=9).reference_returns()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"size": 2}, "size is 2, but must be a whole number from 3"),
        ({"goal": (9, 0)}, r"goal holds \(9, 0\)"),
        ({"inner_episodes": 0}, "inner_episodes is 0"),
        ({"goal_reward": float("inf")}, "goal_reward is inf"),
    ],
)
def test_bad_parameters_are_refused_with_the_mend(settings, message):
    with pytest.raises(ValueError, match=message):
        StaticGridWorldEnv(**settings)
