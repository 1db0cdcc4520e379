"""Maths of a context that is a mean over transitions, and of the model that it is learnt by.

IIDA (Evans, Thankaraj and Pinto 2022, arXiv:2203.05549): context = (1/N) sum_i phi(s_i, a_i, s'_i),
learnt through the squared error of f(s, a, context) against s'.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rllib_metarl.ops.shapes import check_bool, check_shapes


def set_mean(features: Tensor, mask: Tensor) -> Tensor:
    """Mean over the members of a set; zeros where it is empty.

    Args:
        features: ``[..., K, L]``.
        mask: ``[..., K]`` bool, the members.

    Returns:
        ``[..., L]``. The order of the K makes no difference.

    Raises:
        ValueError: where shapes differ.
        TypeError: if the mask is not bool.
    """
    check_shapes({"features": (features, "... K L"), "mask": (mask, "... K")}, where="set_mean")
    check_bool({"mask": mask}, where="set_mean")
    chosen = mask.unsqueeze(-1)
    count = chosen.sum(-2).clamp_min(1)
    return torch.where(chosen, features, 0.0).sum(-2) / count


def window_means(features: Tensor, window: int) -> Tensor:
    """What is known before each step: means of up to `window` features, the newest ones.

    out_t = mean of features_j, max(0, t - window) <= j < t; out_0 = 0.

    Args:
        features: ``[B, T, L]``, feature j of transition j.
        window: N >= 1.

    Returns:
        ``[B, T + 1, L]``, entry t with observation o_t.

    Raises:
        ValueError: if `features` has another number of dimensions, or the window is empty.
    """
    check_shapes({"features": (features, "B T L")}, where="window_means")
    if window < 1:
        raise ValueError(f"window_means: window is {window}; give at least 1")
    # In double precision, so that differences of long sums are those of short ones.
    sums = torch.nn.functional.pad(features.double().cumsum(1), (0, 0, 1, 0))
    steps = torch.arange(sums.shape[1], device=features.device)
    begin = (steps - window).clamp_min(0)
    count = (steps - begin).clamp_min(1)
    return ((sums - sums[:, begin]) / count[:, None]).to(features.dtype)


def prediction_error(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Squared error of a forward model per transition, mean over the entries in `mask`.

    Args:
        predicted, target: ``[..., O]``.
        mask: ``[O]`` bool: entries of a state that ever change; the others are known anyway.

    Returns:
        ``[...]``, in squared units of the target.

    Raises:
        ValueError: where shapes differ.
        TypeError: if `mask` is not bool.
    """
    check_shapes(
        {
            "predicted": (predicted, "... O"),
            "target": (target, "... O"),
            "mask": (mask, "O"),
        },
        where="prediction_error",
    )
    check_bool({"mask": mask}, where="prediction_error")
    error = torch.where(mask, predicted - target, 0.0).square()
    return error.sum(-1) / mask.sum().clamp_min(1)
