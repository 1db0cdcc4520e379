"""A regular grid on the probability simplex, and what surrounds a distribution in it."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class SimplexGrid:
    """The distributions over n outcomes whose probabilities are multiples of 1 / divisions.

    Any distribution lies in a simplex of n grid points (Freudenthal's triangulation) and is a
    convex combination of them. In the coordinates x_i = divisions (w_1 + ... + w_i), i < n, which
    rise from 0 to divisions, those points are floor(x) and what comes of raising its coordinates
    by 1 one after the other, the one with the largest fractional part first.

    Args:
        outcomes: n, 1 or more.
        divisions: 1 or more.

    Attributes:
        points: [K, n].
    """

    def __init__(self, outcomes: int, divisions: int):
        self.outcomes, self.divisions = outcomes, divisions
        rising = itertools.combinations_with_replacement(range(divisions + 1), outcomes - 1)
        steps = list(rising)
        corners = np.array(steps, np.int64).reshape(len(steps), outcomes - 1)
        ends = np.full((len(corners), 1), divisions)
        self.points: Array = np.diff(corners, prepend=0, append=ends) / divisions
        self._base = (divisions + 2) ** np.arange(outcomes - 1)
        self._number = np.zeros(int((divisions + 1) * self._base.sum()) + 1, np.int64)
        self._number[corners @ self._base] = np.arange(len(corners))

    @classmethod
    def with_points(cls, outcomes: int, limit: int) -> SimplexGrid | None:
        """Return the finest grid of at most `limit` points, or None if that has no inner point."""
        divisions = 1
        while outcomes > 1 and _count(outcomes, divisions + 1) <= limit and divisions < limit:
            divisions += 1
        return cls(outcomes, divisions) if outcomes == 1 or divisions >= outcomes else None

    def surround(self, w: Array) -> tuple[NDArray[np.int64], Array]:
        """Return numbers of the n grid points around `w` and their weights, [..., n] each."""
        x = np.clip(np.cumsum(w, -1)[..., :-1] * self.divisions, 0, self.divisions)
        corner = np.floor(x + 1e-9)
        part = np.clip(x - corner, 0.0, 1.0)
        # Among equal parts the last coordinate goes first: the order of the x must not be broken.
        order = (self.outcomes - 2 - np.argsort(-part[..., ::-1], -1, kind="stable")).astype(int)
        falling = np.take_along_axis(part, order, -1)
        ends = np.ones((*w.shape[:-1], 1)), np.zeros((*w.shape[:-1], 1))
        weights = -np.diff(np.concatenate([ends[0], falling, ends[1]], -1), axis=-1)
        raised = np.argsort(order, -1)[..., None, :] < np.arange(self.outcomes)[:, None]
        code = ((corner[..., None, :] + raised).astype(np.int64) * self._base).sum(-1)
        # A point of weight 0 may lie outside; any other one then stands for it.
        code = np.where(weights > 0.0, code, code[..., :1])
        return self._number[code], weights


def _count(outcomes: int, divisions: int) -> int:
    """How many points the grid has."""
    count = 1
    for i in range(1, outcomes):
        count = count * (divisions + i) // i
    return count
