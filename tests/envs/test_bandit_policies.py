"""Classical strategies: against exact values, each other, and the table of RL²'s paper."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from rllib_metarl.envs import Stream, make_vector
from rllib_metarl.envs.bandit.env import BernoulliBanditEnv
from rllib_metarl.envs.bandit.indices import gittins_indices
from rllib_metarl.envs.bandit.parameters import BanditParameters
from rllib_metarl.envs.bandit.policies import (
    Record,
    _regrets,
    classical_returns,
    greedy,
    random,
    thompson,
    ucb1,
)


def mean_of(scores: dict, name: str) -> float:
    return scores[name]["return_mean"]


def test_the_published_table_for_five_arms_and_ten_pulls():
    """Duan et al. 2016, table 1, each within 0.2: its standard errors are about 0.06."""
    published = {"random": 5.0, "gittins": 6.6, "thompson": 5.7, "ucb1": 6.7}
    published |= {"greedy": 6.6, "epsilon_greedy": 6.6}
    scores = classical_returns(trials=10_000)
    assert {name: mean_of(scores, name) for name in published} == pytest.approx(published, abs=0.2)


@pytest.mark.parametrize(
    "arms, published",
    [
        (5, {"random": 49.9, "gittins": 78.3, "thompson": 74.7, "ucb1": 78.0, "greedy": 74.8}),
        (10, {"random": 49.9, "gittins": 82.8, "thompson": 76.7, "ucb1": 82.4}),
    ],
)
def test_the_published_table_for_a_hundred_pulls(arms, published):
    scores = classical_returns(trials=2000, policies=list(published), arms=arms, pulls=100)
    ours = {name: mean_of(scores, name) for name in published}
    assert ours == pytest.approx(published, abs=1.5)
    assert mean_of(scores, "random") < mean_of(scores, "thompson") < mean_of(scores, "ucb1")


def test_no_strategy_beats_the_bayes_optimal_one_and_gittins_comes_close():
    for settings in ({"arms": 2, "pulls": 30}, {"arms": 5, "pulls": 10}):
        scores = classical_returns(trials=10_000, **settings)
        bayes = BernoulliBanditEnv(**settings).reference_returns()["bayes"]
        for score in scores.values():
            assert score["return_mean"] < bayes + 3 * score["standard_error"]
        assert mean_of(scores, "gittins") > bayes - 3 * scores["gittins"]["standard_error"] - 0.02
        assert mean_of(scores, "random") < bayes - 1


@pytest.mark.parametrize("structure", ["dependent_uniform", "dependent_easy", "dependent_hard"])
def test_on_dependent_arms_the_bayes_optimal_policy_beats_strategies_for_independent_ones(
    structure,
):
    settings = {"arms": 2, "pulls": 100, "structure": structure}
    scores = classical_returns(trials=2000, policies=["gittins", "thompson", "ucb1"], **settings)
    references = BernoulliBanditEnv(**settings).reference_returns()
    for score in scores.values():
        assert references["bayes"] > score["return_mean"] + 2 * score["standard_error"]
        assert score["regret_mean"] + score["return_mean"] == pytest.approx(references["oracle"])


def test_returns_are_those_that_the_rewards_add_up_to():
    """Greedy play, by hand on the env."""
    env_return, trials = 0.0, 4000
    env = make_vector("Bandit/Bernoulli-v0", trials, {"arms": 3}, Stream(0))
    env.reset()
    pulled, paid = np.zeros((2, trials, 3))
    rng = np.random.default_rng(0)
    for _ in range(10):
        means = (paid + 1) / (pulled + 2)
        actions = (means + 1e-6 * rng.random(means.shape)).argmax(1)
        rewards = env.step(actions)[1]
        pulled[np.arange(trials), actions] += 1
        paid[np.arange(trials), actions] += rewards
        env_return += rewards.mean()
    scores = classical_returns(trials=4000, policies=["greedy"], arms=3)
    assert mean_of(scores, "greedy") == pytest.approx(env_return, abs=0.15)


def test_in_a_restless_bandit_the_past_is_a_worse_guide():
    names = ["gittins", "thompson"]
    still = classical_returns(trials=1000, policies=names, arms=2, pulls=50)
    restless = classical_returns(trials=1000, policies=names, arms=2, pulls=50, p_switch=0.1)
    for name in names:
        assert restless[name]["regret_mean"] > 2 * still[name]["regret_mean"]


def index_by_bisection(h: int, m: int, s: int) -> float:
    @functools.cache
    def value(charge, h, m, s):
        if h == 0:
            return 0.0
        c = (s + 1) / (m + 2)
        won, lost = value(charge, h - 1, m + 1, s + 1), value(charge, h - 1, m + 1, s)
        return max(0.0, c - charge + c * won + (1 - c) * lost)

    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if value(middle, h, m, s) > 0 else (low, middle)
    return low


def test_gittins_indices_are_the_charges_at_which_an_arm_is_just_worth_playing():
    table = gittins_indices(40)
    for state in ((1, 0, 0), (2, 0, 0), (40, 0, 0), (20, 3, 1), (15, 25, 24), (30, 10, 0)):
        assert table[state] == pytest.approx(index_by_bisection(*state), abs=5e-4)
    # by hand for two pulls: c - x + c (2/3 - x) = 0 with c = 1/2
    assert table[2, 0, 0] == pytest.approx(5 / 9, abs=1e-4)
    assert np.isnan(table[40, 1, 0]) and np.isnan(table[10, 3, 4])


def test_an_index_is_the_mean_at_the_end_and_grows_with_the_pulls_left():
    table = gittins_indices(30)
    m, s = np.tril_indices(30)
    assert table[1, m, s] == pytest.approx((s + 1) / (m + 2), abs=1e-6)
    for h in range(1, 30):
        now, longer = table[h, : 30 - h, : 30 - h], table[h + 1, : 30 - h, : 30 - h]
        there = ~np.isnan(now)
        assert (longer[there] > now[there] - 1e-6).all()


def record_of(pulled, paid, made, left) -> Record:
    rng = np.random.default_rng(0)
    shape = 20_000, len(pulled)
    return Record(np.broadcast_to(pulled, shape), np.broadcast_to(paid, shape), made, left, rng)


def test_ties_are_broken_at_random():
    tied = record_of([2, 0, 2, 1], [1, 0, 1, 0], 5, 5)  # means 1/2, 1/2, 1/2 and 1/3
    shares = np.bincount(greedy(tied), minlength=4) / 20_000
    assert shares == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], abs=0.015)


def test_ucb1_follows_its_formula():
    """Means 3/5 and 1/2, bonuses sqrt(2 ln 4) times 1/sqrt(5) and 1/sqrt(2): equal at c = 0.231."""
    record = record_of([3, 0], [2, 0], 3, 7)
    assert (ucb1(record, 0.22) == 0).all() and (ucb1(record, 0.24) == 1).all()


def test_thompson_pulls_an_arm_as_often_as_it_is_likely_to_be_the_best():
    """P(Beta(2, 1) > Beta(1, 1)) = 2/3."""
    share = (thompson(record_of([1, 0], [1, 0], 1, 9)) == 0).mean()
    assert share == pytest.approx(2 / 3, abs=0.01)


def test_epsilon_and_scale_reach_their_strategies():
    settings = {"trials": 2000, "policies": ["epsilon_greedy", "ucb1", "random"]}
    wild = classical_returns(epsilon=1.0, ucb_scale=50.0, **settings)
    calm = classical_returns(epsilon=0.0, ucb_scale=0.0, **settings)
    for name in ("epsilon_greedy", "ucb1"):
        assert mean_of(wild, name) == pytest.approx(5.0, abs=0.1)
        assert mean_of(calm, name) == pytest.approx(6.6, abs=0.15)
    assert wild["random"] == calm["random"]  # equal seeds, equal trials


def test_equal_seeds_give_equal_scores_whatever_else_is_simulated():
    all_of_them, one = classical_returns(300, 7), classical_returns(300, 7, policies=["thompson"])
    assert list(all_of_them) == [
        "random",
        "greedy",
        "epsilon_greedy",
        "ucb1",
        "thompson",
        "gittins",
    ]
    assert one["thompson"] == all_of_them["thompson"]
    assert classical_returns(300, 8, policies=["thompson"]) != one


def test_trials_differ_between_seeds_and_within_one():
    """Random play's regret hardly differs between two simulations of one trial."""
    p = BanditParameters.make(arms=2, pulls=100)
    first, second = (_regrets(p, random, 5200, seed) for seed in (0, 1))
    for other in (second[:200], first[200:400], first[5000:]):  # the last are another block
        assert abs(np.corrcoef(first[:200], other)[0, 1]) < 0.25


def test_misuse_is_told():
    with pytest.raises(ValueError, match="no policy 'gitins' .did you mean 'gittins'"):
        classical_returns(policies=["gitins"])
    with pytest.raises(ValueError, match="epsilon is 2"):
        classical_returns(epsilon=2)
    with pytest.raises(ValueError, match="no policy 'gittins'"):
        classical_returns(policies=["gittins"], pulls=201)
    with pytest.raises(ValueError, match="pulls is 0, but must be 1 to 200"):
        gittins_indices(0)
