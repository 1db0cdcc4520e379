"""Conjugate gradient, line search and curvature against what is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rllib_metarl.ops.trust_region import (
    conjugate_gradient,
    gauss_newton,
    line_search,
    step_length,
)


def matrix(size: int = 6) -> Tensor:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return root @ root.T + torch.eye(size)


def test_as_many_iterations_as_dimensions_solve_the_system() -> None:
    a, b = matrix(), torch.arange(6, dtype=torch.float64)
    found = conjugate_gradient(lambda v: a @ v, b, iterations=6, tolerance=1e-30)
    assert torch.allclose(a @ found, b, atol=1e-8)
    assert not conjugate_gradient(lambda v: a @ v, torch.zeros(6)).any()


def test_a_step_comes_to_the_limit_of_the_quadratic_model() -> None:
    a, b = matrix(), torch.ones(6, dtype=torch.float64)
    step = step_length(b, lambda v: a @ v, 0.01) * b
    assert float(0.5 * step @ a @ step) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("losses", "kls", "share"),
    [
        ([-1.0], [0.005], 1.0),
        ([1.0, -1.0], [0.0, 0.0], 0.8),
        ([-1.0, -1.0, -1.0], [1.0, 0.011, 0.01], 0.64),
        ([float("nan"), -1.0], [0.0, float("nan")], 0.0),
    ],
)
def test_the_line_search_takes_the_longest_good_step(losses, kls, share) -> None:
    tried: list[float] = []

    def at(part: float) -> tuple[float, float]:
        tried.append(part)
        i = len(tried) - 1
        return (losses[i], kls[i]) if i < len(losses) else (1.0, 0.0)

    found = line_search(at, 0.0, 0.01, 0.8, tries=5)
    assert found.share == pytest.approx(share)
    assert len(tried) == (5 if share == 0.0 else len(losses))


def test_products_with_the_curvature_are_those_of_differentiating_twice() -> None:
    """The KL of Gaussians whose mean and deviation a small net gives."""
    g = torch.Generator().manual_seed(1)
    w, v = (torch.randn(*s, generator=g, dtype=torch.float64) for s in ((3, 5), (5, 4)))
    x = torch.randn(8, 3, generator=g, dtype=torch.float64)

    def net(w: Tensor, v: Tensor) -> Tensor:
        return torch.tanh(x @ w) @ v

    old = net(w, v)

    def kl(out: Tensor) -> Tensor:
        (m0, s0), (m1, s1) = old.chunk(2, -1), out.chunk(2, -1)
        each = s1 - s0 + ((2 * s0).exp() + (m0 - m1) ** 2) / (2 * (2 * s1).exp()) - 0.5
        return each.sum() / 8

    leaves = [w.requires_grad_(), v.requires_grad_()]
    product = gauss_newton(net(*leaves), leaves, kl)
    direction = [torch.randn(p.shape, generator=g, dtype=torch.float64) for p in leaves]
    _, expected = torch.autograd.functional.hvp(
        lambda w, v: kl(net(w, v)), tuple(p.detach() for p in leaves), tuple(direction)
    )
    for one, other in zip(product(direction), expected, strict=True):
        assert torch.allclose(one, other, atol=1e-9)
