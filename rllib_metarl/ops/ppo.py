"""Proximal policy optimisation, Schulman et al. 2017, arXiv:1707.06347."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rllib_metarl.ops.shapes import check_shapes


class ClippedSurrogate(NamedTuple):
    """`loss [N]` to minimise, and whether the ratio was outside the clip range, `clipped [N]`."""

    loss: Tensor
    clipped: Tensor


def clipped_surrogate(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float
) -> ClippedSurrogate:
    """Eq. 7: -min(rho A, clip(rho, 1 - c, 1 + c) A), rho = pi(a) / pi_old(a).

    Args:
        log_prob: ``[...]`` of the taken actions under the policy that is trained.
        old_log_prob: ``[...]`` under the policy that sampled.
        advantage: ``[...]``.
        clip: c.

    Raises:
        ValueError: where shapes differ.
    """
    check_shapes(
        {
            "log_prob": (log_prob, "..."),
            "old_log_prob": (old_log_prob, "..."),
            "advantage": (advantage, "..."),
        },
        where="clipped_surrogate",
    )
    ratio = torch.exp(log_prob - old_log_prob)
    bounded = ratio.clamp(1.0 - clip, 1.0 + clip)
    loss = -torch.minimum(ratio * advantage, bounded * advantage)
    return ClippedSurrogate(loss, (ratio - 1.0).abs() > clip)


def policy_gradient(log_prob: Tensor, advantage: Tensor) -> ClippedSurrogate:
    """-log pi(a) A, `[...]`: the score-function estimator, which clips nothing.

    Raises:
        ValueError: where shapes differ.

    Source: Mnih et al. 2016, arXiv:1602.01783, section 4.
    """
    check_shapes(
        {"log_prob": (log_prob, "..."), "advantage": (advantage, "...")}, where="policy_gradient"
    )
    return ClippedSurrogate(-log_prob * advantage, torch.zeros_like(log_prob, dtype=torch.bool))


def approximate_kl(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """KL(pi_old || pi) from samples of pi_old, ``[...]``: (rho - 1) - log rho, never negative.

    Source: Schulman, "Approximating KL divergence" (k3).
    """
    log_ratio = log_prob - old_log_prob
    return torch.expm1(log_ratio) - log_ratio


def explained_variance(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - Var(target - prediction) / Var(target) of `[N]`; 1 is perfect, 0 is the mean."""
    return 1.0 - (target - prediction).var() / target.var().clamp_min(1e-8)
