"""A loss or a gradient that is not finite: the update is left out, counted and, at last, saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from rllib_metarl.errors import UserError
from tests.algorithms.small import small_config, small_learner, small_runner
from tests.reliability.resuming import flat


def _state(learner: Any) -> dict[str, Any]:
    """Weights, running statistics and optimisers."""
    state = learner.get_state(components=["rl_module", "optimizer"])
    return flat({key: state[key] for key in ("rl_module", "optimizer")})


def _update(learner: Any, episodes: list[Any]) -> dict[str, float]:
    reported = learner.update(
        episodes=episodes,
        timesteps={"num_env_steps_sampled_lifetime": 48},
        num_epochs=2,
        minibatch_size=24,
    )[DEFAULT_MODULE_ID]
    return {key: float(value.peek()) for key, value in reported.items()}


def _unlike(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [key for key, value in one.items() if not np.array_equal(value, other[key])]


class Sampled:
    """Meta-episodes of a small grid, or with rewards whose sum overflows."""

    def __init__(self, config: Any) -> None:
        self.runner = small_runner(config)

    def take(self, *, overflowing: bool = False) -> list[Any]:
        episodes = self.runner.sample(num_timesteps=48, explore=True)
        for episode in episodes if overflowing else ():
            episode.rewards.data[2:4] = 3e38
        return episodes


@pytest.mark.parametrize("name", ["VariBAD", "RL2"])
def test_an_update_that_is_not_finite_leaves_no_trace_and_training_goes_on(name: str) -> None:
    config = small_config(name, **({"vae_buffer_size": 8} if name == "VariBAD" else {}))
    learner, sampled = small_learner(config), Sampled(config)
    assert _update(learner, sampled.take())["skipped_updates"] == 0
    before = _state(learner)
    reported = _update(learner, sampled.take(overflowing=True))
    assert reported["skipped_updates"] >= 4  # two epochs of two minibatches, and the ELBO's
    # What is seen goes on being followed; the numbers that overflowed are not.
    moved = {key.rpartition("/")[2] for key in _unlike(before, _state(learner))}
    assert moved <= {
        f"normalise_{what}.{key}"
        for what in ("observation", "belief")
        for key in ("mean", "std", "batches")
    }
    after = _state(learner)
    assert _update(learner, sampled.take())["skipped_updates"] == 0  # the buffer is new as well
    now = _state(learner)
    assert any("exp_avg" in key for key in _unlike(after, now))
    assert all(np.isfinite(value.astype(float)).all() for value in now.values())


def test_after_too_many_in_a_row_training_stops_and_the_batch_is_there_to_look_at(
    tmp_path: Path,
) -> None:
    config = small_config("RL2", max_skipped_updates=6)
    learner, sampled = small_learner(config), Sampled(config)
    learner.guard.look_in(tmp_path)
    _update(learner, sampled.take(overflowing=True))  # four
    _update(learner, sampled.take())  # no longer in a row
    _update(learner, sampled.take(overflowing=True))
    with pytest.raises(UserError, match="6 updates in a row.*skipped-update-.*resumed"):
        _update(learner, sampled.take(overflowing=True))
    (path,) = tmp_path.iterdir()
    told = torch.load(path, weights_only=True)
    assert told["optimisers"] == ["policy", "value"] and told["not_finite"]
    assert not torch.isfinite(told["batch"]["value_targets"]).all()
