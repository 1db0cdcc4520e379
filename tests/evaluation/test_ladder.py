"""What the rungs of the debug ladder say, on made-up returns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_metarl.errors import UserError
from rllib_metarl.evaluation.ladder.rungs import Offer, Plan, absence, check, probe, settings
from rllib_metarl.evaluation.ladder.verdicts import (
    RUNG_LABELS,
    Outcome,
    above,
    difference,
    left_out,
    must_stop,
    verdicts,
)

TASKS = np.random.default_rng(0).normal(0.0, 10.0, 200)  # some tasks pay far more than others
REFERENCES = {"blind": 10.0, "bayes": 30.0, "oracle": 40.0}


def _outcome(mean: float, seed: int = 0) -> Outcome:
    noise = np.random.default_rng(seed).normal(0.0, 1.0, len(TASKS))
    return Outcome(TASKS - TASKS.mean() + noise - noise.mean() + mean, "", 1000, 1.0)


def _says(means: dict[str, float], references: dict[str, float] | None = None) -> dict[str, str]:
    outcomes = {rung: _outcome(mean, seed) for seed, (rung, mean) in enumerate(means.items())}
    return verdicts(outcomes, references)


def test_rungs_are_compared_task_by_task() -> None:
    """A gap of 1 is lost in the spread over tasks and plain in the differences."""
    one, other = _outcome(11.0, seed=1), _outcome(10.0, seed=2)
    mean, error = difference(one, other)
    assert mean == pytest.approx(1.0) and error < 0.15 < one.error
    assert above(one, other) and not above(other, one)
    with pytest.raises(ValueError, match="task by task"):
        difference(one, Outcome(TASKS[:5]))


def test_what_is_the_same_is_not_above() -> None:
    assert not above(_outcome(10.0), _outcome(10.0))
    assert not above(Outcome(np.full(8, 3.0)), Outcome(np.full(8, 3.0)))


def test_an_oracle_that_is_not_above_blind_ends_the_climb() -> None:
    same = {"blind": _outcome(10.0, 1), "oracle": _outcome(10.05, 2)}
    assert must_stop(same)
    assert "does not beat blind" in verdicts(same)["oracle"]
    assert "Stop here" in verdicts(same)["oracle"]
    better = {"blind": _outcome(10.0, 1), "oracle": _outcome(20.0, 2)}
    assert not must_stop(better) and "worth 10.00" in verdicts(better)["oracle"]
    assert not must_stop({"blind": _outcome(1.0), "oracle": left_out("no context")})


SAYINGS = [
    ({"blind": 10.0}, None, "blind", "what one behaviour for all tasks earns"),
    ({"blind": 10.1}, REFERENCES, "blind", "as good as a blind policy gets"),
    ({"blind": 2.0}, REFERENCES, "blind", "has not found it yet"),
    ({"blind": 15.0}, REFERENCES, "blind", "above the best blind policy's 10.00"),
    ({"oracle": 30.0}, None, "oracle", "the return of a policy given the context"),
    ({"blind": 10.0, "oracle": 39.0}, REFERENCES, "oracle", "that is what there is to gain"),
    ({"blind": 10.0, "oracle": 20.0}, REFERENCES, "oracle", "40.00 could be earned"),
    ({"blind": 10.0, "oracle": 45.0}, REFERENCES, "oracle", "the reference is wrong"),
    ({"blind": 10.0, "oracle": 9.0}, None, "oracle", "the context does not matter"),
    ({"blind": 10.0, "oracle": 9.0}, REFERENCES, "oracle", "it could earn 40.00, so PPO"),
    ({"blind": 10.0, "oracle": 30.0, "rl2": 10.0}, None, "rl2", "no better than blind"),
    ({"blind": 10.0, "oracle": 30.0, "rl2": 25.0}, None, "rl2", "75% of the way"),
    ({"blind": 10.0, "oracle": 9.0, "rl2": 25.0}, None, "rl2", "better than the oracle"),
    ({"blind": 10.0, "oracle": 10.1, "rl2": 10.25}, None, "rl2", "0.25 above blind"),
    ({"blind": 10.0, "rl2": 25.0}, None, "rl2", "15.00 above blind"),
    ({"blind": 10.0, "rl2": 35.0}, REFERENCES, "rl2", "above the Bayes-optimal 30.00"),
    ({"rl2": 25.0}, None, "rl2", "earns 25.00"),
    ({"blind": 10.0, "varibad": 10.0}, None, "varibad", "of no use to the policy yet"),
    ({"blind": 10.0, "rl2": 10.0, "varibad": 10.0}, None, "varibad", "neither memory nor belief"),
    ({"blind": 10.0, "rl2": 25.0, "varibad": 10.0}, None, "varibad", "RL² shows"),
    ({"blind": 10.0, "oracle": 20.0, "varibad": 25.0}, None, "varibad", "better than the oracle"),
    ({"blind": 10.0, "dynamite": 10.0}, None, "dynamite", "of no use"),
    ({"varibad": 20.0, "dynamite": 25.0, "blind": 10.0}, None, "dynamite", "is worth 5.00"),
    ({"varibad": 20.0, "dynamite": 15.0, "blind": 10.0}, None, "dynamite", "VariBAD by 5.00"),
    ({"varibad": 20.0, "dynamite": 20.0, "blind": 10.0}, None, "dynamite", "no different from"),
    ({"varibad": 10.0, "dynamite": 10.0, "blind": 10.0}, None, "dynamite", "said of VariBAD"),
    ({"oracle": 20.0, "varibad": 20.0, "dynamite": 25.0}, None, "dynamite", "than the oracle"),
]


@pytest.mark.parametrize(("means", "references", "rung", "words"), SAYINGS)
def test_a_rung_says(
    means: dict[str, float], references: dict[str, float] | None, rung: str, words: str
) -> None:
    assert words in _says(means, references)[rung]


def test_a_rung_that_is_left_out_says_why_and_nobody_is_compared_with_it() -> None:
    outcomes = {
        "blind": _outcome(10.0, 1),
        "oracle": left_out("no context here"),
        "varibad": _outcome(20.0, 2),
        "dynamite": left_out("no sessions here"),
    }
    says = verdicts(outcomes)
    assert says["oracle"] == "no context here" and says["dynamite"] == "no sessions here"
    assert "10.00 above blind" in says["varibad"]


def test_an_env_is_looked_at_by_acting_in_it() -> None:
    offer = probe(Plan("DLCMDP/GridWorld-v0", {"horizon": 23}, steps=1000))
    assert offer.horizon == 23 and offer.context_size == 1 and not offer.continuous
    assert len(offer.random.returns) >= 64 and -2.3 < offer.random.mean < 1.0
    assert offer.reward_scale > 0.1
    assert all(not absence(rung, offer) for rung in RUNG_LABELS)
    plain = probe(Plan("CartPole-v1", {}, steps=1000))
    assert plain.horizon == 500  # its time limit; acting at random ends far earlier
    assert plain.random.mean < 40 and plain.context_size == 0
    assert "info['context']" in absence("oracle", plain)
    assert "info['session']" in absence("dynamite", plain) and not absence("varibad", plain)
    assert probe(Plan("Pendulum-v1", {}, steps=1000)).continuous


class Odd(gym.Env):
    """Ends at random, at the latest where its wrapper ends it, with what a test asks for."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, observations: gym.Space, context: Any) -> None:
        self.observation_space, self._context = observations, context

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.observation_space.sample(), {"context": self._context}

    def step(self, action: int) -> Any:
        over = bool(self.np_random.random() < 0.5)
        return self.observation_space.sample(), 1.0, over, False, {"context": self._context}


