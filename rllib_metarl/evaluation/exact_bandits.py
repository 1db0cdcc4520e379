"""Exact filters of Bernoulli bandits: which arm is good, or how often each arm pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln, xlog1py, xlogy

from rllib_metarl.envs.bandit_filter import Runs
from rllib_metarl.envs.bandit_parameters import GOOD, BanditParameters
from rllib_metarl.evaluation.calibration import SMALLEST
from rllib_metarl.evaluation.exact import (
    Array,
    Density,
    ExactFilter,
    FiniteFilter,
    NumberFilter,
    Params,
    Posterior,
    hidden_markov,
)
from rllib_metarl.evaluation.recording import Recording


def bandit(arguments: Params) -> ExactFilter:
    """``Bandit/Bernoulli-v0``: two classes where one of two arms is good, else Beta posteriors."""
    p = BanditParameters.make(**arguments)
    if p.structure in GOOD:
        return _good_arm(p)
    return NumberFilter(lambda recording: _densities(p, recording))


def _good_arm(p: BanditParameters) -> FiniteFilter:
    """A hidden Markov model: a switch draws the good arm anew."""
    good = GOOD[p.structure]
    pays = np.array([[good, 1 - good], [1 - good, good]])  # [arm, which is good]

    def run(recording: Recording) -> Posterior:
        shape = (recording.horizon, 2, 2)
        change = np.broadcast_to(np.full((2, 2), p.p_switch / 2), shape)
        stay = np.broadcast_to((1 - p.p_switch) * np.eye(2), shape)
        chance = pays[recording.actions]
        likelihood = np.where(recording.rewards[..., None] > 0, chance, 1 - chance)
        return hidden_markov(np.full(2, 0.5), stay, change, likelihood)

    def class_of(context: NDArray[Any]) -> NDArray[np.int64]:
        return np.asarray((context[..., 0] < 0.5).astype(np.int64))

    return FiniteFilter(("arm 0 is good", "arm 1 is good"), class_of, run)


@dataclass
class _Track:
    """What is kept of each step; see `Density`."""

    mean: Array
    cdf: Array
    nll: Array
    crps: Array
    switch: Array
    surprise: Array


def _densities(p: BanditParameters, recording: Recording) -> Density:
    """Mixtures of Betas, one for each pull with which the present session may have begun."""
    assert recording.context is not None
    batch, horizon = recording.rewards.shape
    runs = Runs(p, batch, horizon)
    mean, cdf, nll, crps = np.zeros((4, batch, horizon + 1, p.arms))
    switch, surprise = np.zeros((batch, horizon + 1)), np.zeros((batch, horizon))
    track = _Track(mean, cdf, nll, crps, switch, surprise)
    truth = np.clip(recording.context.astype(np.float64), SMALLEST, 1 - 1e-9)
    for t in range(horizon + 1):
        _look(track, p, runs, truth[:, t], t)
        if t < horizon:
            _learn(track, runs, recording.actions[:, t], recording.rewards[:, t], t)
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
