"""Losses of soft actor-critic, by hand; products of Gaussian factors."""

from __future__ import annotations

import math

import pytest
import torch

from rllib_metarl.ops.gaussian import natural_factor, posterior_of, product
from rllib_metarl.ops.soft_actor_critic import (
    critic_loss,
    critic_target,
    soft_value,
    temperature_loss,
    value_loss,
)


def test_losses_by_hand() -> None:
    q1, q2 = torch.tensor([1.0, 4.0]), torch.tensor([2.0, 3.0])
    log_prob, zero = torch.tensor([-1.0, 2.0]), torch.zeros(2)
    assert soft_value(q1, q2, log_prob, 0.5).tolist() == [1.5, 2.0]
    target = critic_target(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 1.0]), q1, 0.9)
    assert torch.allclose(target, torch.tensor([1.9, 1.0]))
    assert critic_loss(q1, q2, zero).item() == pytest.approx(17 / 2 + 13 / 2)
    assert value_loss(q1, q2).item() == pytest.approx(1.0)
    log_alpha = torch.tensor(0.3, requires_grad=True)
    loss = temperature_loss(log_alpha, log_prob, -2.0)
    loss.backward()
    assert log_alpha.grad == pytest.approx(1.5)  # entropy -0.5 is above -2: alpha falls
    for wrong in (lambda: soft_value(q1, q2[:1], q1, 1.0), lambda: value_loss(q1[None], q2)):
        with pytest.raises(ValueError, match="has shape"):
            wrong()


def test_targets_get_no_gradient() -> None:
    value = torch.ones(3, requires_grad=True)
    critic_loss(torch.zeros(3, requires_grad=True), torch.zeros(3), value).backward()
    value_loss(torch.zeros(3, requires_grad=True), value).backward()
    assert value.grad is None


def test_a_product_of_gaussians_is_that_of_their_densities() -> None:
    mean, var = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [0.5]])
    got, log_var = product(mean, var, torch.ones(2))
    assert got.item() == pytest.approx(4.0 / 3.0)
    assert log_var.exp().item() == pytest.approx(1.0 / 3.0)
    alone, log_var = product(mean, var, torch.tensor([1.0, 0.0]))
    assert alone.item() == 0.0 and log_var.item() == 0.0
    prior = product(mean, var, torch.zeros(2))
    assert [x.item() for x in prior] == [0.0, 0.0]
    with pytest.raises(ValueError, match="product: weight"):
        product(mean, var, torch.ones(3))


def test_a_running_product_is_that_of_all_at_once() -> None:
    g = torch.Generator().manual_seed(0)
    mean = torch.randn(4, 500, 3, generator=g)
    var = torch.rand(4, 500, 3, generator=g).clamp_min(1e-7)
    precision = weighted = torch.zeros(4, 3)
    for t in range(500):
        more = natural_factor(mean[:, t], var[:, t])
        precision, weighted = precision + more[0], weighted + more[1]
    expected = product(mean, var, torch.ones(4, 500))
    for one, other in zip(posterior_of(precision, weighted), expected, strict=True):
        assert (one - other).abs().max() < 1e-5
    order = torch.randperm(500, generator=g)
    shuffled = product(mean[:, order], var[:, order], torch.ones(4, 500))
    assert (shuffled[0] - expected[0]).abs().max() < 1e-5
    assert math.isfinite(float(expected[1].sum()))
