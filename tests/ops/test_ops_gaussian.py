from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal
from torch.distributions import kl_divergence as torch_kl

from rllib_metarl.ops import gaussian


def _draw(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return list(torch.randn(count, 6, 4, 3, generator=generator, dtype=torch.float64))


def _normal(mean: Tensor, log_var: Tensor) -> Independent:
    return Independent(Normal(mean, (0.5 * log_var).exp()), 1)


def test_kl_by_hand() -> None:
    # q = N((1, 0), (1, 4)), p = N((0, 2), (2, 1)).
    # d = 1: [log 2 - 0 + (1 + 1) / 2 - 1] / 2 = log(2) / 2
    # d = 2: [0 - log 4 + (4 + 4) / 1 - 1] / 2 = (7 - 2 log 2) / 2
    # sum: 3.5 - log(2) / 2 = 3.153426
    kl = gaussian.kl_divergence(
        torch.tensor([1.0, 0.0]),
        torch.tensor([0.0, math.log(4.0)]),
        torch.tensor([0.0, 2.0]),
        torch.tensor([math.log(2.0), 0.0]),
    )
    assert kl.shape == ()
    assert kl.item() == pytest.approx(3.5 - math.log(2.0) / 2, abs=1e-6)


def test_kl_and_entropy_agree_with_torch_distributions() -> None:
    mean_q, log_var_q, mean_p, log_var_p = _draw(4)
    q, p = _normal(mean_q, log_var_q), _normal(mean_p, log_var_p)
    kl = gaussian.kl_divergence(mean_q, log_var_q, mean_p, log_var_p)
    assert kl.shape == (6, 4)
    torch.testing.assert_close(kl, torch_kl(q, p))
    torch.testing.assert_close(gaussian.entropy(log_var_q), q.entropy())


def test_kl_to_standard_normal_is_the_general_one_at_zero() -> None:
    mean, log_var = _draw(2)
    zero = torch.zeros_like(mean)
    torch.testing.assert_close(
        gaussian.kl_to_standard_normal(mean, log_var),
        gaussian.kl_divergence(mean, log_var, zero, zero),
    )
    # N(2, 1): (1 + 4 - 1 - 0) / 2 = 2.
    assert gaussian.kl_to_standard_normal(torch.tensor([2.0]), torch.tensor([0.0])).item() == 2.0


def test_kl_of_near_beliefs_keeps_its_digits_in_float32() -> None:
    # Log-variances 1e-4 apart at 0: (expm1(x) - x) / 2 = x^2 / 4 = 2.5e-9.
    log_var, zero = torch.tensor([1e-4]), torch.zeros(1)
    kl = gaussian.kl_divergence(zero, log_var, zero, zero)
    assert kl.item() == pytest.approx(2.5e-9, rel=0.01)


def test_entropy_by_hand() -> None:
    # Two dimensions of variance 1 and e: (2 log(2 pi e) + 0 + 1) / 2 = 3.337877
    value = gaussian.entropy(torch.tensor([0.0, 1.0])).item()
    assert value == pytest.approx(math.log(2 * math.pi * math.e) + 0.5)


def test_sample_moves_with_mean_and_standard_deviation() -> None:
    # 1 + sqrt(4) * 0.5 = 2; d/dmean = 1; d/dlog_var = sqrt(4) * 0.5 / 2 = 0.5.
    mean = torch.tensor([1.0], requires_grad=True)
    log_var = torch.tensor([math.log(4.0)], requires_grad=True)
    drawn = gaussian.sample(mean, log_var, torch.tensor([0.5]))
    drawn.sum().backward()
    assert drawn.item() == pytest.approx(2.0)
    assert mean.grad is not None and mean.grad.item() == pytest.approx(1.0)
    assert log_var.grad is not None and log_var.grad.item() == pytest.approx(0.5)


def test_shapes_are_not_broadcast() -> None:
    x, y = torch.zeros(2, 5, 3), torch.zeros(3)
    with pytest.raises(
        ValueError, match=r"kl_divergence: mean_p has shape \(3,\), expected \.\.\."
    ):
        gaussian.kl_divergence(x, x, y, y)
    with pytest.raises(ValueError, match=r"kl_to_standard_normal: log_var has shape \(3,\)"):
        gaussian.kl_to_standard_normal(x, y)
    with pytest.raises(ValueError, match=r"sample: noise has shape \(3,\)"):
        gaussian.sample(x, x, y)
