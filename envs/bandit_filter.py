"""The exact Bayes filter of a bandit's hidden probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bandit_parameters import Array, BanditParameters, posterior_means


def exact_filter(actions: ArrayLike, rewards: ArrayLike, **parameters: Any) -> Array:
    """Return the arms' expected probabilities for each coming pull, given what was seen before it.

    Within a session the posterior follows from how often each arm has paid since the session began
    (`posterior_means`). When that was is not seen: the filter keeps one hypothesis for each pull
    that may have been the session's first, weighs it by how well it foretold the rewards since, and
    averages. It is exact for every structure, restless or not. Cost: O(T) hypotheses for each step
    of a restless bandit, one for a bandit that never changes.

    Args:
        actions: a_0 .. a_{T-1} of B trials, [B, T] whole numbers.
        rewards: r_0 .. r_{T-1}, [B, T], 0 or 1.
        **parameters: those of `BernoulliBanditEnv` that are not at their default.

    Returns:
        [B, T + 1, k] float64; entry t goes with o_t: E[m_t | a_0, r_0 .. a_{t-1}, r_{t-1}].

    Raises:
        ValueError: if shapes disagree, or actions or rewards are none of this bandit.
    """
    p = BanditParameters.make(**parameters)
    pulled, paid = np.asarray(actions), np.asarray(rewards, np.float64)
    _check(p, pulled, paid)
    count, horizon = pulled.shape
    runs = Runs(p, count, horizon)
    means = np.empty((count, horizon + 1, p.arms))
    for t in range(horizon):
        means[:, t] = runs.mean()
        runs.update(t, pulled[:, t], paid[:, t])
    means[:, horizon] = runs.mean()
    return means


def _check(p: BanditParameters, actions: NDArray[Any], rewards: Array) -> None:
    if actions.ndim != 2 or rewards.shape != actions.shape or actions.dtype.kind not in "iu":
        raise ValueError(
            f"exact_filter: actions {actions.shape} of type {actions.dtype}, rewards "
            f"{rewards.shape}; give whole numbers [B, T] and 0s or 1s [B, T]."
        )
    if not (np.isin(actions, range(p.arms)).all() and np.isin(rewards, (0, 1)).all()):
        raise ValueError(
            f"exact_filter: actions must be 0 to {p.arms - 1} and rewards 0 or 1; give the "
            "parameters of the bandit that they come from."
        )


class Runs:
    """Hypotheses about when the present session began: h = 0 .. H-1 for "with pull h".

    Attributes:
        weight: [B, H], their probabilities; 0 for pulls yet to come.
        wins, losses: [B, H, k], what the arms have paid since, if the hypothesis is right.
    """

    def __init__(self, p: BanditParameters, count: int, horizon: int):
        self.p = p
        hypotheses = horizon + 1 if p.p_switch > 0.0 else 1
        self.weight = np.zeros((count, hypotheses))
        self.weight[:, 0] = 1.0
        self.wins, self.losses = np.zeros((2, count, hypotheses, p.arms))
        self._rows = np.arange(count)

    def means(self) -> Array:
        """The arms' expected probabilities under each hypothesis, [B, H, k]."""
        return posterior_means(self.p, self.wins, self.losses)

    def mean(self) -> Array:
        """The arms' expected probabilities, [B, k]."""
        return np.einsum("bh,bhk->bk", self.weight, self.means())

    def update(self, t: int, actions: NDArray[Any], rewards: Array) -> None:
        """Learn from pull t, then from the chance of a switch after it."""
        chance = self.means()[self._rows, :, actions]
        self.weight *= np.where(rewards[:, None] > 0, chance, 1.0 - chance)
        self.weight /= self.weight.sum(1, keepdims=True)
        begun = slice(0, t + 1)
        self.wins[self._rows, begun, actions] += rewards[:, None]
        self.losses[self._rows, begun, actions] += 1.0 - rewards[:, None]
        if self.p.p_switch > 0.0:
            self.weight *= 1.0 - self.p.p_switch
            self.weight[:, t + 1] = self.p.p_switch
