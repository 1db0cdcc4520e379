"""The exact filters: against the envs' own, and calibrated on what the envs draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rllib_metarl.envs import _NATIVE, Stream, make_vector
from rllib_metarl.envs.bandit.filter import Runs
from rllib_metarl.envs.bandit.parameters import BanditParameters
from rllib_metarl.envs.core.bayes import (
    Density,
    FiniteFilter,
    NoExactFilterError,
    NumberFilter,
    Posterior,
    hidden_markov,
)
from rllib_metarl.evaluation import knowledge
from rllib_metarl.evaluation.knowledge import run_filter
from rllib_metarl.recording import Recording

WORLDS: dict[str, tuple[str, dict[str, Any]]] = {
    "grid": ("DLCMDP/GridWorld-v0", {"size": 3, "p_switch": 0.2}),
    "fixed sessions": (
        "DLCMDP/GridWorld-v0",
        {"size": 3, "session": {"kind": "fixed_length", "n": 7}},
    ),
    "family": ("DLCMDP/GridWorldFamily-v0", {"size": 3}),
    "cycle": ("DLCMDP/GridWorldCycle-v0", {"p_switch": 0.2}),
    "announced": ("DLCMDP/GridWorldCycle-v0", {"p_switch": 0.2, "announce": True}),
    "two-step": ("TwoStep-v0", {"p_switch": 0.1, "rounds": 30}),
    "good arm": (
        "Bandit/Bernoulli-v0",
        {"arms": 2, "pulls": 40, "structure": "dependent_easy", "p_switch": 0.1},
    ),
    "restless": ("Bandit/Bernoulli-v0", {"arms": 3, "pulls": 20, "p_switch": 0.1}),
    "arms": ("Bandit/Bernoulli-v0", {"arms": 3, "pulls": 20}),
    "two arms": ("Bandit/Bernoulli-v0", {"arms": 2, "pulls": 20, "structure": "dependent_uniform"}),
    "static": ("VariBAD/GridWorld-v0", {"size": 4}),
}
FINITE = (
    "grid",
    "fixed sessions",
    "family",
    "cycle",
    "announced",
    "two-step",
    "good arm",
    "static",
)


def at_random(env_id: str, config: dict[str, Any], count: int = 400) -> Recording:
    """Meta-episodes of random actions."""
    env = make_vector(env_id, count, config, Stream(0))
    rng = np.random.default_rng(0)
    observation, infos = env.reset()
    seen, taken, paid, told, done = [observation], [], [], [infos], np.zeros(1)
    while not done.any():
        taken.append(rng.integers(env.single_action_space.n, size=count))
        observation, reward, terminated, truncated, infos = env.step(taken[-1])
        done = terminated | truncated
        paid.append(reward)
        seen.append(infos["final_obs"] if done.any() else observation)
        told.append(infos["final_info"] if done.any() else infos)
    labels = {k: np.stack([x[k] for x in told], 1) for k in ("context", "session", "switched")}
    rewards = np.stack(paid, 1)
    return Recording(
        np.stack(seen, 1),
        np.stack(taken, 1),
        rewards,
        np.ones(rewards.shape, np.bool_),
        np.zeros((*labels["session"].shape, 0)),
        **labels,
    )


def exact_filter_of(env_id: str, config: dict[str, Any] | None = None) -> Any:
    return knowledge.exact_filter_of(make_vector(env_id, 1, config))


def variants_of(env_id: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
    return knowledge.variants_of(make_vector(env_id, 1, config))


@pytest.fixture(scope="module")
def worlds() -> dict[str, tuple[Recording, FiniteFilter | NumberFilter, Any]]:
    played = {}
    for name, (env_id, config) in WORLDS.items():
        recording, exact = at_random(env_id, config), exact_filter_of(env_id, config)
        played[name] = recording, exact, run_filter(exact, recording)
    return played


@pytest.mark.parametrize("name", ["grid", "fixed sessions", "family", "two-step"])
def test_it_says_what_the_env_shows_to_those_that_ask(worlds: dict[str, Any], name: str) -> None:
    """The envs' own filters go step by step; with ``show_posterior`` they are in `info`."""
    env_id, config = WORLDS[name]
    played, _, told = worlds[name]
    env = make_vector(env_id, len(played), config | {"show_posterior": True}, Stream(0))
    shown = [env.reset()[1]["posterior"]]
    for t in range(played.horizon - 1):
        shown.append(env.step(played.actions[:, t])[-1]["posterior"])
    ours = told.probabilities if name == "family" else told.probabilities[..., 1:]
    np.testing.assert_allclose(ours[:, :-1], np.stack(shown, 1), atol=1e-6)


@pytest.mark.parametrize("name", ["good arm", "restless", "arms", "two arms"])
def test_arms_are_expected_to_pay_what_hypotheses_about_sessions_say(
    worlds: dict[str, Any], name: str
) -> None:
    played, _, told = worlds[name]
    runs = Runs(BanditParameters.make(**WORLDS[name][1]), len(played), played.horizon)
    for t in range(played.horizon):
        good = np.array([[0.9, 0.1], [0.1, 0.9]])
        ours = told.mean[:, t] if isinstance(told, Density) else told.probabilities[:, t] @ good
        np.testing.assert_allclose(ours, runs.mean(), atol=1e-12)
        runs.update(t, played.actions[:, t], played.rewards[:, t])


