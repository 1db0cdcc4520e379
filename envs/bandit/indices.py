"""Finite-horizon Gittins indices of Bernoulli arms with a uniform prior."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LONGEST = 200
"""Most pulls for which the indices are computed; the table has (n + 1)(n + 2)(n + 3) / 6 states."""

Array = NDArray[np.float32]

_CHARGES = np.linspace(0.0, 1.0, 257)


@lru_cache(maxsize=4)
def gittins_indices(pulls: int) -> Array:
    """Return the indices [h, m, s] of an arm that was pulled m times and paid s times.

    The index is the charge for each pull at which playing the arm is just worth it, when one may
    stop at any time, after h more pulls at the latest. With the charge x, the value of an arm is
    V_0 = 0 and V_h(m, s) = max(0, Q_h(m, s)),
    Q_h(m, s) = c - x + c V_{h-1}(m + 1, s + 1) + (1 - c) V_{h-1}(m + 1, s), c = (s + 1) / (m + 2);
    the index is the zero of Q_h in x. Q_h is computed for a grid of charges and taken as linear
    between them: for h = 1 that is exact, and for 100 pulls the error is below 0.0005.
    Source: Gittins 1979; for a finite horizon Kaufmann, "On Bayesian index policies for sequential
    resource allocation", 2018 (FH-Gittins).

    Args:
        pulls: n, 1 to `LONGEST`.

    Returns:
        [n + 1, n, n] float32, NaN where there is no such state: h >= 1, m <= n - h, s <= m.

    Raises:
        ValueError: if n is out of range.
    """
    if not 1 <= pulls <= LONGEST:
        raise ValueError(f"gittins_indices: pulls is {pulls}, but must be 1 to {LONGEST}.")
    table = np.full((pulls + 1, pulls, pulls), np.nan, np.float32)
    charges = _CHARGES.astype(np.float32)
    value = np.zeros((pulls + 1, pulls + 1, len(charges)), np.float32)
    for h in range(1, pulls + 1):
        most = pulls - h + 1
        m, s = np.arange(most)[:, None, None], np.arange(most)[:, None]
        chance = ((s + 1) / (m + 2)).astype(np.float32)
        after = value[1:]
        playing = chance * (1.0 + after[:, 1:]) + (1.0 - chance) * after[:, :-1] - charges
        table[h, :most, :most] = np.where(s <= m, _zeros(playing, charges), np.nan)[..., 0]
        value = np.maximum(playing, 0.0)
    return table


def _zeros(playing: Array, charges: Array) -> Array:
    """Where `playing` [..., X], which falls with the charge, is zero; [..., 1]."""
    right = np.clip((playing > 0.0).sum(-1, keepdims=True), 1, len(charges) - 1)
    high = np.take_along_axis(playing, right - 1, -1)
    low = np.take_along_axis(playing, right, -1)
    return charges[right - 1] + (charges[1] - charges[0]) * high / (high - low)
