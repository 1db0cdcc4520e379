"""The family of grid worlds: members, exact filter, references."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from rllib_metarl.envs import Stream, make_vector
from rllib_metarl.envs.gridworld.env import GridWorldEnv
from rllib_metarl.envs.gridworld.env import reference_returns as references_of_one
from rllib_metarl.envs.gridworld.family import (
    MEMBERS,
    FamilyParameters,
    GridWorldFamilyEnv,
    bayes_bounds,
    reference_returns,
)
from rllib_metarl.envs.gridworld.family_references import _references
from tests.envs.filters import family as exact_filter

ID = "DLCMDP/GridWorldFamily-v0"
TINY = {
    "members": [(0.3, 0.9, 0.4), (0.8, 0.2, 0.6), (0.1, 0.5, 0.5)],
    "size": 2, "horizon": 5, "prior": [0.7, 0.3],
}  # fmt: skip


def rollout(num_envs: int, settings: dict, seed: int = 0, choose=None) -> dict[str, np.ndarray]:
    """Observations, rewards, contexts and posteriors of random play (or of `choose`'s)."""
    env = make_vector(ID, num_envs, settings, Stream(seed))
    rng = np.random.default_rng(seed)
    observation, infos = env.reset()
    seen = {"observations": [observation], "rewards": [], "infos": [infos]}
    for _ in range(settings.get("horizon", 60)):
        actions = rng.integers(0, 5, num_envs) if choose is None else choose(observation, infos)
        observation, reward, _, _, infos = env.step(actions)
        seen["rewards"].append(reward)
        seen["observations"].append(infos.get("final_obs", observation))
        seen["infos"].append(infos.get("final_info", infos))
    labels = seen.pop("infos")
    seen |= {key: [info[key] for info in labels] for key in labels[0]}
    return {key: np.stack(value, 1) for key, value in seen.items()}


# --- the environment ----------------------------------------------------------------------------


def test_the_member_is_drawn_for_the_meta_episode_and_stays():
    contexts = rollout(2000, {"horizon": 10})["context"]
    assert contexts.shape == (2000, 11, 4) and contexts.dtype == np.float32
    assert (contexts[:, :, 1:] == contexts[:, :1, 1:]).all()
    members, counts = np.unique(contexts[:, 0, 1:], axis=0, return_counts=True)
    assert members == pytest.approx(np.array(sorted(MEMBERS)))
    assert counts / 2000 == pytest.approx([0.25] * 4, abs=0.05)
    assert set(np.unique(contexts[:, :, 0])) == {0.0, 1.0}


def test_the_context_follows_the_law_of_its_member():
    members = [(0.05, 0.9, 0.3), (0.5, 0.2, 0.8)]
    played = rollout(1500, {"members": members})
    contexts, switched = played["context"], played["switched"][:, 1:] == 1
    for p, to_second, to_first in members:
        own = np.isclose(contexts[:, 0, 1], p)
        assert switched[own].mean() == pytest.approx(p, abs=0.012)
        before, after = contexts[own, :-1, 0], contexts[own, 1:, 0]
        assert (before == after)[~switched[own]].all()
        for m, chance in ((0, to_second), (1, to_first)):
            drawn = after[switched[own] & (before == m)]
            assert (drawn != m).mean() == pytest.approx(chance, abs=0.06)


def test_rewards_follow_the_context_of_the_label():
    played = rollout(64, {"horizon": 20})
    at = played["observations"][:, 1:, None, :2] == played["observations"][:, 1:, 2:].reshape(
        64, 20, 2, 2
    )
    m = played["context"][:, :-1, 0].astype(int)[..., None]
    on = np.take_along_axis(at.all(-1), np.concatenate([m, 1 - m], -1), -1)
    expected = np.where(on[..., 0], 1.0, np.where(on[..., 1], 0.0, -0.1))
    assert np.array_equal(played["rewards"], expected)


def test_a_family_of_one_is_the_plain_grid_world():
    plain = GridWorldEnv(p_switch=0.3, transition=[[0.3, 0.7], [0.6, 0.4]])
    family = GridWorldFamilyEnv(members=[(0.3, 0.7, 0.6)])
    came = [plain.reset(seed=3), family.reset(seed=3)]
    for step in range(60):
        (first, *_, one), (second, *_, other) = came
        assert np.array_equal(first, second) and one["context"][0] == other["context"][0]
        assert one["session"] == other["session"] and one["switched"] == other["switched"]
        came = [env.step(step % 5) for env in (plain, family)]
    ours = reference_returns(members=[(0.3, 0.7, 0.6)])
    theirs = references_of_one(p_switch=0.3, transition=[[0.3, 0.7], [0.6, 0.4]])
    assert {key: ours[key] for key in theirs} == pytest.approx(theirs)
    assert ours["member_known"] == pytest.approx(theirs["bayes"])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"members": []}, "give one or more"),
        ({"members": [0.1]}, r"members\[0\] is 0.1; give three probabilities"),
        ({"members": [(0.1, 0.5)]}, "give three probabilities"),
        ({"members": [(0.1, 0.5, 0.5), (0.1, 1.5, 0)]}, r"T\(1\|0\) of members\[1\] is 1.5"),
        ({"p_switch": 0.1}, "no setting 'p_switch'"),
        ({"size": 1}, "size is 1"),
    ],
)
def test_bad_parameters_are_refused_with_the_mend(settings, message):
    with pytest.raises(ValueError, match=message):
        GridWorldFamilyEnv(**settings) if "p_switch" not in settings else make_vector(
            ID, 2, settings
        )


