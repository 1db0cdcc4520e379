"""Random tabular MDPs: how they are drawn from uniforms, and the best policy in each.

Letters: B MDPs, S states, A actions, H steps in an inner episode.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .parameters import TabularParameters

Array = NDArray[np.float64]


class Models(NamedTuple):
    """B MDPs: mean rewards [B, S, A] and transition probabilities [B, S, A, S']."""

    reward: Array
    transition: Array


def uniforms_of_a_model(p: TabularParameters) -> int:
    """How many uniforms `draw_models` uses for one MDP."""
    return even(p.pairs) + p.pairs * p.states


def draw_models(p: TabularParameters, uniforms: Array) -> Models:
    """Draw B MDPs from `uniforms` [B, uniforms_of_a_model]: R ~ Normal, P(. | s, a) ~ Dirichlet(1).

    Exponential variates divided by their sum are Dirichlet(1) distributed.
    """
    count = even(p.pairs)
    z = normals(uniforms[:, :count])[:, : p.pairs]
    weights = -np.log1p(-uniforms[:, count:]).reshape(-1, p.states, p.actions, p.states)
    return Models(
        (p.reward_mean + p.reward_std * z).reshape(-1, p.states, p.actions),
        weights / weights.sum(-1, keepdims=True),
    )


def best_policies(models: Models, horizon: int) -> tuple[NDArray[np.int64], Array]:
    """Return the best actions [H, B, S] and the values [B, S] with the whole horizon to go.

    Q_h(s, a) = R(s, a) + sum_s' P(s' | s, a) V_{h+1}(s'),  V_h = max_a Q_h,  V_H = 0.
    """
    count, states, actions = models.reward.shape
    flat = models.transition.reshape(count, states * actions, states)
    policy = np.empty((horizon, count, states), np.int64)
    value = np.zeros((count, states))
    for h in reversed(range(horizon)):
        ahead = np.matmul(flat, value[..., None]).reshape(count, states, actions)
        q = models.reward + ahead
        policy[h] = q.argmax(-1)
        value = q.max(-1)
    return policy, value


def normals(uniforms: Array) -> Array:
    """Return standard normal variates for uniforms [..., 2 n] in [0, 1), by Box and Muller."""
    first, second = np.split(uniforms, 2, axis=-1)
    radius, angle = np.sqrt(-2.0 * np.log1p(-first)), 2.0 * np.pi * second
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def even(count: int) -> int:
    """The next even number: Box and Muller's method makes variates in pairs."""
    return count + count % 2
