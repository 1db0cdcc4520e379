"""Gradients are clipped as torch clips them."""

from __future__ import annotations

import pytest
import torch

from rllib_metarl.ops.gradients import clip_norm_


def _parameters(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((3, 4), (5,), (2, 1, 7))]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return [*parameters, torch.nn.Parameter(torch.zeros(2))]  # one that no gradient has reached


def test_a_norm_above_the_limit_is_brought_down_to_it() -> None:
    one = torch.nn.Parameter(torch.zeros(2))
    one.grad = torch.tensor([3.0, 4.0])
    assert float(clip_norm_([one], 1.0)) == 5.0
    torch.testing.assert_close(one.grad, torch.tensor([0.6, 0.8]))


@pytest.mark.parametrize("limit", [0.5, 1e3, float("inf")])
def test_every_bit_is_torchs(limit: float) -> None:
    ours, theirs = _parameters(), _parameters()
    assert torch.equal(clip_norm_(ours, limit), torch.nn.utils.clip_grad_norm_(theirs, limit))
    for one, other in zip(ours, theirs, strict=True):
        assert (one.grad is None and other.grad is None) or torch.equal(one.grad, other.grad)


def test_what_is_not_finite_is_told_by_the_norm() -> None:
    parameters = _parameters()
    parameters[1].grad[0] = float("nan")
    assert torch.isnan(clip_norm_(parameters, 1.0))


def test_without_gradients_the_norm_is_zero() -> None:
    assert float(clip_norm_([torch.nn.Parameter(torch.zeros(2))], 1.0)) == 0.0
