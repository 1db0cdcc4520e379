from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_metarl.sampling import held_out
from rllib_metarl.sampling.collector import Collector
from rllib_metarl.sampling.held_out import HeldOut, normalised_score
from tests.sampling.tiny import GRID, SMALL_GRID, Corridor, build, grid


def _tasks(episodes: list[Any]) -> np.ndarray:
    """Start, goals and the context of every step: what a meta-episode asks for."""
    return np.stack([np.append(e.observations[0], e.labels["context"][:, 0]) for e in episodes])


def test_the_tasks_are_the_same_each_time_whatever_is_played() -> None:
    heldout = HeldOut(GRID, SMALL_GRID, 12, seed=4)
    module, other = build(heldout.env), build(heldout.env, prior_conditioning=False)
    first = heldout.play(module)
    assert len(first) == 12
    for again in (heldout.play(other, explore=True), HeldOut(GRID, SMALL_GRID, 12, 4).play(module)):
        np.testing.assert_array_equal(_tasks(first), _tasks(again))
    assert not np.array_equal(_tasks(first), _tasks(HeldOut(GRID, SMALL_GRID, 12, 5).play(module)))


def test_tasks_are_held_out_from_training_with_the_same_seed() -> None:
    heldout = HeldOut(GRID, SMALL_GRID, 4, seed=0)
    module = build(heldout.env)
    training = Collector(grid(4, seed=0), module).collect(24)
    assert not np.array_equal(_tasks(heldout.play(module)), _tasks(training))


def test_every_sub_env_plays_equally_many_however_short_its_meta_episodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(held_out, "MAX_ENVS", 4)
    heldout = HeldOut(lambda context: Corridor((2, 3, 5, 17)[context.vector_index]), None, 8)
    episodes = heldout.play(build(heldout.env))
    assert [e.env_index for e in episodes] == [0, 1, 2, 3] * 2
    assert [len(e) for e in episodes] == [2, 3, 5, 17] * 2
    assert len(HeldOut(GRID, SMALL_GRID, 7).play(build(grid(4, seed=0)))) == 7


class Drunkard(gym.Env):
    """Draws its task, then a random number in every step; how many steps, the action decides."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config: Any = None) -> None:
        pass

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.task = self.np_random.uniform(size=2)
        return self.task, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        ended = bool(self.np_random.uniform() < (0.9 if action else 0.2))
        return self.task, 0.0, ended, False, {}


def test_later_tasks_do_not_depend_on_what_was_done_in_earlier_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(held_out, "MAX_ENVS", 2)
    heldout = HeldOut(Drunkard, None, 6)
    played = [heldout.play(build(heldout.env, policy_hidden=[h]), explore=True) for h in (8, 16)]
    lengths = [[len(e) for e in episodes] for episodes in played]
    tasks = [np.stack([e.observations[0] for e in episodes]) for episodes in played]
    assert lengths[0] != lengths[1]
    np.testing.assert_array_equal(*tasks)
    assert len(np.unique(tasks[0], axis=0)) == 6


def test_evaluate_counts_what_was_played() -> None:
    heldout = HeldOut(GRID, SMALL_GRID, 8)
    module = build(heldout.env)
    result, episodes = heldout.evaluate(module), heldout.play(module)
    returns = [e.rewards.sum() for e in episodes]
    assert result["return_mean"] == pytest.approx(np.mean(returns))
    assert result["return_std"] == pytest.approx(np.std(returns))
    assert (result["episodes"], result["env_steps"]) == (8, 48)
    blind, bayes = (result["references"][k] for k in ("blind", "bayes"))
    score = (result["return_mean"] - blind) / (bayes - blind)
    assert result["normalised_score"] == pytest.approx(score)
    heldout.close()


def test_no_references_no_score() -> None:
    assert normalised_score(3.0, None) is None
    assert normalised_score(3.0, {"random": 0.0}) is None
    assert normalised_score(3.0, {"blind": 2.0, "bayes": 2.0}) is None
    assert normalised_score(3.0, {"blind": 1.0, "bayes": 5.0}) == 0.5
