"""The step of trust region policy optimisation (Schulman et al. 2015, arXiv:1502.05477, app. C)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rllib_metarl.ops.shapes import check_shapes

Product = Callable[[Tensor], Tensor]


def conjugate_gradient(
    product: Product, target: Tensor, iterations: int = 10, tolerance: float = 1e-10
) -> Tensor:
    """An approximate solution x of A x = target, for a symmetric positive definite A.

    Args:
        product: v `[P]` -> A v `[P]`.
        target: `[P]`.
        iterations: the most products that are computed.
        tolerance: of the residual's squared norm.

    Source: Hestenes and Stiefel 1952.
    """
    check_shapes({"target": (target, "P")}, where="conjugate_gradient")
    x, residual = torch.zeros_like(target), target.clone()
    direction, squared = residual.clone(), residual @ residual
    for _ in range(iterations):
        if squared < tolerance:
            break
        moved = product(direction)
        length = squared / (direction @ moved)
        x = x + length * direction
        residual = residual - length * moved
        before, squared = squared, residual @ residual
        direction = residual + squared / before * direction
    return x


class Found(NamedTuple):
    """Where a line search ended: the share of the step (0: none was good), loss and KL there."""

    share: float
    loss: float
    kl: float


def line_search(
    evaluate: Callable[[float], tuple[float, float]],
    loss: float,
    kl_limit: float,
    ratio: float = 0.8,
    tries: int = 15,
) -> Found:
    """The largest of the shares 1, ratio, ratio², ... that lowers the loss within the limit.

    Args:
        evaluate: share of the step -> loss and KL divergence there.
        loss: without a step.
        kl_limit: of the KL divergence.
        tries: how many shares are tried.
    """
    for share in (ratio**k for k in range(tries)):
        found, kl = evaluate(share)
        if found < loss and kl <= kl_limit:  # never so for NaN
            return Found(share, found, kl)
    return Found(0.0, loss, 0.0)


def step_length(direction: Tensor, product: Product, kl_limit: float) -> Tensor:
    """How far along `direction` `[P]` the quadratic model of the KL reaches its limit."""
    curvature = direction @ product(direction)
    return torch.sqrt(2.0 * kl_limit / curvature.clamp_min(1e-12))


def metric(divergence: Callable[[Tensor], Tensor], at: Tensor) -> Product:
    """Products with the Hessian of `divergence` (a sum over rows) at inputs `at`."""
    leaf = at.detach().requires_grad_()
    (slope,) = torch.autograd.grad(divergence(leaf), leaf, create_graph=True)

    def product(v: Tensor) -> Tensor:
        (moved,) = torch.autograd.grad(slope, leaf, v, retain_graph=True)
        return moved

    return product


def gauss_newton(
    output: Tensor, weights: list[Tensor], divergence: Callable[[Tensor], Tensor]
) -> Callable[[list[Tensor]], list[Tensor]]:
    """Products with the Hessian in `weights` of a divergence that is 0 at its own outputs.

    There the Hessian is Gᵀ M G, G the Jacobian of the outputs and M the divergence's own Hessian in
    them: no third derivatives, and half the time of differentiating twice.

    Args:
        output: a network's outputs, with their graph.
        weights: with respect to which they are differentiated.
        divergence: outputs -> a scalar, with its minimum at `output`.
    """
    within = metric(divergence, output)
    leaf = torch.zeros_like(output, requires_grad=True)
    # Linear in `leaf`, so that its derivative is the Jacobian, forwards.
    pulled = torch.autograd.grad(output, weights, leaf, create_graph=True, materialize_grads=True)

    used = [i for i, one in enumerate(pulled) if one.requires_grad]

    def product(v: list[Tensor]) -> list[Tensor]:
        moving = [pulled[i] for i in used], leaf, [v[i] for i in used]
        (pushed,) = torch.autograd.grad(*moving, retain_graph=True)
        back = torch.autograd.grad(
            output, weights, within(pushed), retain_graph=True, materialize_grads=True
        )
        return list(back)

    return product
