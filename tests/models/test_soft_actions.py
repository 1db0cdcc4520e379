"""Actions of soft actor-critic: within bounds, with the density that they say, differentiable."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_metarl.models.soft_actions import SoftActions

BOX = spaces.Box(-2.0, 3.0, (2,), np.float32)
HALF = spaces.Box(0.0, np.inf, (2,), np.float32)
MIXED = spaces.Dict(a=spaces.Discrete(3), b=BOX, c=spaces.MultiBinary(2))


@pytest.mark.parametrize("space", [BOX, HALF, spaces.Discrete(4), MIXED], ids=str)
def test_samples_lie_in_the_space_and_have_the_density_that_is_told(space: gym.Space) -> None:
    codec = SoftActions(space)
    torch.manual_seed(0)
    logits = torch.randn(1, codec.outputs).expand(20_000, -1)
    encoded, log_prob = codec.draw(logits)
    flat = codec.sample(logits, torch.Generator().manual_seed(1))
    again = codec.encode(flat)
    assert (encoded.mean(0) - again.mean(0)).abs().max() < 0.1
    # The mean of log-probabilities is minus the entropy, however they were drawn.
    assert log_prob.mean() == pytest.approx(float(codec.log_prob(logits, flat).mean()), abs=0.06)
    first: Any = codec.to_env(flat[:1].numpy())
    assert codec.outputs and first is not None
    if space is BOX:
        actions = codec.to_env(flat.numpy())
        assert actions.min() >= -2.0 and actions.max() <= 3.0 and flat.abs().max() <= 1.0


def test_the_density_integrates_to_one() -> None:
    codec = SoftActions(spaces.Box(-1.0, 1.0, (1,), np.float32))
    grid = torch.linspace(-0.9999, 0.9999, 20_001)[:, None]
    logits = torch.tensor([0.4, -0.3]).expand(len(grid), 2)
    area = torch.trapezoid(codec.log_prob(logits, grid).exp(), grid[:, 0])
    assert area == pytest.approx(1.0, abs=1e-2)
    assert codec.mode(logits[:1]).item() == pytest.approx(np.tanh(0.4), abs=1e-6)


def test_gradients_pass_through_numbers_and_categories() -> None:
    codec = SoftActions(MIXED)
    logits = torch.zeros(500, codec.outputs, requires_grad=True)
    torch.manual_seed(0)
    encoded, log_prob = codec.draw(logits)
    assert ((encoded[:, :3].sum(-1) - 1.0).abs() < 1e-5).all()  # one-hots
    (encoded[:, 0] + encoded[:, -1]).sum().backward()
    gradient = logits.grad.mean(0)
    assert gradient[0] > 0.0 > gradient[1]  # more of the category, less of the others
    assert gradient[sum(codec.categories) + 1] > 0.0  # the last number's mean
    entropy = -codec.draw(logits.detach())[1].mean()
    expected = np.log(3) + 2 * np.log(2)
    assert entropy == pytest.approx(expected + _squashed_entropy(2), abs=0.1)


def _squashed_entropy(count: int) -> float:
    u = np.random.default_rng(0).normal(size=200_000)
    return count * float(0.5 * np.log(2 * np.pi * np.e) + np.log(1 - np.tanh(u) ** 2).mean())


def test_what_is_no_share_of_a_range_is_not_squashed() -> None:
    codec = SoftActions(BOX, normalise=False)
    logits = torch.tensor([[2.5, 0.0, 0.0, 0.0]])
    assert codec.mode(logits)[0, 0] == 2.5
