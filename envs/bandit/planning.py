"""Bayes-optimal returns of Bernoulli bandits by dynamic programming.

Letters: n pulls in a trial, k arms, t pulls made so far.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .parameters import GOOD, Array, BanditParameters

_TWO_ARMS = 200  # most pulls for which the values of two arms take less than two seconds
_CHILDREN = 2_000_000  # most successors of states of many arms, for the same reason
_GRID = 8001  # beliefs between 0 and 1 for restless arms; an odd number, so that 1/2 is one


def bayes_return(p: BanditParameters) -> float | None:
    """Return the expected return of the best policy, or None where its search would take too long.

    Exact for bandits that never change: two independent arms, more of them as long as they have few
    states (10 pulls of any number of arms), and two dependent ones. For restless arms of which one
    is good it is right to a thousandth; for other restless ones it is None.
    """
    if p.p_switch > 0.0:
        return _restless(p.pulls, GOOD[p.structure], p.p_switch) if p.structure in GOOD else None
    if p.structure in GOOD:
        return _one_good(p.pulls, GOOD[p.structure])
    if p.structure == "dependent_uniform":
        return _mirrored(p.pulls)
    if p.arms == 2 and p.pulls > _TWO_ARMS:
        return None
    return _two_arms(p.pulls) if p.arms == 2 else _many_arms(p.arms, p.pulls)


def _two_arms(n: int) -> float:
    """Independent arms. values[m][s, s']: arm 0 pulled m times, of which s paid; s' of arm 1."""
    values = [np.zeros((m + 1, n - m + 1)) for m in range(n + 1)]
    for t in reversed(range(n)):
        values = [
            np.maximum(_pull(m, values[m + 1]), _pull(t - m, values[m].T).T) for m in range(t + 1)
        ]
    return float(values[0][0, 0])


def _pull(m: int, after: Array) -> Array:
    """Value [m + 1, ...] of the pull after m of one arm, of which s = 0 .. m paid; then `after`."""
    chance = (np.arange(m + 1) + 1.0)[:, None] / (m + 2.0)
    return chance * (1.0 + after[1:]) + (1.0 - chance) * after[:-1]


def _many_arms(arms: int, n: int) -> float | None:
    """Independent arms in any order: states that differ by the arms' order are one.

    Of more than n arms only n can be tried, and arms not yet tried are alike.
    """
    layers = _layers(min(arms, n), n)
    if layers is None:
        return None
    value = np.zeros(int(layers[-1][1].max()) + 1)
    for chance, child in reversed(layers):
        ahead = value[child]
        value = (chance * (1.0 + ahead[..., 1]) + (1.0 - chance) * ahead[..., 0]).max(1)
    return float(value[0])


def _layers(arms: int, n: int) -> list[tuple[Array, NDArray[np.int64]]] | None:
    """For t = 0 .. n-1 and the M states after t pulls: chances [M, k], successors [M, k, 2].

    A successor is the number of the state after the pull of an arm that did not pay, or paid. None
    if there are too many. An arm that paid s of m times has the code m (m + 1) / 2 + s.
    """
    pulled, paid = np.tril_indices(n + 1)
    chances = (paid + 1.0) / (pulled + 2.0)
    unpaid = (pulled + 1) * (pulled + 2) // 2 + paid
    # A state is known by the sum of its arms' random words: the arms' order does not matter, and
    # that two states among a million share a sum has a chance of 3 in 10^8.
    word = np.random.default_rng(0).integers(0, 2**64, len(pulled), np.uint64)
    states, keys, layers, total = np.zeros((1, arms), np.int64), np.zeros(1, np.uint64), [], 0
    for _ in range(n):
        total += 2 * states.size
        if total > _CHILDREN:
            return None
        codes = unpaid[states][..., None] + np.arange(2)
        child_keys = (keys[:, None] - word[states])[..., None] + word[codes]
        keys, first, child = np.unique(child_keys, return_index=True, return_inverse=True)
        layers.append((chances[states], child.reshape(codes.shape)))
        row, arm, _ = np.unravel_index(first, codes.shape)
        states = states[row]
        states[np.arange(len(row)), arm] = codes.ravel()[first]
    return layers


def _mirrored(n: int) -> float:
    """Arms with p and 1 - p, p uniform. Each pull tells the same, so the best is to be greedy.

    Of t pulls, 0 .. t spoke for arm 0, each as likely as the other.
    """
    value = 0.0
    for t in range(n):
        mean = (np.arange(t + 1) + 1.0) / (t + 2.0)
        value += np.maximum(mean, 1.0 - mean).mean()
    return float(value)


def _one_good(n: int, good: float) -> float:
    """One arm with `good`, one with 1 - good. Each pull tells the same: the best is to be greedy.

    first[s], second[s]: joint probability that s of t pulls spoke for arm 0, and that it is the
    good one, or that the other is.
    """
    first, second, value = np.array([0.5]), np.array([0.5]), 0.0
    for _ in range(n):
        pay = good * first + (1.0 - good) * second
        value += np.maximum(pay, first + second - pay).sum()
        first, second = _spoken(first, good), _spoken(second, 1.0 - good)
    return float(value)


def _spoken(distribution: Array, chance: float) -> Array:
    """The distribution of a count [t + 1] after one more trial that succeeds with `chance`."""
    return np.convolve(distribution, [1.0 - chance, chance])


def _restless(n: int, good: float, p_switch: float) -> float:
    """As `_one_good`, with arms redrawn at switches: values of beliefs that arm 0 is the good.

    V_t(b) = max { pay, 1 - pay } + P(+) V_{t+1}(b+) + P(-) V_{t+1}(b-), pay = P(+) = P(a pull
    speaks for arm 0), with V linear between beliefs of a grid.
    """
    belief = np.linspace(0.0, 1.0, _GRID)
    pay = good * belief + (1.0 - good) * (1.0 - belief)
    after = [good * belief / pay, (1.0 - good) * belief / (1.0 - pay)]
    up, down = ((1.0 - p_switch) * b + 0.5 * p_switch for b in after)
    value = np.zeros(_GRID)
    for _ in range(n):
        ahead = pay * np.interp(up, belief, value) + (1.0 - pay) * np.interp(down, belief, value)
        value = np.maximum(pay, 1.0 - pay) + ahead
    return float(value[_GRID // 2])
