"""Losses of soft actor-critic: with a value network (2018a), or with target critics (2018b).

Haarnoja et al. 2018a, arXiv:1801.01290; 2018b, arXiv:1812.05905. All are plain functions of `[B]`.
"""

from __future__ import annotations

from torch import Tensor

from rllib_metarl.ops.shapes import check_shapes


def soft_value(q1: Tensor, q2: Tensor, log_prob: Tensor, temperature: Tensor | float) -> Tensor:
    """min(Q1, Q2)(s, a) - alpha log pi(a | s) of an action that the policy has just drawn.

    Args:
        q1, q2, log_prob: `[B]`. temperature: alpha, a scalar.

    Returns:
        `[B]`, an estimate of V(s).

    Raises:
        ValueError: where shapes differ.

    Source: Haarnoja et al. 2018a, eq. 3, with the smaller of two critics (section 4.2).
    """
    check_shapes(
        {"q1": (q1, "B"), "q2": (q2, "B"), "log_prob": (log_prob, "B")}, where="soft_value"
    )
    return q1.minimum(q2) - temperature * log_prob


def critic_target(reward: Tensor, ended: Tensor, next_value: Tensor, gamma: float) -> Tensor:
    """r + gamma (1 - ended) V(s').

    Args:
        reward, ended, next_value: `[B]`; `ended` is 1 where s' has no future.
        gamma: the discount.

    Returns:
        `[B]`.

    Raises:
        ValueError: where shapes differ.

    Source: Haarnoja et al. 2018a, eq. 8.
    """
    check_shapes(
        {"reward": (reward, "B"), "ended": (ended, "B"), "next_value": (next_value, "B")},
        where="critic_target",
    )
    return reward + gamma * (1.0 - ended) * next_value


def critic_loss(q1: Tensor, q2: Tensor, target: Tensor) -> Tensor:
    """mean (Q1 - y)^2 + mean (Q2 - y)^2, a scalar.

    Args:
        q1, q2, target: `[B]`; the target gets no gradient.

    Raises:
        ValueError: where shapes differ.

    Source: Haarnoja et al. 2018a, eq. 7; Rakelly et al. 2019, eq. 3.
    """
    check_shapes({"q1": (q1, "B"), "q2": (q2, "B"), "target": (target, "B")}, where="critic_loss")
    target = target.detach()
    return (q1 - target).square().mean() + (q2 - target).square().mean()


def value_loss(value: Tensor, target: Tensor) -> Tensor:
    """mean (V - y)^2, a scalar.

    Args:
        value, target: `[B]`; the target, a `soft_value`, gets no gradient.

    Raises:
        ValueError: where shapes differ.

    Source: Haarnoja et al. 2018a, eq. 5.
    """
    check_shapes({"value": (value, "B"), "target": (target, "B")}, where="value_loss")
    return (value - target.detach()).square().mean()


def temperature_loss(log_temperature: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """-log alpha mean(log pi + target entropy), a scalar, for a temperature that is learnt.

    Args:
        log_temperature: a scalar. log_prob: `[B]`; gets no gradient.
        target_entropy: what the policy's entropy is held at, in nats.

    Raises:
        ValueError: where `log_prob` is no vector.

    Source: Haarnoja et al. 2018b, eq. 18, with log alpha in alpha's place as in the authors' code.
    """
    check_shapes({"log_prob": (log_prob, "B")}, where="temperature_loss")
    return -log_temperature * (log_prob.detach() + target_entropy).mean()
