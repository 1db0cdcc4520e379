"""The grid world whose goals pay in a cycle: the environment, its filter, its references."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from rllib_metarl.envs import Stream, make_vector
from rllib_metarl.envs.gridworld.cycle import (
    CycleParameters,
    GridWorldCycleEnv,
    reference_returns,
)

ID = "DLCMDP/GridWorldCycle-v0"
TINY = {"size": 2, "cells": [[0, 0], [1, 1], [0, 1]], "shuffle": False, "p_switch": 0.3}


def played(num_envs: int, choose=None, **settings) -> dict[str, np.ndarray]:
    """Observations, actions, rewards and labels of random play (or of `choose`'s)."""
    env = make_vector(ID, num_envs, settings, Stream(0))
    rng = np.random.default_rng(0)
    observation, info = env.reset()
    seen = {"observations": [observation], "actions": [], "rewards": [], "infos": [info]}
    for _ in range(settings.get("horizon", 60)):
        action = rng.integers(0, 5, num_envs) if choose is None else choose(observation, info)
        observation, reward, _, _, info = env.step(action)
        last = info.get("final_info", info)
        seen["actions"].append(action)
        seen["rewards"].append(reward)
        seen["observations"].append(info.get("final_obs", observation))
        seen["infos"].append(last)
    labels = seen.pop("infos")
    seen |= {key: [info[key] for info in labels] for key in ("context", "session", "switched")}
    return {key: np.stack(value, 1) for key, value in seen.items()}


def test_each_session_pays_at_the_next_goal() -> None:
    told = played(500)
    context, switched = told["context"][..., 0].astype(int), told["switched"] > 0
    assert switched[:, 1:].mean() == pytest.approx(0.07, abs=0.005)
    assert (context[:, 1:] == (context[:, :-1] + switched[:, 1:]) % 4).all()
    assert np.bincount(context[:, 0]) / 500 == pytest.approx([0.25] * 4, abs=0.06)
    places = told["observations"][:, 0, 2:].reshape(-1, 4, 2)
    assert len(np.unique(places, axis=0)) == 24  # in every order
    goals = told["observations"][:, 1:, 2:].reshape(500, 60, 4, 2)
    here = (goals == told["observations"][:, 1:, None, :2]).all(-1)
    pays = here & (np.arange(4) == context[:, :-1, None])
    assert np.array_equal(
        told["rewards"], np.where(pays.any(-1), 1.0, np.where(here.any(-1), 0.0, -0.1))
    )


def test_an_announced_end_is_told_and_puts_the_agent_anywhere() -> None:
    told = played(500, lambda seen, _: np.full(500, 4), announce=True)
    moved = (told["observations"][:, 1:, :2] != told["observations"][:, :-1, :2]).any(-1)
    told_end = told["observations"][:, 1:, -1] == 1.0
    assert np.array_equal(told_end, told["switched"][:, 1:] > 0)
    assert not (moved & ~told_end).any()
    assert (moved & told_end).sum() / told_end.sum() == pytest.approx(0.96, abs=0.02)


@pytest.mark.parametrize("announce", [False, True])
def test_the_filter_is_calibrated_and_knows_what_was_paid(announce: bool) -> None:
    settings = TINY | {"horizon": 12, "announce": announce}
    told = played(4000, **settings)
    exact = GridWorldCycleEnv(**settings).unwrapped.exact_filter()
    truth = exact.class_of(told["context"])
    posterior = exact.run(told["observations"], told["actions"], told["rewards"]).probabilities
    assert np.allclose(posterior.sum(-1), 1.0) and np.isfinite(posterior).all()
    for low in np.arange(0, 1, 0.1):
        near = (posterior >= low) & (posterior < low + 0.1)
        hit = (truth[..., None] == np.arange(3))[near]
        if len(hit) > 500:
            assert hit.mean() == pytest.approx(posterior[near].mean(), abs=0.03)
    assert (posterior.max(-1) > 0.99).any() == announce  # a switch that is told leaves no doubt


def best_by_search(p: CycleParameters, law: np.ndarray, known: np.ndarray | None = None) -> float:
    """The best return from all that can have been seen, by looking at every future."""
    goals, step = p.numbers.tolist(), p.next

    @cache
    def value(cell: int, belief: tuple[float, ...], left: int) -> float:
        if not left:
            return 0.0
        b = np.array(belief)
        return max(entered(int(there), b, left) for there in set(step[cell].tolist()))

    def entered(cell: int, b: np.ndarray, left: int) -> float:
        if cell not in goals:
            return p.step_reward + behind(cell, b, left)
        g = goals.index(cell)
        total = 0.0
        if b[g] > 0:
            total += b[g] * (p.active_reward + behind(cell, np.eye(p.goals)[g], left))
        if b[g] < 1:
            rest = np.where(np.arange(p.goals) == g, 0.0, b) / (1 - b[g])
            total += (1 - b[g]) * (p.inactive_reward + behind(cell, rest, left))
        return float(total)

    def behind(cell: int, b: np.ndarray, left: int) -> float:
        q = p.p_switch
        if not p.announce:
            return value(cell, key((1 - q) * b + q * b @ law), left - 1)
        put = [value(s, key(b @ law), left - 1) for s in range(p.size**2)]
        return float((1 - q) * value(cell, key(b), left - 1) + q * np.mean(put))

    def key(b: np.ndarray) -> tuple[float, ...]:
        return tuple(np.round(b, 12))

    start = key(np.full(p.goals, 1 / p.goals))
    return float(np.mean([value(s, start, p.horizon) for s in range(p.size**2)]))


@pytest.mark.parametrize("announce", [False, True])
def test_the_bayes_optimal_return_is_that_of_a_search(announce: bool) -> None:
    settings = TINY | {"horizon": 5, "announce": announce}
    p = CycleParameters.make(**settings)
    told = reference_returns(**settings)
    assert told["bayes"] == pytest.approx(best_by_search(p, p.transition), abs=0.01)
    order = ["random", "blind", "law_unknown", "bayes", "oracle"]
    assert sorted(told, key=told.__getitem__) == order


def test_no_filter_of_another_law_is_better_than_what_it_believes_under_that_law() -> None:
    """With three goals "any other" is the cycle or its reverse; with no switch laws do not act."""
    settings = TINY | {"horizon": 5, "p_switch": 0.0}
    told = reference_returns(**settings)
    assert told["law_unknown"] == pytest.approx(told["bayes"], abs=0.01)


def test_random_play_returns_what_the_reference_says() -> None:
    returns = played(2000)["rewards"].sum(1)
    error = returns.std() / 2000**0.5
    value = reference_returns(cells=[[2, 0], [4, 2], [2, 4], [0, 2]], shuffle=False)["random"]
    assert returns.mean() == pytest.approx(value, abs=4 * error)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"cells": [[0, 0], [1, 1]]}, "give three to six"),
        ({"cells": [[0, 0], [1, 1], [0, 0]]}, "give different cells"),
        ({"cells": [[0, 0], [1, 1], [9, 0]]}, "with both from 0 to 4"),
        ({"p_switch": 2.0}, "p_switch is 2.0"),
        ({"announce": 1}, "announce is 1"),
    ],
)
def test_bad_parameters_are_refused_with_the_mend(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        GridWorldCycleEnv(**settings)
