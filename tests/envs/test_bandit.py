"""The Bernoulli bandit: rewards, arms, sessions."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_metarl.envs import Stream, make_vector
from rllib_metarl.envs.bandit.env import BernoulliBanditEnv

ID = "Bandit/Bernoulli-v0"
ONE_GOOD = {"dependent_easy": 0.9, "dependent_medium": 0.75, "dependent_hard": 0.6}


def first_contexts(count: int, **settings) -> np.ndarray:
    return make_vector(ID, count, settings, Stream(0)).reset()[1]["context"]


def labels_of_a_trial(count: int, **settings) -> dict[str, np.ndarray]:
    """The labels of o_0 .. o_T of N trials, each [N, T + 1, ...], arm 0 pulled all the time."""
    env = make_vector(ID, count, settings, Stream(4))
    record = [env.reset()[1]]
    while "final_info" not in record[-1]:
        record.append(env.step(np.zeros(count, int))[4])
    record[-1] = record[-1]["final_info"]
    return {key: np.stack([infos[key] for infos in record], 1) for key in record[0]}


def test_a_trial_is_ten_pulls_without_a_session_change():
    labels = labels_of_a_trial(50)
    assert labels["context"].shape == (50, 11, 5) and labels["context"].dtype == np.float32
    assert (labels["context"] == labels["context"][:, :1]).all()
    assert (labels["session"] == 0).all() and (labels["switched"] == 0).all()


def test_there_is_nothing_to_see_unless_time_is_shown():
    for shown in (False, True):
        env = BernoulliBanditEnv(arms=2, pulls=4, show_time=shown)
        seen = [env.reset(seed=0)[0]] + [env.step(1)[0] for _ in range(4)]
        expected = [0, 0.25, 0.5, 0.75, 1] if shown else [0] * 5
        assert np.array_equal(seen, np.array(expected)[:, None])


@pytest.mark.parametrize("structure", ["independent", *ONE_GOOD])
def test_arms_pay_as_often_as_their_context_says(structure):
    env = make_vector(ID, 500, {"arms": 2, "pulls": 200, "structure": structure}, Stream(1))
    chances = env.reset()[1]["context"]
    rng = np.random.default_rng(0)
    excess, pulled = np.zeros((2, 500, 2))
    for _ in range(200):
        actions = rng.integers(0, 2, 500)
        rewards = env.step(actions)[1]
        assert set(rewards.tolist()) <= {0.0, 1.0}
        excess[np.arange(500), actions] += rewards - chances[np.arange(500), actions]
        pulled[np.arange(500), actions] += 1
    z = excess / np.sqrt((pulled * chances * (1 - chances)).clip(0.5))
    assert np.abs(z.mean()) < 0.15 and 0.8 < z.std() < 1.2


def test_rewards_of_one_arm_do_not_depend_on_each_other():
    env = make_vector(ID, 20_000, {"structure": "dependent_hard", "arms": 2}, Stream(2))
    chance = env.reset()[1]["context"][:, 0]
    rewards = np.stack([env.step(np.zeros(20_000, int))[1] - chance for _ in range(10)])
    correlation = np.corrcoef(rewards)
    assert correlation == pytest.approx(np.eye(10), abs=0.03)


def test_the_same_luck_meets_whichever_arm_is_pulled():
    """With equal seeds, a better arm pays whenever a worse one would have paid."""
    paid = []
    for arm in (0, 1):
        env = make_vector(ID, 300, {"arms": 2, "pulls": 30})
        chances = env.reset(seed=9)[1]["context"]
        paid.append(np.stack([env.step(np.full(300, arm))[1] for _ in range(30)], 1))
    better = np.where((chances[:, 0] > chances[:, 1])[:, None], *paid)
    worse = np.where((chances[:, 0] > chances[:, 1])[:, None], *paid[::-1])
    assert (better >= worse).all() and (better > worse).any()


def test_independent_arms_are_uniform_and_do_not_depend_on_each_other():
    chances = first_contexts(20_000, arms=3)
    assert np.quantile(chances, [0.1, 0.5, 0.9], axis=0) == pytest.approx(
        np.array([[0.1], [0.5], [0.9]]) * np.ones(3), abs=0.015
    )
    assert np.corrcoef(chances.T) == pytest.approx(np.eye(3), abs=0.03)


def test_dependent_arms_sum_to_one():
    for structure in ("dependent_uniform", *ONE_GOOD):
        chances = first_contexts(4000, arms=2, structure=structure)
        assert chances.sum(1) == pytest.approx(np.ones(4000))
        assert (chances[:, 0] > 0.5).mean() == pytest.approx(0.5, abs=0.03)
        if structure in ONE_GOOD:
            good = ONE_GOOD[structure]
            assert np.unique(chances) == pytest.approx([1 - good, good])
        else:
            assert chances[:, 0].std() == pytest.approx(12**-0.5, abs=0.01)


def test_a_restless_bandit_draws_all_arms_anew_at_a_switch_and_only_then():
    labels = labels_of_a_trial(400, arms=3, pulls=50, p_switch=0.1)
    switched, session, context = labels["switched"], labels["session"], labels["context"]
    assert (switched[:, 0] == 0).all() and set(np.unique(switched)) == {0, 1}
    assert np.array_equal(session, np.cumsum(switched, 1))
    assert switched[:, 1:].mean() == pytest.approx(0.1, abs=0.007)
    changed = context[:, 1:] != context[:, :-1]
    assert np.array_equal(changed.all(-1), switched[:, 1:] == 1)
    assert np.array_equal(changed.any(-1), switched[:, 1:] == 1)
    assert context[:, -1].mean() == pytest.approx(0.5, abs=0.03)


def test_with_one_good_arm_a_switch_may_draw_the_same_again():
    settings = {"arms": 2, "pulls": 30, "structure": "dependent_medium", "p_switch": 0.3}
    labels = labels_of_a_trial(400, **settings)
    at = labels["switched"][:, 1:] == 1
    same = labels["context"][:, 1:, 0] == labels["context"][:, :-1, 0]
    assert same[at].mean() == pytest.approx(0.5, abs=0.03) and same[~at].all()


def test_after_a_switch_rewards_follow_the_new_arms():
    env = make_vector(
        ID,
        2000,
        {"arms": 2, "pulls": 20, "structure": "dependent_easy", "p_switch": 0.2},
        Stream(3),
    )
    infos, right, all_of_them = env.reset()[1], 0.0, 0
    for _ in range(20):
        best = infos["context"].argmax(1)
        _, rewards, _, _, infos = env.step(best)
        right, all_of_them = right + rewards.sum(), all_of_them + 2000
    assert right / all_of_them == pytest.approx(0.9, abs=0.005)


def test_the_text_shows_pulls_and_wins():
    env = BernoulliBanditEnv(arms=2, structure="dependent_easy", render_mode="ansi")
    _, info = env.reset(seed=1)
    wins = sum(env.step(1)[1] for _ in range(3))
    head, first, second = env.render().splitlines()
    assert head == "pull 3 of 10"
    assert first.endswith("paid 0/0") and second.endswith(f"paid {wins:.0f}/3")
    assert f"{info['context'][0]:.2f}" in first and f"{info['context'][1]:.2f}" in second
    env.reset()
    assert env.render().startswith("pull 0 of 10\n")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"arms": 1}, "arms is 1, but must be a whole number from 2"),
        ({"pulls": 0}, "pulls is 0"),
        ({"p_switch": 1.5}, "p_switch is 1.5, but must be a number from 0 to 1"),
        ({"structure": "dependent_eazy"}, "did you mean 'dependent_easy'"),
        ({"structure": "dependent_hard"}, "for two arms, but arms is 5; set arms to 2"),
    ],
)
def test_bad_parameters_are_refused_with_the_mend(settings, message):
    with pytest.raises(ValueError, match=message):
        BernoulliBanditEnv(**settings)
