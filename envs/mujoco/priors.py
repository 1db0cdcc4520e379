"""Priors over contexts, and what a switch changes them to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import check_number
from ..core.contexts import IID, Markov

Range = tuple[float, float]


class Uniform(IID):
    """Each entry of the context is uniform on its range, drawn afresh at each switch.

    Args:
        ranges: (low, high) of each of the C entries.

    Raises:
        ValueError: if a range is not two numbers in rising order.
    """

    def __init__(self, ranges: Sequence[Sequence[float]]):
        self.ranges = tuple(check_range("Uniform", f"range {i}", r) for i, r in enumerate(ranges))
        self._low, self._high = np.array(self.ranges).T
        super().__init__(self._sample)

    def _sample(self, rng: np.random.Generator) -> ArrayLike:
        return rng.uniform(self._low, self._high)


class Disc(IID):
    """A place (x, y), uniform over the disc of `radius` around the origin."""

    def __init__(self, radius: float):
        check_number("Disc", "radius", radius, low=0.0)
        self.radius = float(radius)
        super().__init__(self._sample)

    def _sample(self, rng: np.random.Generator) -> ArrayLike:
        angle, distance = 2.0 * np.pi * rng.random(), self.radius * np.sqrt(rng.random())
        return [distance * np.cos(angle), distance * np.sin(angle)]


class Arc(IID):
    """A place (x, y) on a circle around the origin, its angle uniform on [low, high] in radians."""

    def __init__(self, radius: float = 1.0, low: float = 0.0, high: float = 2.0 * np.pi):
        check_number("Arc", "radius", radius, low=0.0)
        self.radius, self.angles = float(radius), check_range("Arc", "angles", (low, high))
        super().__init__(self._sample)

    def _sample(self, rng: np.random.Generator) -> ArrayLike:
        angle = rng.uniform(*self.angles)
        return [self.radius * np.cos(angle), self.radius * np.sin(angle)]


def other_way(values: ArrayLike) -> Markov:
    """Return a law over K contexts `values` [K, C]: uniform at first, then always another one."""
    rows = np.asarray(values, np.float64)
    count = len(rows)
    matrix = (np.ones((count, count)) - np.eye(count)) / (count - 1)
    return Markov(np.full(count, 1.0 / count), matrix, rows)


def any_of(values: ArrayLike) -> Markov:
    """Return a law over K contexts `values` [K, C]: uniform at first and at each switch."""
    rows = np.asarray(values, np.float64)
    count = len(rows)
    return Markov(np.full(count, 1.0 / count), np.full((count, count), 1.0 / count), rows)


def check_range(where: str, name: str, value: Sequence[float]) -> Range:
    """Return `value` as (low, high); ValueError unless it is two numbers in rising order."""
    try:
        low, high = (float(v) for v in value)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if not low <= high or not np.isfinite([low, high]).all():
        raise ValueError(
            f"{where}: {name} is {value!r}, but must be two numbers, the smaller one first."
        )
    return low, high


def beyond(values: Sequence[float]) -> Range:
    """Return the half of a range that comes above it: contexts that were never drawn."""
    low, high = values
    return high, high + (high - low) / 2
