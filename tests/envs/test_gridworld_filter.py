"""The exact filter against enumeration of all context paths, and its calibration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rllib_metarl.envs import NormalLength, Stream, make_vector
from tests.envs.filters import grid as exact_filter

ASYMMETRIC = {
    "size": 2, "horizon": 6, "p_switch": 0.3, "transition": [[0.1, 0.9], [0.6, 0.4]],
    "prior": [0.7, 0.3],
}  # fmt: skip


def rollout(num_envs: int, settings: dict, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Observations [B, T + 1, 6], rewards [B, T] and contexts [B, T + 1] of random play."""
    env = make_vector("DLCMDP/GridWorld-v0", num_envs, settings, Stream(seed))
    rng = np.random.default_rng(seed)
    observation, infos = env.reset()
    observations, contexts, rewards = [observation], [infos["context"]], []
    for _ in range(settings["horizon"]):
        observation, reward, _, _, infos = env.step(rng.integers(0, 5, num_envs))
        rewards.append(reward)
        observations.append(infos.get("final_obs", observation))
        contexts.append(infos.get("final_info", infos)["context"])
    return np.stack(observations, 1), np.stack(rewards, 1), np.stack(contexts, 1)[..., 0]


def by_enumeration(observations: np.ndarray, rewards: np.ndarray) -> list[float]:
    """P(m_t = 1 | history) of one tiny meta-episode, over all 2**(t + 1) context paths."""
    law = 0.7 * np.eye(2) + 0.3 * np.array(ASYMMETRIC["transition"])
    result = []
    for t in range(len(observations)):
        weight = np.zeros(2)
        for path in itertools.product(range(2), repeat=t + 1):
            p = ASYMMETRIC["prior"][path[0]]
            for before, after in itertools.pairwise(path):
                p *= law[before, after]
            for k in range(t):
                agent, goals = observations[k + 1][:2], observations[k + 1][2:].reshape(2, 2)
                on = [bool((agent == goal).all()) for goal in goals]
                expected = 1.0 if on[path[k]] else 0.0 if any(on) else -0.1
                p *= expected == rewards[k]
            weight[path[-1]] += p
        result.append(weight[1] / weight.sum())
    return result


def test_it_equals_the_enumeration_of_all_context_paths():
    observations, rewards, _ = rollout(40, ASYMMETRIC)
    beliefs = exact_filter(observations, rewards, **ASYMMETRIC)
    assert beliefs.shape == (40, 7)
    for i in range(40):
        assert beliefs[i] == pytest.approx(by_enumeration(observations[i], rewards[i]), abs=1e-12)


def test_it_is_calibrated_in_the_default_grid():
    """One moment of each of 6000 meta-episodes, so that the samples are independent."""
    observations, rewards, contexts = rollout(6000, {"horizon": 25, "size": 3}, seed=3)
    beliefs = exact_filter(observations, rewards, size=3)[:, -1]
    truth = contexts[:, -1]
    bins = np.digitize(beliefs, np.linspace(0, 1, 11)[1:-1])
    checked = 0
    for b in np.unique(bins):
        chosen = bins == b
        if chosen.sum() >= 100:
            deviation = 0.5 / np.sqrt(chosen.sum())
            assert abs(truth[chosen].mean() - beliefs[chosen].mean()) < 4 * deviation
            checked += 1
    assert checked >= 5
    assert np.mean((beliefs - truth) ** 2) < 0.2  # not knowing anything costs 0.25


def test_it_refuses_what_it_cannot_filter():
    with pytest.raises(ValueError, match=r"give \[B, T \+ 1, 6\] and \[B, T\]"):
        exact_filter(np.zeros((2, 5, 6)), np.zeros((2, 5)))
    with pytest.raises(ValueError, match="has a memory"):
        exact_filter(np.zeros((2, 5, 6)), np.zeros((2, 4)), session=NormalLength(9, 2))


@pytest.mark.parametrize("session", [None, {"kind": "fixed_length", "n": 4}])
def test_the_posterior_in_info_is_the_filters(session):
    config = {"size": 3, "horizon": 12, "p_switch": 0.2, "session": session}
    env = make_vector("DLCMDP/GridWorld-v0", 6, config | {"show_posterior": True}, Stream(3))
    observation, infos = env.reset()
    rng, observed, rewards, given = np.random.default_rng(0), [observation], [], []
    for _ in range(2 * 12):
        given.append(infos["posterior"][:, 0])
        observation, reward, _, done, infos = env.step(rng.integers(5, size=6))
        rewards.append(reward)
        observed.append(infos["final_obs"] if done.any() else observation)
        if done.any():
            given.append(infos["final_info"]["posterior"][:, 0])
            filtered = exact_filter(np.stack(observed, 1), np.stack(rewards, 1), **config)
            np.testing.assert_allclose(np.stack(given, 1), filtered, atol=1e-6)
            assert filtered.std() > 0.1
            observed, rewards, given = [observation], [], []


def test_a_posterior_that_is_not_known_is_refused():
    session = {"kind": "normal_length", "mean": 5, "std": 2}
    with pytest.raises(ValueError, match="show_posterior is set, but .* has a memory"):
        make_vector("DLCMDP/GridWorld-v0", 1, {"session": session, "show_posterior": True})