def _probe_odd(observations: gym.Space, context: Any) -> Offer:
    def make(_: Any) -> gym.Env:
        return gym.wrappers.TimeLimit(Odd(observations, context), 77)

    return probe(Plan(make, {}, steps=1000))


def test_a_time_limit_is_found_where_it_was_put() -> None:
    offer = _probe_odd(gym.spaces.Box(0.0, 1.0, (2,)), np.zeros(3, np.float32))
    assert offer.horizon == 77 and offer.context_size == 3
    assert offer.random.mean == pytest.approx(2.0, abs=0.8)  # one half ends each step
    assert _probe_odd(gym.spaces.Box(0.0, 1.0, (2,)), 1.0).context_size == 1
    with pytest.raises(UserError, match="observation space"):
        _probe_odd(gym.spaces.Text(3), np.zeros(3, np.float32))


OFFER = Offer(40, 3, frozenset({"context"}), False, 12.0, _outcome(0.0))


def test_settings_follow_the_horizon_the_rewards_and_what_the_user_says() -> None:
    plan = Plan("any", {}, steps=1000, settings={"lr": 0.5})
    for rung in RUNG_LABELS:
        chosen = settings(rung, OFFER, plan)
        assert chosen["train_batch_size_per_learner"] == chosen["num_envs_per_env_runner"] * 40
        assert chosen["minibatch_size"] >= 40 and chosen["lr"] == 0.5
    long = settings("blind", OFFER, replace(plan, steps=1_000_000))
    assert long["train_batch_size_per_learner"] > 2 * chosen["train_batch_size_per_learner"]
    assert settings("oracle", OFFER, plan)["context_size"] == 3
    assert settings("varibad", OFFER, plan)["vae_reward_scale"] == 6.0
    far = settings("rl2", replace(OFFER, horizon=1000), plan)
    assert far["gamma"] == pytest.approx(0.99)
    assert settings("rl2", OFFER, plan)["gamma"] == pytest.approx(0.95)


def test_settings_that_do_not_fit_are_refused_before_the_climb() -> None:
    with pytest.raises(UserError, match="encoder_hidden"):
        check(OFFER, Plan("CartPole-v1", {}, steps=1000, settings={"encoder_hidden": 0}))
