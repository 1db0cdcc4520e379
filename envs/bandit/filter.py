"""The exact Bayes filters of Bernoulli bandits: which arm is good, or how often each arm pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln, xlog1py, xlogy

from ..core.bayes import (
    SMALLEST,
    Density,
    ExactFilter,
    FiniteFilter,
    NumberFilter,
    Posterior,
    hidden_markov,
)
from .parameters import GOOD, Array, BanditParameters, posterior_means


def exact_filter(p: BanditParameters) -> ExactFilter:
    """Return the filter of a bandit: two classes where one of two arms is good, else densities.

    Within a session the posterior follows from how often each arm has paid since the session began
    (`posterior_means`). When that was is not seen: the filter keeps one hypothesis for each pull
    that may have been the session's first, weighs it by how well it predicted the rewards since,
    and averages (`Runs`). It is exact for every structure, restless or not. Cost: O(T) hypotheses
    for each step of a restless bandit, one for a bandit that never changes.
    """
    if p.structure in GOOD:
        return _good_arm(p)

    def run(
        observations: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[Any],
        contexts: NDArray[Any],
    ) -> Density:
        return _densities(p, *_checked(p, actions, rewards), contexts)

    return NumberFilter(run)


def _good_arm(p: BanditParameters) -> FiniteFilter:
    """A hidden Markov model: a switch draws the good arm again."""
    good = GOOD[p.structure]
    pays = np.array([[good, 1 - good], [1 - good, good]])  # [arm, which is good]

    def run(observations: NDArray[Any], actions: NDArray[Any], rewards: NDArray[Any]) -> Posterior:
        pulled, paid = _checked(p, actions, rewards)
        chance = pays[pulled]
        likelihood = np.where(paid[..., None] > 0, chance, 1 - chance)
        change = np.full((2, 2), p.p_switch / 2)
        return hidden_markov(np.full(2, 0.5), (1 - p.p_switch) * np.eye(2), change, likelihood)

    def class_of(context: NDArray[Any]) -> NDArray[np.int64]:
        return np.asarray((context[..., 0] < 0.5).astype(np.int64))

    return FiniteFilter(("arm 0 is good", "arm 1 is good"), class_of, run)


def _checked(
    p: BanditParameters, pulled: NDArray[Any], paid: NDArray[Any]
) -> tuple[NDArray[Any], Array]:
    """Actions and rewards `[B, T]` as arrays, or ValueError if they are none of this bandit."""
    actions, rewards = np.asarray(pulled), np.asarray(paid, np.float64)
    if actions.ndim != 2 or rewards.shape != actions.shape or actions.dtype.kind not in "iu":
        raise ValueError(
            f"Bernoulli bandit: actions {actions.shape} of type {actions.dtype}, rewards "
            f"{rewards.shape}; give whole numbers [B, T] and 0s or 1s [B, T]."
        )
    if not (np.isin(actions, range(p.arms)).all() and np.isin(rewards, (0, 1)).all()):
        raise ValueError(
            f"Bernoulli bandit: actions must be 0 to {p.arms - 1} and rewards 0 or 1; give the "
            "parameters of the bandit that they come from."
        )
    return actions, rewards


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
        """Learn from pull t, actions and rewards [B], then from the chance of a switch after it."""
        chance = self.means()[self._rows, :, actions]
        self.weight *= np.where(rewards[:, None] > 0, chance, 1.0 - chance)
        self.weight /= self.weight.sum(1, keepdims=True)
        begun = slice(0, t + 1)
        self.wins[self._rows, begun, actions] += rewards[:, None]
        self.losses[self._rows, begun, actions] += 1.0 - rewards[:, None]
        if self.p.p_switch > 0.0:
            self.weight *= 1.0 - self.p.p_switch
            self.weight[:, t + 1] = self.p.p_switch


@dataclass
class _Track:
    """What is kept of each step; see `Density`."""

    mean: Array
    cdf: Array
    nll: Array
    crps: Array
    switch: Array
    surprise: Array


def _densities(
    p: BanditParameters, actions: NDArray[Any], rewards: Array, contexts: NDArray[Any]
) -> Density:
    """Mixtures of Betas, one for each pull with which the present session may have begun."""
    batch, horizon = rewards.shape
    runs = Runs(p, batch, horizon)
    mean, cdf, nll, crps = np.zeros((4, batch, horizon + 1, p.arms))
    switch, surprise = np.zeros((batch, horizon + 1)), np.zeros((batch, horizon))
    track = _Track(mean, cdf, nll, crps, switch, surprise)
    truth = np.clip(contexts.astype(np.float64), SMALLEST, 1 - 1e-9)
    for t in range(horizon + 1):
        _look(track, p, runs, truth[:, t], t)
        if t < horizon:
            _learn(track, runs, actions[:, t], rewards[:, t], t)
    return Density(mean, cdf, nll, None if p.p_switch > 0.0 else crps, switch, surprise)


def _look(track: _Track, p: BanditParameters, runs: Runs, truth: Array, t: int) -> None:
    """The mixture at the true probabilities `[B, k]`."""
    weight, x = runs.weight[..., None], truth[:, None]
    a, b = _betas(p, runs)
    track.mean[:, t] = runs.mean()
    track.cdf[:, t] = (weight * betainc(a, b, x)).sum(1)
    density = np.exp(xlogy(a - 1, x) + xlog1py(b - 1, -x) - betaln(a, b))
    track.nll[:, t] = -np.log(np.maximum((weight * density).sum(1), SMALLEST))
    if runs.weight.shape[1] == 1:
        track.crps[:, t] = beta_crps(a[:, 0], b[:, 0], truth)


def _learn(track: _Track, runs: Runs, actions: NDArray[Any], rewards: Array, t: int) -> None:
    chance = runs.means()[np.arange(len(actions)), :, actions]
    joint = runs.weight * np.where(rewards[:, None] > 0, chance, 1 - chance)
    total = joint.sum(1)
    track.surprise[:, t] = -np.log(total)
    if t > 0 and joint.shape[1] > 1:
        track.switch[:, t + 1] = joint[:, t] / total
    runs.update(t, actions, rewards)


def _betas(p: BanditParameters, runs: Runs) -> tuple[Array, Array]:
    """Parameters `[B, H, k]` of the arms' posteriors under each hypothesis."""
    wins, losses = runs.wins, runs.losses
    if p.structure == "independent":
        return wins + 1.0, losses + 1.0
    wins, losses = wins + losses[..., ::-1], losses + wins[..., ::-1]  # arm 1 pays as 0 does not
    return wins + 1.0, losses + 1.0


def beta_crps(a: Array, b: Array, x: Array) -> Array:
    """CRPS of Beta(a, b) at x, all of one shape.

    x (2 F(x) - 1) + a / (a + b) (1 - 2 F_{a+1,b}(x) - 2 B(2a, 2b) / (a B(a, b)^2)).

    Source: Taillardat et al. 2016, appendix A.
    """
    spread = np.exp(betaln(2 * a, 2 * b) - 2 * betaln(a, b))
    beyond = 1 - 2 * betainc(a + 1, b, x) - 2 * spread / a
    return np.asarray(x * (2 * betainc(a, b, x) - 1) + a / (a + b) * beyond)
