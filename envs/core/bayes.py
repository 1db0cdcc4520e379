"""Exact filters: the posterior that the best possible belief would be, along played meta-episodes.

An environment that knows its own has a method `exact_filter` (see `hooks`). All arrays have one row
for each of B meta-episodes of T steps; entry t of what has T + 1 goes with o_t, that is, with
everything seen before transition t.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
SMALLEST = 1e-12
"""Probabilities below count as this one in logarithms."""


class NoExactFilterError(ValueError):
    """Says why an environment has no exact filter."""


@dataclass(frozen=True)
class Posterior:
    """The exact posterior over K classes of the context, along B meta-episodes.

    Attributes:
        probabilities: `[B, T + 1, K]`; entry t: of the class of m_t, given o_0 .. o_t.
        switch: `[B, T + 1]`; entry t: P(transition t - 1 opened a new session | o_0 .. o_t); 0 at
            t = 0 and 1, where nothing can have.
        surprise: `[B, T]` nats, -log P(what r_t shows | o_0 .. o_t, a_t).
    """

    probabilities: Array
    switch: Array
    surprise: Array


@dataclass(frozen=True)
class Density:
    """The exact posterior over contexts that are C numbers, at the true ones.

    Attributes:
        mean: `[B, T + 1, C]`; cdf: the marginal CDF at the truth; nll: minus the marginals' log
            density there; crps: their continuous ranked probability score, None where not known.
        switch, surprise: as in `Posterior`.
    """

    mean: Array
    cdf: Array
    nll: Array
    crps: Array | None
    switch: Array
    surprise: Array


@dataclass(frozen=True)
class FiniteFilter:
    """Exact filter of a context with finitely many values.

    Attributes:
        classes: their names.
        class_of: contexts `[..., C]` -> class numbers `[...]`.
        run: observations `[B, T + 1, ...]`, actions `[B, T, ...]`, rewards `[B, T]` -> the
            posterior along them.
    """

    classes: tuple[str, ...]
    class_of: Callable[[NDArray[Any]], NDArray[np.int64]]
    run: Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], Posterior]


@dataclass(frozen=True)
class NumberFilter:
    """Exact filter of a context that is a vector of numbers.

    Attributes:
        run: as that of `FiniteFilter`, with the true contexts `[B, T + 1, C]` as fourth argument.
    """

    run: Callable[[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]], Density]


ExactFilter = FiniteFilter | NumberFilter


def hidden_markov(
    prior: ArrayLike, stay: ArrayLike, change: ArrayLike, likelihood: ArrayLike
) -> Posterior:
    """Filter a hidden state that may change after each transition, by Bayes' rule.

    f_t = b_t l_t / sum_s b_t(s) l_t(s), b_{t+1} = f_t (A_t + D_t): A_t is the part of the state's
    law without a switch, D_t that with one, so that the rows of their sum sum to 1. The transition
    t > 0 opened a session with probability sum_s (f_{t-1} D_{t-1})(s) l_t(s) / sum_s b_t(s) l_t(s).
    What is impossible under b_t leaves it as it is and counts as `SMALLEST`.

    Args:
        prior: b_0 `[S]`.
        stay, change: A and D, `[T, S, S]`, `[S, S]` where they are the same at all times, or
            `[B, T, S, S]` where they are other ones in each meta-episode.
        likelihood: l_t(s) = P(what transition t shows | state s), `[B, T, S]`.

    Source: the forward algorithm, Rabiner 1989, section III.A.
    """
    chances = np.asarray(likelihood, np.float64)
    batch, steps, states = chances.shape
    kept, moved = _laws(stay, chances.shape), _laws(change, chances.shape)
    belief = np.empty((batch, steps + 1, states))
    switch, surprise = np.zeros((batch, steps + 1)), np.empty((batch, steps))
    belief[:, 0], changed = np.asarray(prior), np.zeros((batch, states))
    for t in range(steps):
        joint = belief[:, t] * chances[:, t]
        chance = joint.sum(1)
        possible = chance > SMALLEST
        total = np.where(possible, chance, 1.0)
        surprise[:, t] = -np.log(np.where(possible, chance, SMALLEST))
        opened = (changed * chances[:, t]).sum(1) / total
        switch[:, t + 1] = np.where(possible, opened, changed.sum(1))
        known = np.where(possible[:, None], joint / total[:, None], belief[:, t])
        changed = _after(known, moved[..., t, :, :])
        belief[:, t + 1] = _after(known, kept[..., t, :, :]) + changed
    return Posterior(belief, switch, surprise)


def _laws(law: ArrayLike, shape: tuple[int, int, int]) -> Array:
    batch, steps, states = shape
    each = (batch,) if np.ndim(law) == 4 else ()
    return np.broadcast_to(np.asarray(law), (*each, steps, states, states))


def _after(belief: Array, law: Array) -> Array:
    """`[B, S]` beliefs after one step by a law `[S, S]`, or one for each, `[B, S, S]`."""
    after: Array = belief @ law if law.ndim == 2 else (belief[:, None] @ law)[:, 0]
    return after


def nearest_class(values: ArrayLike) -> Callable[[NDArray[Any]], NDArray[np.int64]]:
    """Return the function contexts `[..., C]` -> number `[...]` of the nearest of K `values`.

    Args:
        values: `[K, C]`.
    """
    rows = np.asarray(values, np.float64)

    def class_of(context: NDArray[Any]) -> NDArray[np.int64]:
        apart = np.abs(np.asarray(context)[..., None, :] - rows).sum(-1)
        return np.asarray(apart.argmin(-1))

    return class_of


def check_played(
    where: str, observations: ArrayLike, actions: ArrayLike, rewards: ArrayLike, width: int
) -> tuple[NDArray[Any], NDArray[Any], Array]:
    """Return the three as arrays `[B, T + 1, width]`, `[B, T]` and `[B, T]`.

    Raises:
        ValueError: if their shapes are others.
    """
    observed, acted = np.asarray(observations), np.asarray(actions)
    paid = np.asarray(rewards, np.float64)
    rows: Sequence[int] = (observed.shape[0], observed.shape[1] - 1) if observed.ndim == 3 else ()
    if observed.ndim != 3 or observed.shape[2] != width or {acted.shape, paid.shape} != {rows}:
        raise ValueError(
            f"{where}: observations {observed.shape}, actions {acted.shape}, rewards {paid.shape}; "
            f"give [B, T + 1, {width}], [B, T] and [B, T]."
        )
    return observed, acted, paid
