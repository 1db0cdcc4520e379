"""Curves and numbers over seeds: mean and spread, interquartile mean and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rllib_metarl.evaluation import statistics
from rllib_metarl.evaluation.statistics import iqm
from rllib_metarl.report.runs import Curve

POINTS = 300
RESAMPLES = 2_000
FloatArray = NDArray[np.float64]


class Band(NamedTuple):
    """A line and what lies around it, `[P]` each; `low` and `high` are NaN for a single seed."""

    steps: FloatArray
    middle: FloatArray
    low: FloatArray
    high: FloatArray


def aligned(curves: Sequence[Curve]) -> tuple[FloatArray, FloatArray]:
    """Curves of several seeds at common steps.

    Where all seeds reported at the same steps, those are kept; else values are interpolated
    linearly over the stretch that all of them cover. At most `POINTS` steps, evenly thinned.

    Returns:
        steps `[P]` and values `[S, P]`.

    Raises:
        ValueError: there is no curve.
    """
    if not curves:
        raise ValueError("aligned() needs at least one curve")
    first = curves[0].steps
    if all(np.array_equal(first, curve.steps) for curve in curves):
        steps, values = first, np.stack([curve.values for curve in curves])
    else:
        low = max(curve.steps[0] for curve in curves)
        high = min(curve.steps[-1] for curve in curves)
        steps = np.unique(np.concatenate([curve.steps for curve in curves]))
        steps = steps[(steps >= low) & (steps <= high)]
        values = np.stack([np.interp(steps, curve.steps, curve.values) for curve in curves])
    kept = np.unique(np.linspace(0, len(steps) - 1, min(POINTS, len(steps))).round().astype(int))
    return steps[kept], values[:, kept]


def mean_band(curves: Sequence[Curve]) -> Band:
    """Mean over seeds, and one sample standard deviation to either side."""
    steps, values = aligned(curves)
    middle = values.mean(axis=0)
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.full_like(middle, np.nan)
    return Band(steps, middle, middle - spread, middle + spread)


def iqm_band(curves: Sequence[Curve]) -> Band:
    """Interquartile mean over seeds with its 95 % interval."""
    steps, values = aligned(curves)
    low, high = interval(values)
    return Band(steps, np.asarray(iqm(values, axis=0)), low, high)


def best_so_far(curve: Curve) -> Curve:
    """The largest value up to each step."""
    return Curve(curve.steps, np.maximum.accumulate(curve.values))


def interval(values: FloatArray, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Interval of the interquartile mean of `values [S, P]` over seeds, as `statistics.interval`.

    Where that redraws seeds, the points of a curve are redrawn together and therefore at once. NaN
    for a single seed, of which nothing can be said.
    """
    if len(values) < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    if len(values) < statistics.FEW:
        low, high = np.transpose([statistics.interval(column, level) for column in values.T])
        return np.asarray(low), np.asarray(high)
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    means = iqm(values[drawn], axis=1)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return np.asarray(low), np.asarray(high)