# --- the filter ---------------------------------------------------------------------------------


def by_enumeration(observations: np.ndarray, rewards: np.ndarray) -> list[np.ndarray]:
    """P(member, m_t | history) of a tiny meta-episode, over all members and context paths."""
    result = []
    for t in range(len(observations)):
        weight = np.zeros((3, 2))
        for i, (p, to_second, to_first) in enumerate(TINY["members"]):
            change = np.array([[1 - to_second, to_second], [to_first, 1 - to_first]])
            law = (1 - p) * np.eye(2) + p * change
            for path in itertools.product(range(2), repeat=t + 1):
                chance = TINY["prior"][path[0]]
                for before, after in itertools.pairwise(path):
                    chance *= law[before, after]
                for k in range(t):
                    agent, goals = observations[k + 1][:2], observations[k + 1][2:].reshape(2, 2)
                    on = [bool((agent == goal).all()) for goal in goals]
                    chance *= rewards[k] == (1.0 if on[path[k]] else 0.0 if any(on) else -0.1)
                weight[i, path[-1]] += chance
        result.append(weight / weight.sum())
    return result


def test_the_filter_equals_the_enumeration_of_members_and_paths():
    played = rollout(40, TINY | {"show_posterior": True})
    beliefs = exact_filter(played["observations"], played["rewards"], **TINY)
    assert beliefs.shape == (40, 6, 3, 2)
    for i in range(40):
        expected = by_enumeration(played["observations"][i], played["rewards"][i])
        assert beliefs[i] == pytest.approx(np.stack(expected), abs=1e-12)
    assert played["posterior"] == pytest.approx(beliefs.reshape(40, 6, 6), abs=1e-6)


def test_the_filter_is_calibrated_about_the_member():
    played = rollout(4000, {"size": 2, "horizon": 40}, seed=3)
    beliefs = exact_filter(played["observations"], played["rewards"], size=2)
    last = beliefs[:, -1].sum(-1)
    truth = (played["context"][:, -1, None, 1:] == np.float32(MEMBERS)).all(-1)
    bins = np.digitize(last.ravel(), np.linspace(0, 1, 11)[1:-1])
    for b in np.unique(bins):
        chosen = bins == b
        deviation = 0.5 / np.sqrt(chosen.sum())
        assert abs(truth.ravel()[chosen].mean() - last.ravel()[chosen].mean()) < 4 * deviation
    assert last[truth].mean() > 0.4  # not knowing anything: 0.25


def test_the_filter_refuses_what_it_cannot_read():
    with pytest.raises(ValueError, match=r"give \[B, T \+ 1, 6\] and \[B, T\]"):
        exact_filter(np.zeros((2, 5, 6)), np.zeros((2, 5)))


# --- references ---------------------------------------------------------------------------------


def test_the_default_family():
    begin = time.process_time()
    _references.cache_clear()
    found = reference_returns()
    assert time.process_time() - begin < 5.0
    assert {name: round(value, 2) for name, value in found.items()} == {
        "random": -3.12,
        "blind": 29.20,
        "bayes": 47.42,
        "member_known": 49.61,
        "oracle": 51.65,
    }
    assert make_vector(ID, 1).reference_returns() == found


