"""The exact references against published numbers, full enumeration and play."""

from __future__ import annotations

import time

import numpy as np
import pytest

from rllib_metarl.envs import Bernoulli, FixedLength, NormalLength, Stream, make_vector
from rllib_metarl.envs.gridworld.env import GridWorldEnv, GridWorldVectorEnv, reference_returns
from rllib_metarl.envs.gridworld.parameters import GridWorldParameters
from rllib_metarl.envs.gridworld.references import _references, references_of

MOVES = [(1, 0), (0, 1), (-1, 0), (0, -1), (0, 0)]


def test_the_default_grid():
    found = reference_returns()
    assert {name: round(value, 2) for name, value in found.items()} == {
        "random": -3.12,
        "blind": 29.20,
        "bayes": 46.15,
        "oracle": 50.79,
    }


def test_the_default_grid_without_stay():
    found = reference_returns(stay=False)
    assert [round(found[k], 2) for k in ("blind", "bayes", "oracle")] == [27.51, 36.79, 41.08]


def test_the_default_takes_less_than_two_seconds_and_then_none():
    _references.cache_clear()
    begin = time.process_time()
    reference_returns()
    first = time.process_time() - begin
    begin = time.process_time()
    for _ in range(100):
        reference_returns()
    assert first < 2.0 and time.process_time() - begin < 0.2


class Enumeration:
    """Every history of a tiny grid with given goals, written without the project's code.

    `weights` [2] is P(history, m_t = m); the value of a history is the unnormalised expectation of
    what is still to come, so that branches simply add up.
    """

    def __init__(self, size, goals, horizon, p_switch, transition, stay, pay):
        self.size, self.goals, self.horizon, self.pay = size, goals, horizon, pay
        self.moves = MOVES if stay else MOVES[:4]
        self.law = (1 - p_switch) * np.eye(2) + p_switch * np.array(transition)

    def enter(self, cell, move):
        x, y = cell[0] + move[0], cell[1] + move[1]
        return (x, y) if 0 <= x < self.size and 0 <= y < self.size else cell

    def reward(self, cell, m):
        active, inactive, step = self.pay
        return active if cell == self.goals[m] else inactive if cell in self.goals else step

    def bayes(self, cell, weights, t=0):
        if t == self.horizon:
            return 0.0
        return max(self._after(self.enter(cell, move), weights, t) for move in self.moves)

    def _after(self, cell, weights, t):
        rewards = [self.reward(cell, m) for m in range(2)]
        total = 0.0
        for r in set(rewards):
            kept = weights * np.equal(rewards, r)
            total += kept.sum() * r + self.bayes(cell, kept @ self.law, t + 1)
        return total

    def oracle(self, cell, m, t=0):
        if t == self.horizon:
            return 0.0
        options = [self.enter(cell, move) for move in self.moves]
        return max(
            self.reward(c, m) + sum(self.law[m, n] * self.oracle(c, n, t + 1) for n in range(2))
            for c in options
        )

    def open_loop(self, cell, weights):
        """Values of all action sequences."""
        sequences = [(cell, 0.0, weights)]
        for _ in range(self.horizon):
            sequences = [
                (
                    c := self.enter(at, move),
                    v + w @ [self.reward(c, m) for m in range(2)],
                    w @ self.law,
                )
                for at, v, w in sequences
                for move in self.moves
            ]
        return [value for _, value, _ in sequences]


CASES = [
    {"size": 2, "horizon": 3, "p_switch": 0.3},
    {"size": 2, "horizon": 4, "p_switch": 0.3, "stay": False, "start": (1, 1)},
    {"size": 3, "horizon": 3, "p_switch": 0.4, "start": (0, 1), "goals": ((1, 1), (2, 0))},
    {
        "size": 2,
        "horizon": 4,
        "p_switch": 0.6,
        "transition": [[0.1, 0.9], [0.7, 0.3]],
        "goals": ((0, 0), (1, 1)),
    },
    {
        "size": 2,
        "horizon": 3,
        "p_switch": 0.6,
        "transition": [[0.1, 0.9], [0.7, 0.3]],
        "start": (0, 1),
    },
    {"size": 2, "horizon": 3, "p_switch": 0.2, "prior": (0.9, 0.1), "start": (0, 1)},
    {"size": 2, "horizon": 3, "p_switch": 0.5, "active_reward": 2.0, "inactive_reward": -1.0},
]


@pytest.mark.parametrize("case", CASES)
def test_enumeration_of_all_histories_of_a_tiny_grid(case):
    cells = [(x, y) for x in range(case["size"]) for y in range(case["size"])]
    pairs = [case["goals"]] if "goals" in case else [(a, b) for a in cells for b in cells if a != b]
    starts = [case["start"]] if "start" in case else cells
    prior = np.array(case.get("prior", (0.5, 0.5)))
    transition = case.get("transition", [[0.2, 0.8], [0.8, 0.2]])
    pay = case.get("active_reward", 1.0), case.get("inactive_reward", 0.0), -0.1
    values = []
    for goals in pairs:
        tree = Enumeration(
            case["size"], goals, case["horizon"], case["p_switch"], transition,
            case.get("stay", True), pay,
        )  # fmt: skip
        for start in starts:
            loops = tree.open_loop(start, prior)
            oracle = prior @ [tree.oracle(start, m) for m in range(2)]
            values.append([np.mean(loops), max(loops), tree.bayes(start, prior), oracle])
    found = reference_returns(**case)
    assert list(found) == ["random", "blind", "bayes", "oracle"]
    assert list(found.values()) == pytest.approx(np.mean(values, 0), abs=1e-9)


