"""Returns and advantages over right-padded rows ``[B, T]``, one meta-episode (or piece) a row."""

from __future__ import annotations

import torch
from torch import Tensor

from rllib_metarl.ops.elbo import masked_mean
from rllib_metarl.ops.shapes import check_bool, check_shapes


def gae(
    reward: Tensor,
    value: Tensor,
    bootstrap_value: Tensor,
    terminated: Tensor,
    gamma: float,
    lambda_: float,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and the value targets that go with them.

    delta_t = r_t + gamma (1 - terminated_t) v_{t+1} - v_t
    A_t = delta_t + gamma lambda (1 - terminated_t) A_{t+1}
    target_t = A_t + v_t

    At the last valid step of a row v_{t+1} is `bootstrap_value` and A_{t+1} is 0.

    Args:
        reward: ``[B, T]`` r_t, of the transition from o_t to o_{t+1}.
        value: ``[B, T]`` v_t = v(o_t).
        bootstrap_value: ``[B]`` v of the observation after the row's last valid step.
        terminated: ``[B, T]`` bool, whether o_{t+1} is terminal (truncation is not).
        gamma: discount per step in [0, 1].
        lambda_: trace decay in [0, 1].
        valid: ``[B, T]`` bool, true on a prefix of each row; all steps where None.

    Returns:
        Advantage and value target, ``[B, T]`` each, 0 on padding.

    Raises:
        ValueError: where shapes differ. TypeError: where a mask is not boolean.

    Source: Schulman et al. 2016, eq. 16.
    """
    valid = torch.ones_like(terminated) if valid is None else valid
    check_shapes(
        {
            "reward": (reward, "B T"),
            "value": (value, "B T"),
            "bootstrap_value": (bootstrap_value, "B"),
            "terminated": (terminated, "B T"),
            "valid": (valid, "B T"),
        },
        where="gae",
    )
    check_bool({"terminated": terminated, "valid": valid}, where="gae")
    reward, value = reward.masked_fill(~valid, 0.0), value.masked_fill(~valid, 0.0)
    next_value = _next_value(value, bootstrap_value, valid)
    discount = gamma * (valid & ~terminated).to(value.dtype)
    # Selected, not multiplied by 0: a value past the end may be anything.
    delta = reward + gamma * next_value.masked_fill(~valid | terminated, 0.0) - value
    advantage = _reverse_sum(delta, lambda_ * discount)
    return advantage, advantage + value


def standardise(x: Tensor, mask: Tensor, eps: float = 1e-8) -> Tensor:
    """Zero mean and unit variance over the entries of a mask: (x - mean) / (std + eps).

    std is that of the population (divided by n), so a single entry gives 0, not NaN.

    Args:
        x: ``[...]`` floats.
        mask: ``[...]`` bool.
        eps: keeps constant entries at 0.

    Returns:
        ``[...]``, 0 outside the mask.

    Raises:
        ValueError: where shapes differ. TypeError: where `mask` is not boolean.
    """
    check_shapes({"x": (x, "..."), "mask": (mask, "...")}, where="standardise")
    check_bool({"mask": mask}, where="standardise")
    centred = (x - masked_mean(x, mask)).masked_fill(~mask, 0.0)
    return centred / (masked_mean(centred.square(), mask).sqrt() + eps)


def _next_value(value: Tensor, bootstrap_value: Tensor, valid: Tensor) -> Tensor:
    """v_{t+1}, and the bootstrap value where the row does not go on."""
    goes_on = torch.zeros_like(valid)
    goes_on[:, :-1] = valid[:, 1:]
    shifted = torch.zeros_like(value)
    shifted[:, :-1] = value[:, 1:]
    return torch.where(goes_on, shifted, bootstrap_value[:, None])


def _reverse_sum(x: Tensor, decay: Tensor) -> Tensor:
    """y_t = x_t + decay_t y_{t+1}, backwards over the columns of ``[B, T]``; y_T = 0."""
    total = torch.zeros_like(x[:, 0])
    columns = []
    for x_t, decay_t in zip(reversed(x.unbind(1)), reversed(decay.unbind(1)), strict=True):
        total = x_t + decay_t * total
        columns.append(total)
    return torch.stack(columns[::-1], dim=1)