def _values_by_enumeration(settings: dict, start, goals) -> tuple[float, float]:
    """Bayes-optimal and blind value over all histories, written without the project's code."""
    size, horizon = settings["size"], settings["horizon"]
    moves = [(1, 0), (0, 1), (-1, 0), (0, -1), (0, 0)]
    laws = []
    for p, to_second, to_first in settings["members"]:
        change = np.array([[1 - to_second, to_second], [to_first, 1 - to_first]])
        laws.append((1 - p) * np.eye(2) + p * change)
    laws = np.stack(laws)

    def enter(cell, move):
        to = (cell[0] + move[0], cell[1] + move[1])
        return to if min(to) >= 0 and max(to) < size else cell

    def reward(cell, m):
        return 1.0 if cell == goals[m] else 0.0 if cell in goals else -0.1

    def bayes(cell, weights, t):
        if t == horizon:
            return 0.0
        return max(after(enter(cell, move), weights, t) for move in moves)

    def after(cell, weights, t):
        rewards, total = np.array([reward(cell, m) for m in range(2)]), 0.0
        for r in set(rewards):
            kept = weights * (rewards == r)
            if kept.sum() > 0:
                following = np.einsum("na,nab->nb", kept, laws)
                total += kept.sum() * r + bayes(cell, following, t + 1)
        return total

    weights = np.repeat([settings["prior"]], len(laws), 0) / len(laws)
    blind = [(start, 0.0, weights)]
    for _ in range(horizon):
        blind = [
            (to, v + sum(w.sum(0)[m] * reward(to, m) for m in range(2)),
             np.einsum("na,nab->nb", w, laws))
            for at, v, w in blind
            for to in (enter(at, move) for move in moves)
        ]  # fmt: skip
    return bayes(start, weights, 0), max(v for _, v, _ in blind)


def test_enumeration_of_all_histories_of_a_tiny_family():
    tiny = TINY | {"goals": ((0, 0), (1, 1)), "start": (1, 0)}
    exact = _values_by_enumeration(tiny, tiny["start"], tiny["goals"])
    parameters = FamilyParameters.make(**tiny)
    lower, upper = bayes_bounds(parameters, 2000)
    assert lower - 1e-9 <= exact[0] <= upper + 1e-9 and upper - lower < 2e-3
    loose = bayes_bounds(parameters, 20)
    assert loose[0] - 1e-9 <= exact[0] <= loose[1] + 1e-9 and loose[1] - loose[0] > upper - lower
    found = reference_returns(**tiny)
    assert found["blind"] == pytest.approx(exact[1])
    assert found["bayes"] == pytest.approx(exact[0], abs=2e-3)
    known = [
        references_of_one(
            p_switch=p, transition=[[1 - a, a], [b, 1 - b]],
            **{key: tiny[key] for key in ("size", "horizon", "prior", "goals", "start")},
        )
        for p, a, b in tiny["members"]
    ]  # fmt: skip
    for ours, theirs in (("random", "random"), ("member_known", "bayes"), ("oracle", "oracle")):
        assert found[ours] == pytest.approx(np.mean([one[theirs] for one in known]))


@pytest.mark.parametrize("case", [{"stay": False}, {"start": (0, 1)}, {"goals": ((0, 0), (2, 2))}])
def test_equal_members_leave_the_plain_grids_exact_value(case):
    case = {"size": 3, "horizon": 12, **case}
    plain = references_of_one(p_switch=0.2, transition=[[0.1, 0.9], [0.7, 0.3]], **case)
    twins = FamilyParameters.make([(0.2, 0.9, 0.7)] * 2, **case)
    assert bayes_bounds(twins, 10) == pytest.approx((plain["bayes"],) * 2)


def test_the_bounds_of_the_default_come_together():
    coarse = bayes_bounds(FamilyParameters.make(), 100)
    fine = bayes_bounds(FamilyParameters.make(), 500)
    assert coarse[0] < fine[0] < fine[1] < coarse[1]
    assert fine[1] - fine[0] < 0.6


@pytest.mark.slow
def test_the_default_family_on_a_fine_grid():
    lower, upper = bayes_bounds(FamilyParameters.make(), 3000)
    assert (round(lower, 2), round(upper, 2)) == (47.32, 47.55)


def test_where_the_bounds_are_far_apart_bayes_is_left_out():
    nine = [(p, a, 1 - a) for p in (0.02, 0.1, 0.5) for a in (0.1, 0.5, 0.9)]
    found = reference_returns(members=nine, size=3, horizon=20)
    assert list(found) == ["random", "blind", "member_known", "oracle"]
    assert found["blind"] < found["member_known"] < found["oracle"]


def test_who_acts_on_the_filter_beats_the_blind_and_not_the_bound():
    """Go to the goal that the exact posterior favours: a policy anyone could play."""

    def choose(observation, infos):
        second = infos["posterior"].reshape(len(observation), 4, 2).sum(1)[:, 1] > 0.5
        goal = np.where(second[:, None], observation[:, 4:], observation[:, 2:4])
        dx, dy = (goal - observation[:, :2]).T
        return np.where(dx > 0, 0, np.where(dx < 0, 2, np.where(dy > 0, 1, np.where(dy < 0, 3, 4))))

    total = rollout(2000, {"show_posterior": True}, choose=choose)["rewards"].sum(1)
    assert 35.0 < total.mean() < bayes_bounds(FamilyParameters.make())[1]
