"""Meta-episodes that do not end are said early, and end training before memory does."""

from __future__ import annotations

import logging
from typing import Any

import gymnasium as gym
import pytest

from rllib_metarl.envs import BatchedEnvs
from rllib_metarl.errors import UserError
from rllib_metarl.sampling import collector as collecting
from rllib_metarl.sampling.collector import Collector
from rllib_metarl.sampling.patience import LONG, Patience, memory, time_limit
from tests.sampling.tiny import build, corridors


def test_a_long_meta_episode_is_said_once_and_a_longer_one_is_not_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    patience = Patience("Walk", max_steps=8_000)
    with caplog.at_level(logging.WARNING, "rllib_metarl"):
        for steps in range(0, 8_001, 500):
            patience.look(steps)
    (record,) = caplog.records
    assert "env Walk: a meta-episode has not ended in 5,000 steps" in record.getMessage()
    assert "TimeLimit" in record.getMessage()
    with pytest.raises(
        UserError, match=r"Walk: .*8,000 steps \(max_meta_episode_steps\).*TimeLimi"
    ):
        patience.look(8_001)


def test_a_known_time_limit_is_waited_for_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    Patience("Walk", limit=2 * LONG).look(LONG + 1)
    assert not caplog.records


def test_memory_is_a_bound_of_its_own() -> None:
    with pytest.raises(UserError, match="a quarter of the memory.*TimeLimit.*num_envs_per_env_r"):
        Patience("Walk").look(100, bytes_of_a_step=int(memory() / 200))


def test_the_collector_stops_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    env = corridors((3, 5, 10**9))  # the last one never ends, the others do
    collector = Collector(env, build(env), max_steps=40)
    collector.collect(20)
    with pytest.raises(UserError, match=r"Corridor: .*40 steps \(max_meta_episode_steps\)"):
        collector.collect(10**6)
    monkeypatch.setattr(collecting, "LOOK_EVERY", 5)
    monkeypatch.setattr(collecting, "bytes_of", lambda record: int(memory()))
    with pytest.raises(UserError, match="a quarter of the memory"):
        Collector(env, build(env)).collect(10**6)


def test_the_time_limit_is_found_among_wrappers() -> None:
    def limited(steps: int | None) -> Any:
        env: gym.Env = corridors((3,)).envs[0]
        env = gym.wrappers.TimeLimit(env, steps) if steps else env
        return BatchedEnvs([gym.wrappers.OrderEnforcing(env)])

    assert time_limit(limited(7)) == 7 and time_limit(limited(None)) == 0
