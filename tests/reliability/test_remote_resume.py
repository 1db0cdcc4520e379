"""Remote EnvRunners go on where they were when the checkpoint was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_metarl.sampling.runner import STREAMS
from tests.algorithms.small import small_runner
from tests.reliability.resuming import config_of, train


def _config() -> Any:
    config = config_of("DynaMITE", "wandering")
    return config.env_runners(num_env_runners=2, num_envs_per_env_runner=4)


def _played(runner: Any) -> list[np.ndarray]:
    episodes = runner.sample(num_timesteps=60, explore=True)
    return [episode.get_observations() for episode in episodes]


def test_a_runner_goes_on_with_its_meta_episodes_and_its_streams() -> None:
    first, second = (small_runner(_config(), 2) for _ in range(2))
    second.module.load_state_dict(first.module.state_dict())
    _played(first)
    assert first.collector.unfinished_steps
    own = first.own_state()
    assert own.keys() >= {STREAMS} and "rl_module" not in own
    second.set_own_state(own)
    for _ in range(2):
        for one, other in zip(_played(first), _played(second), strict=True):
            assert np.array_equal(one, other)


@pytest.mark.slow
def test_two_iterations_and_two_after_a_resume_are_four(shared_ray: None, tmp_path: Path) -> None:
    algorithm = _config().build_algo()
    train(algorithm, 2)
    checkpoint = algorithm.save_to_path(str(tmp_path / "checkpoint"))
    expected = train(algorithm, 2)
    algorithm.stop()
    resumed = type(algorithm).from_checkpoint(checkpoint)
    got = train(resumed, 2)
    resumed.stop()
    for one, other in zip(got, expected, strict=True):
        assert one.keys() == other.keys()
        assert not [k for k in one if not np.array_equal(one[k], other[k], equal_nan=True)]
