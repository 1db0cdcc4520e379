"""Meta-episodes that end because their physics broke down are counted."""

from __future__ import annotations

import numpy as np

from tests.algorithms.small import small_config, small_runner


def test_unstable_meta_episodes_are_counted_and_only_where_there_is_physics() -> None:
    config = small_config("BlindPPO", env="DLCMDP/HalfCheetahDir-v0", env_config={"horizon": 6})
    runner = small_runner(config)
    runner.sample(num_timesteps=48, explore=True)
    assert runner.get_metrics()["unstable_episodes"].peek() == 0
    engine = runner.env.unwrapped.simulator.engine
    engine.states[2, 1 + engine.nq :] = np.nan  # velocities that no simulation survives
    episodes = runner.sample(num_timesteps=48, explore=True)
    assert runner.get_metrics()["unstable_episodes"].peek() == 1
    assert [len(e) for e in episodes].count(1) == 1
    runner.sample(num_timesteps=48, explore=True)
    assert runner.get_metrics()["unstable_episodes"].peek() == 0  # each is counted once
    grid = small_runner(small_config("BlindPPO"))
    grid.sample(num_timesteps=48, explore=True)
    assert "unstable_episodes" not in grid.get_metrics()
