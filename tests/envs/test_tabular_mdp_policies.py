"""Posterior sampling and greed in the random tabular MDPs: formulas and published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_metarl.envs.tabular_mdp.parameters import TabularParameters
from rllib_metarl.envs.tabular_mdp.policies import Posterior, greedy_returns, psrl_returns

TINY = TabularParameters.make(states=2, actions=2, reward_mean=1.0, reward_std=2.0, noise_std=0.5)
ZERO, ONE = np.zeros(1, int), np.ones(1, int)


def informed(prior_mean: float = 1.0, parameters: TabularParameters = TINY) -> Posterior:
    """After rewards 3 and 4 for (0, 1), and transitions from there to 1, 1 and 0."""
    posterior = Posterior(1, parameters, prior_mean)
    for reward in (3.0, 4.0):
        posterior.see_reward(ZERO, ONE, np.array([reward]))
    for following in (ONE, ONE, ZERO):
        posterior.see_transition(ZERO, ONE, following)
    return posterior


def test_the_posterior_means_are_those_of_the_conjugate_prior():
    models = informed().mean()
    precision = 1 / 2.0**2 + 2 / 0.5**2
    assert models.reward[0, 0, 1] == pytest.approx((1 / 2.0**2 + 7 / 0.5**2) / precision)
    assert models.transition[0, 0, 1] == pytest.approx([2 / 5, 3 / 5])
    assert models.reward[0, 1] == pytest.approx([1, 1])
    assert models.transition[0, 1, 0] == pytest.approx([0.5, 0.5])
    wrong = informed(prior_mean=0.0).mean()
    assert wrong.reward[0, 0, 1] == pytest.approx(7 / 0.5**2 / precision)
    assert wrong.reward[0, 1, 1] == 0.0


def test_samples_have_the_posteriors_mean_and_spread():
    posterior, rng = informed(), np.random.default_rng(0)
    samples = [posterior.sample(rng) for _ in range(6000)]
    reward = np.array([s.reward[0] for s in samples])
    transition = np.array([s.transition[0] for s in samples])
    assert reward.mean(0) == pytest.approx(posterior.mean().reward[0], abs=0.08)
    deviation = (1 / 2.0**2 + 2 / 0.5**2) ** -0.5
    assert reward.std(0) == pytest.approx(np.array([[2, deviation], [2, 2]]), rel=0.05)
    assert transition.mean(0) == pytest.approx(posterior.mean().transition[0], abs=0.015)
    # Dirichlet(2, 3): variance 2 * 3 / (25 * 6)
    assert transition[:, 0, 1, 1].std() == pytest.approx(0.2, rel=0.05)


def test_without_noise_one_look_is_enough_and_without_spread_none_is_needed():
    exact = informed(1.0, TabularParameters.make(states=2, actions=2, noise_std=0.0))
    samples = exact.sample(np.random.default_rng(0))
    assert samples.reward[0, 0, 1] == pytest.approx(3.5) and samples.reward[0, 0, 0] != 1.0
    known = informed(1.0, TabularParameters.make(states=2, actions=2, reward_std=0.0))
    assert (known.sample(np.random.default_rng(0)).reward == 1.0).all()


@pytest.mark.parametrize("episodes, published", [(10, 138.1), (25, 408.8)])
def test_psrl_earns_what_was_published(episodes, published):
    """RL²'s Table 2: PSRL that takes the mean reward to be 0; with the true prior it earns less."""
    result = psrl_returns(1000, 0, prior_mean=0.0, inner_episodes=episodes)
    assert result.return_mean == pytest.approx(published, abs=3.5 * result.standard_error)
    assert 0.3 < result.standard_error < 0.02 * published
    truthful = psrl_returns(1000, 0, inner_episodes=episodes)
    assert truthful.return_mean < result.return_mean


def test_greed_is_better_for_short_trials_and_worse_for_long_ones():
    short = [f(600, 1).return_mean for f in (greedy_returns, psrl_returns)]
    assert short == pytest.approx([149.3, 132.9], abs=3.5)
    long = [f(150, 1, inner_episodes=75).return_mean for f in (greedy_returns, psrl_returns)]
    assert long[0] < long[1]


def test_the_reset_after_an_inner_episode_is_not_taken_for_a_transition(monkeypatch):
    seen = []
    monkeypatch.setattr(Posterior, "see_transition", lambda *args: seen.append(args))
    psrl_returns(5, 0, inner_horizon=1, inner_episodes=4)
    assert not seen
    psrl_returns(5, 0, inner_horizon=3, inner_episodes=4)
    assert len(seen) == 2 * 4


def test_the_seed_decides_all():
    assert psrl_returns(20, 3) == psrl_returns(20, 3) != psrl_returns(20, 4)


def test_misuse_is_told():
    with pytest.raises(ValueError, match="trials is 1, but must be a whole number, 2 or more"):
        psrl_returns(1, 0)
    with pytest.raises(ValueError, match="p_switch is 0.1, .*leave p_switch at 0"):
        psrl_returns(10, 0, p_switch=0.1)
    with pytest.raises(ValueError, match="states is 1"):
        greedy_returns(10, 0, states=1)
