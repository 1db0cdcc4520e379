"""Notification levels: what an agent is told of the hidden context, and what that is worth."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_metarl.envs import Bernoulli, Markov, Notified, Sessions, Stream, make_vector
from rllib_metarl.envs.gridworld.env import GridWorldParameters, reference_returns
from rllib_metarl.envs.gridworld.parameters import next_cells
from tests.envs.test_every_env import IDS

GRID = "DLCMDP/GridWorld-v0"
TINY: dict[str, Any] = {
    "size": 2,
    "goals": [(0, 0), (1, 1)],
    "start": (1, 0),
    "horizon": 6,
    "p_switch": 0.3,
    "transition": [[0.1, 0.9], [0.6, 0.4]],
    "prior": [0.7, 0.3],
}


def _played(env: Any, steps: int) -> list[tuple[Any, Any, Any]]:
    """What a vector env shows for random actions: observations, rewards, infos."""
    rng = np.random.default_rng(0)
    observations, infos = env.reset(seed=3)
    shown: list[tuple[Any, Any, Any]] = [(observations, None, infos)]
    for _ in range(steps):
        space = env.single_action_space
        if isinstance(space, gym.spaces.Discrete):
            actions = rng.integers(space.n, size=env.num_envs)
        else:
            actions = rng.uniform(-1, 1, (env.num_envs, *space.shape)).astype(space.dtype)
        observations, rewards, _, _, infos = env.step(actions)
        shown.append((observations, rewards, infos))
    return shown


@pytest.mark.parametrize("env_id", IDS)
def test_every_env_tells_its_labels_at_each_level_and_is_else_the_same(env_id: str) -> None:
    plain = _played(make_vector(env_id, 2), 6)
    for level in ("switched", "context"):
        env = make_vector(env_id, 2, {"notify": level})
        for (seen, reward, info), (shown, same, _) in zip(plain, _played(env, 6), strict=True):
            told = info[level].reshape(2, -1)
            np.testing.assert_array_equal(shown, np.concatenate([seen, told], 1, dtype=np.float32))
            np.testing.assert_array_equal(reward, same)
            assert shown.dtype == np.float32 and all(
                map(env.single_observation_space.contains, shown)
            )
        single = gym.make(env_id, notify=level)
        assert single.observation_space == env.single_observation_space
        assert (single.reset(seed=3)[0] == shown_first(env, 3)).all()


def shown_first(env: Any, seed: int) -> Any:
    return env.reset(seed=seed)[0][0]


def test_the_end_of_a_meta_episode_is_told_with_what_held_there() -> None:
    env = make_vector(GRID, 3, TINY | {"notify": "switched", "p_switch": 0.5})
    for observations, _, infos in _played(env, 25):
        assert (observations[:, 6] == infos["switched"]).all()
        if "final_obs" in infos:
            assert (infos["final_obs"][:, 6] == infos["final_info"]["switched"]).all()
    state = env.under_way()
    other = make_vector(GRID, 3, TINY | {"notify": "switched", "p_switch": 0.5}, Stream(1))
    other.set_under_way(state)
    stay = np.full(3, 4)
    assert (env.step(stay)[0] == other.step(stay)[0]).all()


def test_none_is_the_env_as_it_was_and_others_are_refused() -> None:
    assert make_vector(GRID, 1, {"notify": "none"}).single_observation_space.shape == (6,)
    with pytest.raises(ValueError, match="notify is 'contxt'.*did you mean 'context'"):
        make_vector(GRID, 1, {"notify": "contxt"})
    with pytest.raises(ValueError, match="notify is None"):
        make_vector("DLCMDP/Reacher-v0", 1, {"notify": None})
    with pytest.raises(ValueError, match="show_posterior is set"):
        make_vector(GRID, 1, {"notify": "switched", "show_posterior": True})


# --- what it is worth ---------------------------------------------------------------------------


def _best(level: str, **changes: Any) -> float:
    """The best expected return in a tiny grid, by expectimax on beliefs as numbers."""
    arguments = TINY | changes
    p = GridWorldParameters.make(**arguments)
    goals, leads = [p.index(goal) for goal in p.goals or ()], next_cells(p.size, p.stay)
    hazard, law = p.process.schedule(p.horizon), np.array(p.transition)
    assert hazard is not None

    @cache
    def value(t: int, cell: int, ones: float) -> float:
        """`ones` is P(m_t = 1) of who is about to act."""
        if t == p.horizon:
            return 0.0
        return max(entered(t, int(to), ones) for to in leads[cell])

    def entered(t: int, cell: int, ones: float) -> float:
        if cell not in goals and level != "context":
            return p.step_reward + after(t, cell, ones)
        if cell not in goals:
            return p.step_reward + sum(w * after(t, cell, m) for m, w in ((0, 1 - ones), (1, ones)))
        paid = {goals.index(cell): p.active_reward}
        return sum(
            weight * (paid.get(m, p.inactive_reward) + after(t, cell, float(m)))
            for m, weight in ((0, 1 - ones), (1, ones))
        )

    def after(t: int, cell: int, ones: float) -> float:
        changed = float((1 - ones) * law[0, 1] + ones * law[1, 1])
        h = float(hazard[t])
        if level == "switched":
            return (1 - h) * value(t + 1, cell, ones) + h * value(t + 1, cell, changed)
        mixed = (1 - h) * ones + h * changed
        if level == "context":
            return (1 - mixed) * value(t + 1, cell, 0.0) + mixed * value(t + 1, cell, 1.0)
        return value(t + 1, cell, mixed)

    start, prior = p.index(p.start or (0, 0)), p.prior[1]
    if level == "context":
        return (1 - prior) * value(0, start, 0.0) + prior * value(0, start, 1.0)
    return value(0, start, prior)


@pytest.mark.parametrize(
    "changes", [{}, {"p_switch": 0.0}, {"session": {"kind": "fixed_length", "n": 2}}]
)
def test_the_grids_references_are_those_of_expectimax(changes: dict[str, Any]) -> None:
    for level in ("none", "switched", "context"):
        env = make_vector(GRID, 1, TINY | changes | {"notify": level})
        returns = env.reference_returns()
        assert returns["bayes"] == pytest.approx(_best(level, **changes), abs=1e-9)
        unaware = make_vector(GRID, 1, TINY | changes).reference_returns()
        assert all(returns[name] == unaware[name] for name in ("random", "blind", "oracle"))


def test_the_more_is_told_the_better() -> None:
    none, switched, context = (reference_returns(notify=n) for n in ("none", "switched", "context"))
    assert none["bayes"] == pytest.approx(46.15, abs=0.005)
    assert switched["bayes"] == pytest.approx(48.30, abs=0.005)
    assert context["bayes"] == context["oracle"] == pytest.approx(50.79, abs=0.005)


@pytest.mark.parametrize("level", ["switched", "context"])
def test_the_grids_filter_is_bayes_rule_on_all_paths(level: str) -> None:
    env = make_vector(GRID, 5, TINY | {"notify": level}, Stream(2))
    observations, infos = env.reset()
    seen, labels, actions, rewards = [observations], [infos], [], []
    rng = np.random.default_rng(1)
    for _ in range(5):
        actions.append(rng.integers(5, size=5))
        observations, reward, _, _, infos = env.step(actions[-1])
        seen.append(observations), rewards.append(reward), labels.append(infos)
    played = np.stack(seen, 1), np.stack(actions, 1), np.stack(rewards, 1)
    posterior = env.exact_filter().run(*played)
    context = np.stack([info["context"][:, 0] for info in labels], 1).astype(int)
    for row in range(5):
        for t in range(6):
            expected = _by_paths(level, *(array[row] for array in played), t)
            np.testing.assert_allclose(posterior.probabilities[row, t], expected[0], atol=1e-9)
            assert posterior.switch[row, t] == pytest.approx(expected[1], abs=1e-9)
    truth = np.take_along_axis(posterior.probabilities, context[..., None], 2)
    assert truth.min() > 0 and (level == "switched" or (truth == 1).all())


def _by_paths(level: str, seen: Any, actions: Any, rewards: Any, t: int) -> tuple[Any, float]:
    """P(m_t) and P(transition t - 1 opened a session), given o_0 .. o_t: sums over all paths."""
    p = GridWorldParameters.make(**TINY)
    chances = np.zeros(2)
    opened = 0.0
    for path in itertools.product((0, 1), repeat=t + 1):
        for switches in itertools.product((0, 1), repeat=t):
            weight = p.prior[path[0]]
            for s, switch in enumerate(switches):
                change = p.transition[path[s]][path[s + 1]] if switch else path[s] == path[s + 1]
                weight *= (0.3 if switch else 0.7) * change
            told = path if level == "context" else (0, *switches)
            weight *= all(seen[s, 6] == told[s] for s in range(t + 1))
            weight *= all(_fits(seen[s + 1], rewards[s], path[s]) for s in range(t))
            chances[path[-1]] += weight
            opened += weight * (t > 1 and switches[t - 2])
    return chances / chances.sum(), opened / chances.sum()


def _fits(observation: Any, reward: float, m: int) -> bool:
    at, goals = observation[:2], (observation[2:4], observation[4:6])
    on = [i for i in (0, 1) if (at == goals[i]).all()]
    return reward == pytest.approx(-0.1 if not on else float(on[0] == m))


# --- others ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env_id", "level", "names"),
    [
        ("TwoStep-v0", "switched", {"random", "blind", "oracle"}),
        ("TwoStep-v0", "context", {"random", "blind", "oracle", "bayes"}),
        ("Bandit/Bernoulli-v0", "switched", {"random", "blind", "oracle", "bayes"}),  # it stays
        ("DLCMDP/GridWorldFamily-v0", "switched", {"random", "blind", "oracle"}),
    ],
)
def test_of_other_envs_what_stays_true_is_known(env_id: str, level: str, names: set[str]) -> None:
    short = {"horizon": 4} if env_id.startswith("DLCMDP") else {}
    env = make_vector(env_id, 1, {"notify": level} | short)
    returns = env.reference_returns()
    assert set(returns) == names and env.exact_filter() is None
    assert level == "switched" or returns["bayes"] == returns["oracle"]


def test_sessions_of_ones_own_tell_too() -> None:
    class Still(gym.Env):
        observation_space = gym.spaces.Dict(a=gym.spaces.Discrete(3))
        action_space = gym.spaces.Discrete(2)

        def set_context(self, m: Any) -> None: ...

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return {"a": 1}, {}

        def step(self, action: Any) -> Any:
            return {"a": 1}, 0.0, False, False, {}

    dynamics = Markov([1.0, 0.0], [[0.0, 1.0], [1.0, 0.0]], [[-1.0], [1.0]])
    for level, first, then in (("switched", 0, 1), ("context", -1.0, 1.0)):
        env = Notified(Sessions(Still(), Bernoulli(1.0), dynamics), level)
        assert env.reset(seed=0)[0] == ({"a": 1}, first)
        observation = env.step(0)[0]
        assert observation == ({"a": 1}, then) and env.observation_space.contains(observation)
    with pytest.raises(ValueError, match="outside of Sessions"):
        Notified(Still(), "switched").reset()
