"""Two learners divide the work of one: the same gradients, the same state, whole meta-episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import COMPONENT_LEARNER, DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from rllib_metarl.learning.rank import Rank, SharedNoise
from tests.algorithms.small import small_config, small_learner, small_runner

TIMESTEPS = {NUM_ENV_STEPS_SAMPLED_LIFETIME: 48}


def one_step_config(name: str, learners: int, **settings: Any) -> Any:
    """A batch of 8 meta-episodes that is one minibatch, however many learners there are."""
    each = 48 // max(learners, 1)
    settings = {"train_batch_size_per_learner": each, "minibatch_size": each} | settings
    config = small_config(name, **settings)
    return config.learners(num_learners=learners, num_cpus_per_learner=0.5)


def gradients(learner: Any) -> dict[str, np.ndarray]:
    """The newest gradients, by the parameter's name."""
    named = learner.agent.named_parameters()
    return {name: p.grad.numpy() for name, p in named if p.grad is not None}


def buffered(learner: Any) -> int:
    """Meta-episodes in the learner's buffer."""
    return len(learner.buffer)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("DynaMITE", {"num_epochs": 1, "vae_updates": 1}),
        pytest.param("RL2", {"num_epochs": 1}, marks=pytest.mark.slow),
        pytest.param("HLTDynaMITE", {"num_epochs": 1, "vae_updates": 1}, marks=pytest.mark.slow),
    ],
)
def test_two_learners_do_what_one_does(
    shared_ray: None, tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    one = small_learner(one_step_config(name, 0, **settings))
    algorithm = one_step_config(name, 2, **settings).build_algo()
    group = algorithm.learner_group
    group.set_state({COMPONENT_LEARNER: one.get_state()})
    episodes = small_runner(one.config).sample(num_timesteps=48, explore=True)
    episodes[0] = episodes[0].slice(slice(0, 2))  # lengths differ between the learners
    arguments = {"timesteps": TIMESTEPS, "num_epochs": 1}
    one.update(episodes=episodes, minibatch_size=48, **arguments)
    group.update(episodes=episodes, minibatch_size=24, **arguments)

    expected = gradients(one)
    both = [result.get() for result in group.foreach_learner(gradients)]
    for found in both:
        assert found.keys() == expected.keys()
        for key, gradient in expected.items():
            np.testing.assert_allclose(found[key], gradient, rtol=1e-5, atol=1e-6, err_msg=key)
    if hasattr(one, "buffer"):
        assert [result.get() for result in group.foreach_learner(buffered)] == [8, 8]

    trained = algorithm.train()["learners"][DEFAULT_MODULE_ID]["num_module_steps_trained_lifetime"]
    states = [result.get() for result in group.foreach_learner(lambda x: x.get_state())]
    path = algorithm.save_to_path(str(tmp_path / "checkpoint"))
    algorithm.stop()
    assert trained == 48  # each step counted once
    for ours, theirs in zip(*(flat(state) for state in states), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # What two learners have saved, one goes on with.
    again = one_step_config(name, 0, **settings).build_algo()
    again.restore_from_path(path)
    restored = again.learner_group._learner
    assert not hasattr(restored, "buffer") or len(restored.buffer) == 16
    again.train()
    again.stop()


def flat(state: Any) -> list[np.ndarray]:
    """All arrays of a learner's state but its metrics, in order."""
    if isinstance(state, dict):
        return [x for key in sorted(state, key=str) if key != "metrics" for x in flat(state[key])]
    if isinstance(state, (list, tuple)):
        return [x for item in state for x in flat(item)]
    return [np.asarray(state)] if isinstance(state, (np.ndarray, torch.Tensor, float)) else []


def test_shares_are_disjoint_and_whole() -> None:
    rows = torch.arange(7)
    parts = [rows[Rank(index, 3).part(7)].tolist() for index in range(3)]
    assert sorted(sum(parts, [])) == rows.tolist()
    assert {len(part) for part in parts} == {2, 3}


def test_fewer_rows_than_learners_go_to_all() -> None:
    assert [len(torch.arange(2)[Rank(index, 3).part(2)]) for index in range(3)] == [2, 2, 2]
    assert [len(torch.arange(3)[Rank(index, 3).part(3)]) for index in range(3)] == [1, 1, 1]


def test_a_row_has_the_same_noise_however_many_learners() -> None:
    whole = SharedNoise(Rank(), seed=5).like(torch.zeros(5, 4, 2))
    for index in range(2):
        noise = SharedNoise(Rank(index, 2), seed=5)
        noise.divide(5)
        part = noise.like(torch.zeros(3 - index, 4, 2))
        torch.testing.assert_close(part, whole[index::2], rtol=0, atol=0)