def test_a_random_walk_in_the_real_env_earns_the_random_reference():
    env = make_vector("DLCMDP/GridWorld-v0", 2000, {"size": 3, "horizon": 20}, Stream(0))
    env.reset()
    rng = np.random.default_rng(0)
    total = sum(env.step(rng.integers(0, 5, 2000))[1] for _ in range(20))
    assert total.mean() == pytest.approx(env.reference_returns()["random"], abs=0.2)


def test_the_optimal_play_of_two_cells_earns_the_bayes_and_oracle_references():
    """Goals next to each other and horizon 2: stay, and move if the first stay did not pay."""
    settings = {
        "size": 2, "horizon": 2, "goals": ((0, 0), (1, 0)), "start": (0, 0), "prior": (0.9, 0.1),
        "p_switch": 0.1,
    }  # fmt: skip
    env = make_vector("DLCMDP/GridWorld-v0", 4000, settings, Stream(0))
    env.reset()
    first = env.step(np.full(4000, 4))[1]
    second = env.step(np.where(first == 1, 4, 0))[1]
    references = env.reference_returns()
    assert (first + second).mean() == pytest.approx(references["bayes"], abs=0.03)
    _, infos = env.reset()
    total = np.zeros(4000)
    for _ in range(2):
        to_goal = np.where(infos["context"][:, 0] == 0, 2, 0)
        _, rewards, _, _, infos = env.step(to_goal)
        total += rewards
    assert total.mean() == pytest.approx(references["oracle"], abs=0.03)


def test_without_switches_only_the_first_look_costs():
    found = reference_returns(size=2, p_switch=0, horizon=3, goals=((0, 0), (1, 0)), start=(0, 0))
    assert found["oracle"] == pytest.approx(3.0)
    assert found["bayes"] == pytest.approx(0.5 * 3 + 0.5 * 2)
    assert found["blind"] == pytest.approx(1.5)


def test_sure_switches_at_known_times_leave_nothing_to_learn_after_the_first_reward():
    alternate = {"transition": [[0, 1], [1, 0]], "session": FixedLength(1), "size": 2}
    found = reference_returns(**alternate, horizon=10, goals=((0, 0), (1, 0)), start=(0, 0))
    assert found["oracle"] == pytest.approx(10.0)
    assert found["bayes"] == pytest.approx(0.5 * 10 + 0.5 * 9)


def test_a_session_process_stands_for_p_switch():
    assert reference_returns(session=Bernoulli(0.07)) == reference_returns()
    assert reference_returns(session={"kind": "never"}) == reference_returns(p_switch=0)


def test_where_nothing_exact_is_known_it_says_so():
    lengths = NormalLength(20, 4)
    assert GridWorldEnv(session=lengths).reference_returns() is None
    with pytest.raises(ValueError, match="exact references exist for Bernoulli, fixed or no"):
        reference_returns(session=lengths)


def test_envs_give_the_references_of_their_own_parameters():
    settings = {"size": 3, "horizon": 10, "p_switch": 0.2}
    expected = reference_returns(**settings)
    assert GridWorldEnv(**settings).reference_returns() == expected
    assert GridWorldVectorEnv(4, **settings).reference_returns() == expected


class Timetable(Enumeration):
    """The same where sessions last two steps each, so that the law is another at each step."""

    def _after(self, cell, weights, t):
        law = self.law if t % 2 else np.eye(2)
        rewards = [self.reward(cell, m) for m in range(2)]
        total = 0.0
        for r in set(rewards):
            kept = weights * np.equal(rewards, r)
            total += kept.sum() * r + self.bayes(cell, kept @ law, t + 1)
        return total


def test_sessions_of_a_known_length_are_counted_from_the_first_step():
    goals, start, prior = ((0, 0), (1, 1)), (0, 1), (0.9, 0.1)
    transition = [[0.1, 0.9], [0.7, 0.3]]
    fixed = {"size": 2, "goals": goals, "start": start, "prior": prior, "transition": transition}
    found = reference_returns(**fixed, horizon=5, session=FixedLength(2))
    expected = Timetable(2, goals, 5, 1.0, transition, True, (1.0, 0.0, -0.1))
    assert found["bayes"] == pytest.approx(expected.bayes(start, np.array(prior)), abs=1e-9)


def test_a_grid_too_large_for_exact_values_has_none_rather_than_none_for_hours() -> None:
    assert references_of(GridWorldParameters.make(size=64, horizon=6)) is None
    known = {"goals": [[0, 0], [63, 63]], "start": [5, 5]}
    assert references_of(GridWorldParameters.make(size=64, horizon=6, **known)) is not None
    with pytest.raises(ValueError, match="size 64 with horizon 6 has more than"):
        reference_returns(size=64, horizon=6)
    family = make_vector("DLCMDP/GridWorldFamily-v0", 1, {"size": 64}, Stream(0))
    assert family.unwrapped.reference_returns() is None
