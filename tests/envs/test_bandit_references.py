"""The bandit's references and filter against slow computations that share none of their code."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from rllib_metarl.envs import Stream, make_vector
from rllib_metarl.envs.bandit.env import BernoulliBanditEnv
from tests.envs.filters import bandit as exact_filter

ID = "Bandit/Bernoulli-v0"
ONE_GOOD = {"dependent_easy": 0.9, "dependent_medium": 0.75, "dependent_hard": 0.6}
STRUCTURES = ["independent", "dependent_uniform", *ONE_GOOD]


def likely(arms: int, structure: str, points: int) -> list[tuple[float, ...]]:
    """Vectors of arms' probabilities, each as likely, that stand for the prior.

    A uniform probability is that of the midpoints of `points` intervals: for few pulls that is
    right to 1 / points^2.
    """
    if structure in ONE_GOOD:
        good = ONE_GOOD[structure]
        return [(good, 1 - good), (1 - good, good)]
    grid = (np.arange(points) + 0.5) / points
    if structure == "dependent_uniform":
        return [(x, 1 - x) for x in grid]
    return list(itertools.product(grid, repeat=arms))


def best_by_enumeration(
    arms: int, pulls: int, structure: str, p_switch: float, points: int
) -> float:
    """The best expected return of any policy, from all histories of pulls and rewards."""
    prior = np.array(likely(arms, structure, points))

    def value(weights, left):
        """Expected return times the probability of the history; weights [M] joint with it."""
        return max(after(weights, arm, left) for arm in range(arms)) if left else 0.0

    def after(weights, arm, left):
        total = weights @ prior[:, arm]
        for chance in (prior[:, arm], 1 - prior[:, arm]):
            seen = weights * chance
            changed = (1 - p_switch) * seen + p_switch * seen.mean()
            total += value(changed, left - 1)
        return total

    return value(np.full(len(prior), 1 / len(prior)), pulls)


@pytest.mark.parametrize("arms, pulls, points", [(2, 2, 30), (2, 5, 30), (3, 4, 16), (4, 3, 10)])
def test_bayes_of_independent_arms_is_the_best_over_all_histories(arms, pulls, points):
    bayes = BernoulliBanditEnv(arms=arms, pulls=pulls).reference_returns()["bayes"]
    coarse = best_by_enumeration(arms, pulls, "independent", 0.0, points // 2)
    fine = best_by_enumeration(arms, pulls, "independent", 0.0, points)
    assert bayes == pytest.approx(fine + (fine - coarse) / 3, abs=2e-4)  # Richardson


@pytest.mark.parametrize("structure", ["dependent_uniform", *ONE_GOOD])
def test_bayes_of_dependent_arms_is_the_best_over_all_histories(structure):
    env = BernoulliBanditEnv(arms=2, pulls=5, structure=structure)
    expected = best_by_enumeration(2, 5, structure, 0.0, 1000)
    assert env.reference_returns()["bayes"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("structure", ONE_GOOD)
def test_bayes_of_restless_arms_is_the_best_over_all_histories(structure):
    for p_switch in (0.1, 1.0):
        env = BernoulliBanditEnv(arms=2, pulls=5, structure=structure, p_switch=p_switch)
        expected = best_by_enumeration(2, 5, structure, p_switch, 2)
        assert env.reference_returns()["bayes"] == pytest.approx(expected, abs=1e-5)


def test_hardly_restless_arms_are_worth_what_unchanging_ones_are():
    for structure in ONE_GOOD:
        still = BernoulliBanditEnv(arms=2, pulls=100, structure=structure)
        moving = BernoulliBanditEnv(arms=2, pulls=100, structure=structure, p_switch=1e-9)
        expected = still.reference_returns()["bayes"]
        assert moving.reference_returns()["bayes"] == pytest.approx(expected, abs=1e-3)


def test_bayes_of_independent_arms_is_that_of_a_plain_recursion_over_counts():

    @functools.cache
    def value(counts, left):
        if not left:
            return 0.0
        options = []
        for arm, (wins, losses) in enumerate(counts):
            chance = (wins + 1) / (wins + losses + 2)
            others = counts[:arm] + counts[arm + 1 :]
            won = tuple(sorted((*others, (wins + 1, losses))))
            lost = tuple(sorted((*others, (wins, losses + 1))))
            options.append(chance * (1 + value(won, left - 1)))
            options[-1] += (1 - chance) * value(lost, left - 1)
        return max(options)

    for arms, pulls in ((2, 14), (3, 9), (5, 7), (6, 4)):
        env = BernoulliBanditEnv(arms=arms, pulls=pulls)
        expected = value(((0, 0),) * arms, pulls)
        assert env.reference_returns()["bayes"] == pytest.approx(expected, abs=1e-9)


def test_known_values():
    ten = BernoulliBanditEnv().reference_returns()
    assert list(ten) == ["random", "blind", "bayes", "oracle"]
    assert list(ten.values()) == pytest.approx([5, 5, 6.660, 50 / 6], abs=5e-4)
    assert BernoulliBanditEnv(arms=2, pulls=1).reference_returns()["bayes"] == 0.5
    # by hand: 1/2, then 2/3 if it paid, and 1/2 with the other arm if not
    two = BernoulliBanditEnv(arms=2, pulls=2).reference_returns()["bayes"]
    assert two == pytest.approx(0.5 + 0.5 * 2 / 3 + 0.5 * 0.5)


def test_with_more_arms_than_pulls_the_rest_are_worth_nothing():
    ten = BernoulliBanditEnv(arms=10, pulls=10).reference_returns()
    fifty = BernoulliBanditEnv(arms=50, pulls=10).reference_returns()
    assert ten["bayes"] == fifty["bayes"] and ten["oracle"] < fifty["oracle"]


def test_bayes_is_left_out_where_it_is_not_tractable():
    for settings in ({"pulls": 100}, {"arms": 2, "pulls": 500}, {"p_switch": 0.1}):
        references = BernoulliBanditEnv(**settings).reference_returns()
        assert list(references) == ["random", "blind", "oracle"]
    assert "bayes" in BernoulliBanditEnv(arms=2, pulls=100).reference_returns()


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("p_switch", [0.0, 0.1])
def test_random_and_oracle_are_what_such_play_earns(structure, p_switch):
    settings = {"arms": 2, "structure": structure, "p_switch": p_switch}
    env = make_vector(ID, 8000, settings, Stream(5))
    rng = np.random.default_rng(0)
    for name in ("random", "oracle"):
        infos, total = env.reset()[1], 0.0
        for _ in range(10):
            best, anyone = infos["context"].argmax(1), rng.integers(0, 2, 8000)
            _, rewards, _, _, infos = env.step(anyone if name == "random" else best)
            total += rewards.mean()
        assert total == pytest.approx(env.reference_returns()[name], abs=0.1)


def posterior_by_enumeration(actions, rewards, arms, structure, p_switch, points):
    """E[m_t | history before t] for t = 0 .. T, by weights over likely arms; [T + 1, k]."""
    prior = np.array(likely(arms, structure, points))
    weights, means = np.full(len(prior), 1 / len(prior)), []
    for action, reward in zip(actions, rewards, strict=True):
        means.append(weights @ prior)
        weights = weights * (prior[:, action] if reward else 1 - prior[:, action])
        weights = weights / weights.sum()
        weights = (1 - p_switch) * weights + p_switch / len(prior)
    return np.array([*means, weights @ prior])


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("p_switch", [0.0, 0.15, 1.0])
def test_the_filter_is_the_posterior(structure, p_switch):
    rng = np.random.default_rng(3)
    actions, rewards = rng.integers(0, 2, (3, 25)), rng.integers(0, 2, (3, 25))
    ours = exact_filter(actions, rewards, arms=2, structure=structure, p_switch=p_switch)
    points = 500 if structure == "dependent_uniform" else 80
    for row in range(3):
        case = actions[row], rewards[row], 2, structure, p_switch, points
        assert ours[row] == pytest.approx(posterior_by_enumeration(*case), abs=1e-3)


def test_the_filter_counts_what_each_arm_has_paid():
    ours = exact_filter([[0, 0, 2, 0]], [[1, 1, 0, 0]], arms=3)
    by_hand = [
        [1 / 2, 1 / 2, 1 / 2],
        [2 / 3, 1 / 2, 1 / 2],
        [3 / 4, 1 / 2, 1 / 2],
        [3 / 4, 1 / 2, 1 / 3],
        [3 / 5, 1 / 2, 1 / 3],
    ]
    assert ours[0] == pytest.approx(np.array(by_hand))


def test_the_filter_is_calibrated_on_the_env():
    """Where it says x, the arms' mean probability is x: restless, with a policy that uses it."""
    settings = {"arms": 3, "pulls": 30, "p_switch": 0.1}
    env = make_vector(ID, 2000, settings, Stream(6))
    infos, rng = env.reset()[1], np.random.default_rng(1)
    actions, rewards, contexts = [], [], [infos["context"]]
    for _ in range(29):
        anything = rng.integers(0, 3, 2000)
        actions.append(np.where(rewards[-1], actions[-1], anything) if rewards else anything)
        _, paid, _, _, infos = env.step(actions[-1])
        rewards.append(paid)
        contexts.append(infos["context"])
    believed = exact_filter(np.stack(actions, 1), np.stack(rewards, 1), **settings).ravel()
    true = np.stack(contexts, 1).ravel()
    edges = np.quantile(believed, np.linspace(0, 1, 11))
    of = np.digitize(believed, edges[1:-1])
    for decile in range(10):
        assert true[of == decile].mean() == pytest.approx(believed[of == decile].mean(), abs=0.015)


@pytest.mark.parametrize(
    "actions, rewards, message",
    [
        ([[0, 1]], [[1.0]], r"actions \(1, 2\) of type int64, rewards \(1, 1\)"),
        ([[0.0]], [[1.0]], "give whole numbers"),
        ([[5]], [[1.0]], "actions must be 0 to 4 and rewards 0 or 1"),
        ([[0]], [[0.5]], "actions must be 0 to 4 and rewards 0 or 1"),
    ],
)
def test_misuse_of_the_filter_is_told(actions, rewards, message):
    with pytest.raises(ValueError, match=message):
        exact_filter(actions, rewards)
