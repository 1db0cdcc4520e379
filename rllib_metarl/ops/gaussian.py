"""Diagonal Gaussians given by mean and log-variance, both ``[..., D]``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rllib_metarl.ops.shapes import check_shapes


def kl_divergence(mean_q: Tensor, log_var_q: Tensor, mean_p: Tensor, log_var_p: Tensor) -> Tensor:
    """KL(q || p) of two diagonal Gaussians, in nats.

    KL = 1/2 sum_d [log s_p - log s_q + (s_q + (m_q - m_p)^2) / s_p - 1], s = exp(log_var).

    Args:
        mean_q, log_var_q, mean_p, log_var_p: ``[..., D]``, all of one shape.

    Returns:
        ``[...]``, summed over D; not negative up to rounding.

    Raises:
        ValueError: where shapes differ.

    Source: Kingma & Welling 2014, appendix B, for a general diagonal p.
    """
    check_shapes(
        {
            "mean_q": (mean_q, "... D"),
            "log_var_q": (log_var_q, "... D"),
            "mean_p": (mean_p, "... D"),
            "log_var_p": (log_var_p, "... D"),
        },
        where="kl_divergence",
    )
    log_ratio = log_var_q - log_var_p
    distance = (mean_q - mean_p).square() * torch.exp(-log_var_p)
    # expm1 keeps the small KL of neighbouring beliefs from drowning in exp(x) - 1.
    return 0.5 * (torch.expm1(log_ratio) - log_ratio + distance).sum(-1)


def kl_to_standard_normal(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(q || N(0, I)) = 1/2 sum_d [exp(log_var) + mean^2 - 1 - log_var], in nats.

    Args:
        mean, log_var: ``[..., D]``.

    Returns:
        ``[...]``.

    Raises:
        ValueError: where shapes differ.

    Source: Kingma & Welling 2014, appendix B.
    """
    check_shapes(
        {"mean": (mean, "... D"), "log_var": (log_var, "... D")}, where="kl_to_standard_normal"
    )
    return 0.5 * (torch.expm1(log_var) - log_var + mean.square()).sum(-1)


def log_density(x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """log N(x; mean, exp(log_var)) = -1/2 sum_d [(x - mean)^2 / s + log_var + log 2 pi], in nats.

    Args:
        x, mean, log_var: ``[..., D]``, of shapes that broadcast.

    Returns:
        ``[...]``.
    """
    distance = (x - mean).square() * torch.exp(-log_var)
    return -0.5 * (distance + log_var + math.log(2.0 * math.pi)).sum(-1)


def entropy(log_var: Tensor) -> Tensor:
    """Differential entropy 1/2 sum_d [log(2 pi e) + log_var], in nats.

    Args:
        log_var: ``[..., D]``.

    Returns:
        ``[...]``.

    Raises:
        ValueError: where `log_var` has no last dimension.
    """
    check_shapes({"log_var": (log_var, "... D")}, where="entropy")
    return 0.5 * (log_var + (1.0 + math.log(2.0 * math.pi))).sum(-1)


def sample(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    """Reparameterised sample mean + exp(log_var / 2) * noise.

    Args:
        mean, log_var: ``[..., D]``.
        noise: ``[..., D]`` standard normal draws; given, so that the function stays pure.

    Returns:
        ``[..., D]``, differentiable in `mean` and `log_var`.

    Raises:
        ValueError: where shapes differ.

    Source: Kingma & Welling 2014, section 2.4.
    """
    check_shapes(
        {"mean": (mean, "... D"), "log_var": (log_var, "... D"), "noise": (noise, "... D")},
        where="sample",
    )
    return mean + torch.exp(0.5 * log_var) * noise


def natural_factor(mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """What a Gaussian factor adds to the sums that `posterior_of` reads: 1 / s and m / s.

    Args:
        mean, var: ``[..., D]``.

    Returns:
        precision and precision-weighted mean, ``[..., D]`` each.

    Raises:
        ValueError: where shapes differ.
    """
    check_shapes({"mean": (mean, "... D"), "var": (var, "... D")}, where="natural_factor")
    precision = 1.0 / var
    return precision, mean * precision


def posterior_of(precision: Tensor, weighted: Tensor) -> tuple[Tensor, Tensor]:
    """The product of the Gaussian factors whose sums these are; of none of them N(0, I).

    A factor more is one addition, so that a posterior is kept up to date in O(1) a transition.

    Args:
        precision, weighted: sums of `natural_factor` over the factors, ``[..., D]``; 0 for none.

    Returns:
        mean and log-variance, ``[..., D]``.

    Raises:
        ValueError: where shapes differ.

    Source: Rakelly et al. 2019, eq. 2: q(z | c) is proportional to prod_n N(z; f(c_n)).
    """
    check_shapes(
        {"precision": (precision, "... D"), "weighted": (weighted, "... D")}, where="posterior_of"
    )
    empty = precision <= 0.0
    safe = torch.where(empty, 1.0, precision)
    return torch.where(empty, 0.0, weighted / safe), -safe.log()


def product(mean: Tensor, var: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The product of N Gaussian factors, in whatever order they come.

    Args:
        mean, var: ``[..., N, D]``.
        weight: ``[..., N]``, 0 for factors that are left out (padding), else 1.

    Returns:
        mean and log-variance, ``[..., D]``; N(0, I) where all are left out.

    Raises:
        ValueError: where shapes differ.

    Source: Rakelly et al. 2019, eq. 2.
    """
    check_shapes(
        {
            "mean": (mean, "... N D"),
            "var": (var, "... N D"),
            "weight": (weight.unsqueeze(-1), "... N I"),
        },
        where="product",
    )
    precision, weighted = natural_factor(mean, var)
    kept = weight.unsqueeze(-1)
    return posterior_of((precision * kept).sum(-2), (weighted * kept).sum(-2))
