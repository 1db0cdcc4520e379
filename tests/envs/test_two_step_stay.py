"""The stay analysis tells agents that plan from agents that repeat."""

from __future__ import annotations

import pathlib
import re
from types import SimpleNamespace

import numpy as np
import pytest

from rllib_metarl.envs.two_step import stay
from rllib_metarl.envs.two_step.agents import BayesFilter, ModelBased, ModelFree, Played, play
from rllib_metarl.envs.two_step.stay import (
    Rounds,
    plain_interaction,
    regress_stays,
    rounds_of,
    stay_probabilities,
)


def rounds_played(agent, meta_episodes: int = 250, seed: int = 0, **parameters) -> Rounds:
    return rounds_of(play(agent, meta_episodes, seed, **parameters).episodes())


@pytest.fixture(scope="module")
def free() -> Rounds:
    return rounds_played(ModelFree())


@pytest.fixture(scope="module")
def based() -> Rounds:
    return rounds_played(ModelBased())


def test_rounds_are_read_out_of_meta_episodes():
    start, a, b = np.eye(3)
    episode = SimpleNamespace(
        observations=np.array([start, a, start, a, start, b, start]),
        actions=np.array([0, 1, 1, 1, 1, 0]),
        rewards=np.array([0.0, 1.0, 0.0, 0.0, 0.0, 1.0]),
    )
    rounds = rounds_of([episode, episode])
    assert rounds.first_actions.tolist() == [[0, 1, 1]] * 2
    assert rounds.common.tolist() == [[True, False, True]] * 2
    assert rounds.rewards.tolist() == [[1.0, 0.0, 1.0]] * 2


def test_stay_probabilities_by_hand():
    """Five rounds; kinds in order: reward common, reward rare, miss common, reward common, -."""
    actions = [[0, 0, 1, 1, 0], [1, 1, 1, 1, 1]]
    common = [[1, 0, 1, 1, 0], [1, 1, 1, 1, 1]]
    rewards = [[1, 1, 0, 1, 0], [1, 1, 1, 1, 0]]
    table = stay_probabilities(actions, common, rewards)
    # rewarded and common: stayed, changed; rewarded and rare: changed; miss and common: stayed
    assert table.by_episode[0, 1].tolist() == [0.0, 0.5] and table.by_episode[0, 0, 1] == 1.0
    assert np.isnan(table.by_episode[0, 0, 0])
    assert table.by_episode[1, 1, 1] == 1.0 and np.isnan(table.by_episode[1, 0]).all()
    assert table.mean[1].tolist() == [0.0, 5 / 6] and table.mean[0, 1] == 1.0


def test_the_cells_have_the_patterns_of_the_two_agents(free, based):
    repeats, plans = stay_probabilities(*free).mean, stay_probabilities(*based).mean
    assert repeats[1].min() > repeats[0].max()  # a main effect of reward
    assert min(plans[1, 1], plans[0, 0]) > max(plans[1, 0], plans[0, 1]) + 0.2


def test_planning_shows_as_an_interaction_and_nothing_else(based):
    effects = regress_stays(*based)
    assert effects.interaction.positive and effects.interaction.estimate > 1.5
    assert abs(effects.reward.estimate) < 0.15 * effects.interaction.estimate


def test_repeating_shows_as_an_effect_of_reward_and_no_interaction(free):
    effects = regress_stays(*free)
    assert effects.reward.positive and effects.reward.estimate > 1.0
    assert effects.interaction.low < 0.0 < effects.interaction.high
    assert abs(effects.interaction.estimate) < 0.1 * effects.reward.estimate


def test_the_pages_example_runs_and_its_figures_are_right(free, based):
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "envs.md").read_text()
    about = page.split("## The two-step task")[1]
    names: dict = {}
    exec(re.search(r"```python\n(.*?)```", about, re.DOTALL)[1], names)
    assert all(map(np.array_equal, names["rounds"], based))
    text = " ".join(about.split())
    for rounds, lags, digits in ((free, 0, 1), (free, 5, 2), (based, 5, 1)):
        estimate, low, high = regress_stays(*rounds, lags=lags).interaction
        figures = f"{estimate:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
        assert figures in text


def test_without_earlier_rounds_who_repeats_seems_to_plan(free):
    """Why `regress_stays` has lags: the usual analysis is wrong about this task."""
    assert plain_interaction(*free).positive
    assert regress_stays(*free, lags=0).interaction.low > 0.5


@pytest.mark.parametrize("trace", [0.0, 0.5])
@pytest.mark.parametrize("learning_rate", [0.2, 0.7])
def test_no_model_free_agent_seems_to_plan(trace, learning_rate):
    rounds = rounds_played(ModelFree(learning_rate, trace=trace), seed=1)
    effects = regress_stays(*rounds)
    assert not effects.interaction.positive and effects.reward.positive


