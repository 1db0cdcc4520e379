from __future__ import annotations

import math

import pytest
import torch

from rllib_metarl.ops import ppo

# Ratios 2, 2, 1/2, 1/2 and 1.1 against a clip of 0.2: bounds 0.8 and 1.2.
RATIO = torch.tensor([2.0, 2.0, 0.5, 0.5, 1.1], dtype=torch.float64)
ADVANTAGE = torch.tensor([3.0, -3.0, 4.0, -4.0, -10.0], dtype=torch.float64)


def _surrogate(ratio: torch.Tensor, advantage: torch.Tensor) -> ppo.ClippedSurrogate:
    old = torch.full_like(ratio, -1.5)
    return ppo.clipped_surrogate(old + ratio.log(), old, advantage, 0.2)


def test_clipped_surrogate_by_hand() -> None:
    # -min(6, 3.6);  -min(-6, -3.6);  -min(2, 3.2);  -min(-2, -3.2);  inside: -1.1 * -10
    surrogate = _surrogate(RATIO, ADVANTAGE)
    expected = torch.tensor([-3.6, 6.0, -2.0, 3.2, 11.0], dtype=torch.float64)
    torch.testing.assert_close(surrogate.loss, expected)
    assert surrogate.clipped.tolist() == [True, True, True, True, False]


def test_gradient_stops_only_where_the_step_has_already_gone_far_enough() -> None:
    log_prob = RATIO.log().requires_grad_()
    loss = ppo.clipped_surrogate(log_prob, torch.zeros_like(RATIO), ADVANTAGE, 0.2).loss
    loss.sum().backward()
    # d/dlogp of -rho A is -rho A; 0 where the clipped branch is the minimum.
    expected = torch.tensor([0.0, 6.0, -2.0, 0.0, 11.0], dtype=torch.float64)
    torch.testing.assert_close(log_prob.grad, expected)


def test_clipped_surrogate_names_the_shape_that_differs() -> None:
    three, two = torch.zeros(3), torch.zeros(2)
    with pytest.raises(ValueError, match="advantage"):
        ppo.clipped_surrogate(three, three, two, 0.2)


def test_approximate_kl_by_hand() -> None:
    # rho - 1 - log rho at rho = 2, 1, 1/2
    rho = torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)
    kl = ppo.approximate_kl(rho.log(), torch.zeros_like(rho))
    expected = torch.tensor([1 - math.log(2), 0.0, math.log(2) - 0.5], dtype=torch.float64)
    torch.testing.assert_close(kl, expected)


def test_approximate_kl_is_the_kl_on_average() -> None:
    old = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    new = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    exact = (old * (old / new).log()).sum()
    estimate = (old * ppo.approximate_kl(new.log(), old.log())).sum()
    torch.testing.assert_close(estimate, exact)


def test_explained_variance_by_hand() -> None:
    target = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert ppo.explained_variance(target + 7.0, target) == pytest.approx(1.0)  # an offset is free
    assert ppo.explained_variance(torch.zeros(4), target) == pytest.approx(0.0)
    assert ppo.explained_variance(-target, target) == pytest.approx(-3.0)  # 1 - Var(2x) / Var(x)