@pytest.mark.parametrize("name", FINITE)
def test_the_truth_is_as_likely_as_the_posterior_says(worlds: dict[str, Any], name: str) -> None:
    played, exact, told = worlds[name]
    assert isinstance(told, Posterior) and len(exact.classes) == told.probabilities.shape[-1]
    truth = exact.class_of(played.context)
    of_truth = np.take_along_axis(told.probabilities, truth[..., None], -1)[..., 0]
    expected = np.square(told.probabilities).sum(-1)  # of the truth's, if it is drawn from them
    gap = (of_truth - expected).mean(1)
    assert abs(gap.mean()) < 4 * gap.std() / len(gap) ** 0.5 + 1e-12


@pytest.mark.parametrize("name", ["grid", "family", "two-step", "good arm", "restless"])
def test_switches_are_as_frequent_as_the_posterior_says(worlds: dict[str, Any], name: str) -> None:
    played, _, told = worlds[name]
    switched, claimed = played.switched[:, :-1], told.switch[:, 1:]
    assert (claimed[:, 0] == 0).all() and claimed.min() >= 0 and claimed.max() <= 1 + 1e-12
    for sure in (claimed < 0.1, (claimed >= 0.1) & (claimed < 0.4), claimed >= 0.4):
        if sure.sum() > 300:
            error = (0.25 / sure.sum()) ** 0.5
            assert switched[sure].mean() == pytest.approx(claimed[sure].mean(), abs=4 * error)
    assert switched.mean() == pytest.approx(claimed.mean(), abs=0.01)


@pytest.mark.parametrize("name", ["restless", "arms", "two arms"])
def test_densities_cover_what_they_say(worlds: dict[str, Any], name: str) -> None:
    _, _, told = worlds[name]
    assert isinstance(told, Density)
    for level in (0.5, 0.9):
        inside = (abs(told.cdf - 0.5) <= level / 2).mean()
        assert inside == pytest.approx(level, abs=0.03)
    assert (told.crps is None) == (name == "restless")


def test_a_switch_that_a_reward_shows_is_certain() -> None:
    """Standing on goal 0, which pays and then does not: m has changed, so that a session began."""
    config = {"size": 2, "goals": ((0, 0), (1, 1)), "start": (0, 0), "p_switch": 0.2}
    seen = np.tile(np.array([0, 0, 0, 0, 1, 1], np.float32), (1, 4, 1))
    rewards = np.array([[1.0, 0.0, 0.0]])
    stays = np.full((1, 3), 4)
    played = Recording(seen, stays, rewards, rewards > -1, np.zeros((1, 4, 0)))
    told = run_filter(exact_filter_of("DLCMDP/GridWorld-v0", config), played)
    # The third reward is that of the second: no switch (0.8), or one to the same goal (0.04).
    np.testing.assert_allclose(told.switch[0], [0, 0, 1, 0.04 / 0.84])
    np.testing.assert_allclose(told.surprise[0], -np.log([0.5, 0.16, 0.84]))
    np.testing.assert_allclose(told.probabilities[0, :, 1], [0.5, 0.16, 0.84, 0.84])


def test_what_cannot_be_is_a_surprise_and_changes_no_mind() -> None:
    likelihood = np.array([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])
    still = np.broadcast_to(np.eye(2), (3, 2, 2))
    told = hidden_markov(np.array([0.5, 0.5]), still, 0 * still, likelihood)
    np.testing.assert_allclose(told.probabilities[0, :, 0], [0.5, 1.0, 1.0, 1.0])
    assert told.surprise[0, 0] == pytest.approx(np.log(2)) and told.surprise[0, 1] > 27


def test_why_there_is_no_filter() -> None:
    with pytest.raises(NoExactFilterError, match="no exact filter is known for CartPole-v1"):
        exact_filter_of("CartPole-v1")
    lengths = {"session": {"kind": "normal_length", "mean": 20, "std": 5}}
    with pytest.raises(NoExactFilterError, match="has a memory"):
        exact_filter_of("DLCMDP/GridWorld-v0", lengths)


@pytest.mark.parametrize("env_id", sorted(set(_NATIVE) - {"TabularMDP/Random-v0"}))
def test_every_strange_world_can_be_made(env_id: str) -> None:
    variants = variants_of(env_id)
    assert variants
    for changed in variants.values():
        make_vector(env_id, 2, changed, Stream(0)).reset()


def test_strange_grid_worlds_are_what_they_are_called() -> None:
    env_id = "DLCMDP/GridWorld-v0"
    played = {
        name: at_random(env_id, {"size": 2} | changed, 20)
        for name, changed in variants_of(env_id, {"size": 2}).items()
    }
    for name, paid in (("neither_pays", 0), ("both_pay", 1)):
        on_goal = played[name].rewards > -0.05
        assert on_goal.any() and (played[name].rewards[on_goal] == paid).all()
    context = played["switches_every_step"].context
    assert context is not None and (context[:, 1:] != context[:, :-1]).all()


def test_where_both_goals_pay_alike_nothing_is_told() -> None:
    env_id, alike = "DLCMDP/GridWorld-v0", {"size": 2, "active_reward": 0, "context_matters": False}
    env = make_vector(env_id, 20, alike | {"show_posterior": True}, Stream(0))
    _, infos = env.reset()
    for _ in range(20):
        *_, infos = env.step(np.random.default_rng(0).integers(5, size=20))
    assert (infos["posterior"] == 0.5).all()
    told = run_filter(exact_filter_of(env_id, alike), at_random(env_id, alike, 20))
    np.testing.assert_allclose(told.probabilities, 0.5)
    with pytest.raises(ValueError, match="context_matters"):
        make_vector(env_id, 1, {"active_reward": 0})