def test_agents_that_plan_well_or_perfectly_show_it_too():
    for agent in (BayesFilter(), BayesFilter(None), ModelBased(0.2)):
        effects = regress_stays(*rounds_played(agent, 100, seed=2))
        assert effects.interaction.positive and np.isfinite(effects.interaction).all()
        assert effects.interaction.estimate > 3 * abs(effects.reward.estimate)


def test_chance_shows_nothing():
    effects = regress_stays(*rounds_played(ModelFree(steepness=0.0), seed=3))
    for effect in (effects.bias, effects.reward, effects.transition, effects.interaction):
        assert abs(effect.estimate) < 0.12 and effect.high - effect.low < 0.2


def test_the_regression_finds_coefficients_that_were_put_in():
    """Choices drawn from the model itself: reward 1, transition -0.5, interaction 0.8, bias 0.3."""
    rng = np.random.default_rng(0)
    shape = 400, 100
    common, rewards = rng.random(shape) < 0.8, (rng.random(shape) < 0.5).astype(float)
    r, c = rewards - 0.5, common - 0.5
    log_odds = 0.3 + r - 0.5 * c + 0.8 * 2 * r * c
    stays = rng.random(shape) < 1 / (1 + np.exp(-log_odds))
    actions = np.zeros(shape, int)
    for t in range(1, 100):
        actions[:, t] = np.where(stays[:, t - 1], actions[:, t - 1], 1 - actions[:, t - 1])
    effects = regress_stays(actions, common, rewards, lags=2)
    truth = {"bias": 0.3, "reward": 1.0, "transition": -0.5, "interaction": 0.8}
    for name, value in truth.items():
        effect = getattr(effects, name)
        assert effect.estimate == pytest.approx(value, abs=0.08)
        assert effect.low - 0.03 < value < effect.high + 0.03
        assert 0.02 < effect.high - effect.low < 0.2
    cells = stay_probabilities(actions, common, rewards).mean
    by_hand = 1 / (1 + np.exp(-(0.3 + 0.5 - 0.25 + 0.4)))
    assert cells[1, 1] == pytest.approx(by_hand, abs=0.02)


def test_the_bootstrap_agrees_with_fitting_every_resample_anew():
    rounds = rounds_played(ModelFree(), 40, seed=4)
    quick = regress_stays(*rounds, lags=2, resamples=200, seed=5)
    design, stays = stay._design(rounds, 2)
    weights = stay._weights(40, 200, 5).astype(int)
    slow = [
        stay._fit(design[np.repeat(np.arange(40), w)], stays[np.repeat(np.arange(40), w)])
        for w in weights
    ]
    low, high = np.percentile(np.array(slow)[:, 3], [2.5, 97.5])
    assert quick.interaction[1:] == pytest.approx((low, high), abs=0.02)


@pytest.mark.parametrize(
    "interaction",
    [plain_interaction, lambda *rounds, **how: regress_stays(*rounds, lags=1, **how).interaction],
)
def test_an_interval_has_the_coverage_it_claims(interaction):
    """The interaction of chance is 0: 95 of 100 intervals should hold it."""
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(100):
        actions, common, rewards = rng.random((3, 60, 40)) < 0.5
        effect = interaction(actions, common, rewards, resamples=300, seed=seed)
        held += effect.low < 0.0 < effect.high
    assert 88 <= held <= 99


@pytest.mark.parametrize(
    "misuse, error, message",
    [
        (lambda: rounds_of([]), ValueError, "0 different shapes"),
        (
            lambda: rounds_of([Played(np.zeros((5, 6)), np.zeros(4), np.zeros(4))]),
            ValueError,
            "are not those of TwoStep-v0",
        ),
        (
            lambda: rounds_of([Played(np.zeros((5, 3)), np.zeros(4), np.zeros(4))]),
            ValueError,
            "do not alternate",
        ),
        (
            lambda: stay_probabilities(np.zeros((2, 9)), np.zeros((2, 8)), np.zeros((2, 9))),
            ValueError,
            r"have shapes \[\(2, 9\), \(2, 8\), \(2, 9\)\]",
        ),
        (
            lambda: stay_probabilities(np.zeros((2, 9)), np.zeros((2, 9)), np.full((2, 9), 0.5)),
            ValueError,
            "must all be 0 or 1",
        ),
        (
            lambda: regress_stays(*np.zeros((3, 2, 5)), lags=4),
            ValueError,
            "lags is 4, but for 5 rounds it must be from 0 to 3",
        ),
    ],
)
def test_misuse_is_told(misuse, error, message):
    with pytest.raises(error, match=message):
        misuse()
