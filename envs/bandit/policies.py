"""Classical strategies for Bernoulli bandits, simulated on the environment itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_number, did_you_mean
from .env import BernoulliBanditSimulator
from .indices import LONGEST, gittins_indices
from .parameters import Array, BanditParameters
from .references import best_arm_mean

Actions = NDArray[np.int64]

_BLOCK = 5_000  # trials simulated at once


class Record(NamedTuple):
    """What N agents know before their next pull.

    Attributes:
        pulled, paid: [N, k], how often each arm was pulled, and how often it paid.
        made, left: pulls made so far, and pulls yet to come.
        rng: for the strategy's own chance, and for ties.
    """

    pulled: NDArray[np.int64]
    paid: NDArray[np.int64]
    made: int
    left: int
    rng: np.random.Generator

    @property
    def means(self) -> Array:
        """Posterior means [N, k] of the arms for a uniform prior."""
        return (self.paid + 1.0) / (self.pulled + 2.0)


Policy = Callable[[Record], Actions]


def random(record: Record) -> Actions:
    """Any arm."""
    count, arms = record.pulled.shape
    return record.rng.integers(0, arms, size=(count,))


def greedy(record: Record) -> Actions:
    """The arm with the highest posterior mean."""
    return _best(record.means, record.rng)


def epsilon_greedy(record: Record, epsilon: float) -> Actions:
    """With probability `epsilon` any arm, else the greedy one."""
    explore = record.rng.random(len(record.pulled)) < epsilon
    return np.where(explore, random(record), greedy(record))


def ucb1(record: Record, scale: float) -> Actions:
    """The arm with the highest mean + scale * sqrt(2 ln(t) / m), t its pull's number, from 1.

    Differs from the paper (Auer et al. 2002), where `scale` is 1, the mean that of the data and
    each arm is pulled once first: mean and m have the two pseudo-pulls of the uniform prior,
    because with n not much above k, pulling each arm first leaves no time to use what it told.
    """
    bonus = np.sqrt(2.0 * np.log(record.made + 1.0) / (record.pulled + 2.0))
    return _best(record.means + scale * bonus, record.rng)


def thompson(record: Record) -> Actions:
    """The arm that is best if the probabilities are what a draw from the posterior says."""
    drawn = record.rng.beta(record.paid + 1.0, record.pulled - record.paid + 1.0)
    return drawn.argmax(1)


def gittins(record: Record) -> Actions:
    """The arm with the highest Gittins index for the pulls that are left."""
    table = gittins_indices(record.made + record.left)
    return _best(table[record.left, record.pulled, record.paid], record.rng)


def _best(scores: Array, rng: np.random.Generator) -> Actions:
    """The highest of each row [N, k]; ties are broken at random."""
    return (scores + 1e-6 * rng.random(scores.shape)).argmax(1)


def classical_returns(
    trials: int = 20_000,
    seed: int = 0,
    epsilon: float = 0.02,
    ucb_scale: float = 0.2,
    policies: Sequence[str] | None = None,
    **parameters: Any,
) -> dict[str, dict[str, float]]:
    """Simulate classical strategies on one and the same set of trials.

    All but ``random`` take the arms for independent, uniform and unchanging, whatever they are: so
    do the strategies to which a learned one is compared on dependent arms (Wang et al. 2016).
    Regret is what the best arm of each moment would have been expected to pay, less what the pulled
    arms were expected to pay. Returns are the oracle's exact return less the mean regret, which is
    unbiased and has far less noise than the rewards themselves.

    Args:
        trials: how many trials to simulate.
        seed: of the trials and of the strategies' own chance.
        epsilon: of ``epsilon_greedy``. The default was the best of 0.02, 0.05, 0.1 and 0.2 for
            (k, n) = (5, 10), (5, 100) and (10, 100).
        ucb_scale: of ``ucb1``. The default was the best of 0.1, 0.2, 0.3, 0.5 and 1 for (5, 100)
            and (10, 100), and a hundredth from it for (5, 10). A single structure may have a better
            one: 0.1 has a regret of 0.64 instead of 0.74 with ``dependent_easy``.
        policies: names of those to simulate; all by default: random, greedy, epsilon_greedy, ucb1,
            thompson and, for up to 200 pulls, gittins.
        **parameters: those of `BernoulliBanditEnv` that are not at their default.

    Returns:
        For each name ``return_mean`` of a whole trial, ``regret_mean``, and ``standard_error``,
        which is that of both.

    Raises:
        ValueError: if an argument is out of range or there is no such strategy.
    """
    p = BanditParameters.make(**parameters)
    check_number("classical_returns", "trials", trials, low=2, integer=True)
    known = _known(p, epsilon, ucb_scale)
    names = list(known) if policies is None else list(policies)
    for name in names:
        if name not in known:
            raise ValueError(f"classical_returns: no policy {name!r}{did_you_mean(name, known)}.")
    return {name: _score(p, _regrets(p, known[name], trials, seed)) for name in names}


def _known(p: BanditParameters, epsilon: float, ucb_scale: float) -> dict[str, Policy]:
    check_number("classical_returns", "epsilon", epsilon, low=0.0, high=1.0)
    check_number("classical_returns", "ucb_scale", ucb_scale, low=0.0)
    known: dict[str, Policy] = {
        "random": random,
        "greedy": greedy,
        "epsilon_greedy": partial(epsilon_greedy, epsilon=epsilon),
        "ucb1": partial(ucb1, scale=ucb_scale),
        "thompson": thompson,
    }
    if p.pulls <= LONGEST:
        known["gittins"] = gittins
    return known


def _score(p: BanditParameters, regrets: Array) -> dict[str, float]:
    regret = float(regrets.mean())
    return {
        "return_mean": p.pulls * best_arm_mean(p) - regret,
        "standard_error": float(regrets.std(ddof=1) / np.sqrt(len(regrets))),
        "regret_mean": regret,
    }


def _regrets(p: BanditParameters, policy: Policy, trials: int, seed: int) -> Array:
    """The regrets [trials]; with equal seeds the trials are the same for all policies."""
    starts = range(0, trials, _BLOCK)
    blocks = [_play(p, policy, min(_BLOCK, trials - i), [seed, i]) for i in starts]
    return np.concatenate(blocks)


def _play(p: BanditParameters, policy: Policy, trials: int, seed: list[int]) -> Array:
    simulator, rows = BernoulliBanditSimulator(trials, p), np.arange(trials)
    uniforms = np.random.default_rng([*seed, 0]).random((trials, simulator.uniforms_per_episode))
    simulator.begin(rows, uniforms)
    rng, regrets = np.random.default_rng([*seed, 1]), np.zeros(trials)
    pulled, paid = np.zeros((2, trials, p.arms), np.int64)
    for t in range(p.pulls):
        actions = policy(Record(pulled, paid, t, p.pulls - t, rng))
        chances = simulator.labels()["context"]
        regrets += chances.max(1) - chances[rows, actions]
        pulled[rows, actions] += 1
        paid[rows, actions] += simulator.advance(actions)[0] > 0
    return regrets
