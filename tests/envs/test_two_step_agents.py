"""The simulated agents of the two-step task."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_metarl.envs import make_vector
from rllib_metarl.envs.two_step.agents import BayesFilter, ModelBased, ModelFree, play
from rllib_metarl.envs.two_step.parameters import TwoStepParameters
from tests.envs.filters import two_step as exact_filter

DEFAULT = TwoStepParameters.make()
A, B = np.zeros(1, int), np.ones(1, int)
PAID, MISSED = np.ones(1), np.zeros(1)


def test_td1_credits_the_action_and_not_the_state_it_led_to():
    agent = ModelFree(learning_rate=0.5, steepness=2.0)
    agent.begin(1, DEFAULT)
    agent.learn(A, B, PAID)  # action 0 led, rarely, to B
    assert agent.values() == pytest.approx(2 * np.array([[0.75, 0.5]]))
    agent.learn(A, A, MISSED)
    assert agent.values() == pytest.approx(2 * np.array([[0.375, 0.5]]))


def test_without_a_trace_the_action_gets_the_value_of_its_state():
    agent = ModelFree(learning_rate=0.5, steepness=1.0, trace=0.0)
    agent.begin(1, DEFAULT)
    agent.learn(A, B, PAID)  # B is worth 0.5 so far
    assert agent.values() == pytest.approx(np.array([[0.5, 0.5]]))
    agent.learn(A, B, PAID)  # 0.75 now
    assert agent.values() == pytest.approx(np.array([[0.625, 0.5]]))


def test_the_model_based_agent_credits_the_action_that_leads_there():
    agent = ModelBased(learning_rate=0.5, steepness=1.0)
    agent.begin(1, DEFAULT)
    agent.learn(A, B, PAID)
    expected = [0.8 * 0.5 + 0.2 * 0.75, 0.2 * 0.5 + 0.8 * 0.75]
    assert agent.values() == pytest.approx(np.array([expected]))


def test_the_bayesian_agent_weighs_what_each_action_leads_to():
    agent = BayesFilter(steepness=2.0)
    agent.begin(1, DEFAULT)
    agent.learn(A, B, PAID)
    belief = 0.975 * 0.9 + 0.025 * 0.1  # that B is good
    expected = [(1 - belief) * 0.74 + belief * 0.26, (1 - belief) * 0.26 + belief * 0.74]
    assert agent.values() == pytest.approx(2 * np.array([expected]))


def test_the_bayesian_agent_chooses_by_the_exact_filter():
    agent = BayesFilter(steepness=10.0)
    record = play(agent, 300, seed=0, rounds=30)
    beliefs = exact_filter(record.observations, record.actions, record.rewards, rounds=30)
    before = beliefs[:, 0:-1:2]
    value = 0.26 + 0.48 * np.stack([1 - before, before])  # 0.74 if right, 0.26 if wrong
    chance = 1 / (1 + np.exp(-10.0 * (value[1] - value[0])))
    chosen = record.actions[:, 0::2]
    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.0)):
        inside = (chance >= low) & (chance < high)
        error = 4 * 0.5 / np.sqrt(inside.sum())
        assert chosen[inside].mean() == pytest.approx(chance[inside].mean(), abs=error)


def test_greedy_with_the_filter_earns_the_bayes_reference():
    returns = play(BayesFilter(None), 5000, seed=1).rewards.sum(1)
    bayes = make_vector("TwoStep-v0", 1).reference_returns()["bayes"]
    assert returns.mean() == pytest.approx(bayes, abs=3.5 * returns.std() / np.sqrt(5000))


def test_who_plans_earns_more_than_who_repeats_and_both_more_than_chance():
    free, based, bayes = (
        play(agent, 400, seed=2).rewards.sum(1).mean()
        for agent in (ModelFree(), ModelBased(), BayesFilter())
    )
    assert 55 < free < based - 2 and based < bayes < 70.6


def test_meta_episodes_are_whole_and_the_seed_decides_all():
    first, second = (play(ModelBased(), 5, seed=3, rounds=7) for _ in range(2))
    assert first.observations.shape == (5, 15, 3)
    assert first.actions.shape == first.rewards.shape == (5, 14)
    assert np.array_equal(first.actions, second.actions)
    assert not np.array_equal(first.actions, play(ModelBased(), 5, seed=4, rounds=7).actions)
    assert (first.actions[:, 0::2] == first.actions[:, 1::2]).all()


@pytest.mark.parametrize(
    "misuse, message",
    [
        (lambda: ModelFree(learning_rate=2), "ModelFree: learning_rate is 2"),
        (lambda: ModelFree(trace=-1), "ModelFree: trace is -1"),
        (lambda: ModelBased(steepness=-1), "ModelBased: steepness is -1"),
        (lambda: BayesFilter(steepness="much"), "BayesFilter: steepness is 'much'"),
        (lambda: play(ModelFree(), 0, 0), "meta_episodes is 0"),
        (lambda: play(ModelFree(), 1, 0, rounds=0), "rounds is 0"),
    ],
)
def test_misuse_is_told(misuse, message):
    with pytest.raises(ValueError, match=message):
        misuse()
