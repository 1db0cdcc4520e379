"""Which searched values matter: how much of a metric's differences they account for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rllib_metarl.report.sweep_data import SearchedKey, SweepData

FEWEST = 6
"""Configurations below which nothing is said: a forest would only repeat them."""


@dataclass(frozen=True)
class Importance:
    """What is known of one searched value.

    share: its part of the forest's drop in accuracy when values are shuffled, all of them sum to 1.
    spread: standard deviation of that part over shuffles. correlation: Spearman's rank correlation
    with the metric, None for values without an order and where all are equal.
    """

    name: str
    share: float
    spread: float
    correlation: float | None


def importances(sweep: SweepData) -> list[Importance]:
    """The searched values, the one that matters most first; empty where too little is known.

    A random forest (300 trees, seed 0) predicts a configuration's value from its place in each
    range; what a key's shuffling costs it (permutation importance, Breiman 2001, 30 times) is that
    key's share. It is measured on the configurations it was fitted to: there are too few to hold
    some out, so small shares are noise.
    """
    keys = [key for key in sweep.keys if key.listed is None or len(key.listed) > 1]
    if not keys:  # several seeds and nothing searched
        return []
    places, values = table(sweep, keys)
    if len(values) < FEWEST or np.ptp(values) == 0:
        return []
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    forest = RandomForestRegressor(n_estimators=300, random_state=0).fit(places, values)
    drop = permutation_importance(forest, places, values, n_repeats=30, random_state=0)
    whole = np.clip(drop.importances_mean, 0.0, None).sum() or 1.0
    found = [
        Importance(
            key.name,
            float(max(0.0, drop.importances_mean[i]) / whole),
            float(drop.importances_std[i] / whole),
            _correlation(key, places[:, i], values),
        )
        for i, key in enumerate(keys)
    ]
    return sorted(found, key=lambda one: -one.share)


def table(
    sweep: SweepData, keys: list[SearchedKey]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Configurations as places in their ranges `[N, K]`, and their values `[N]`."""
    rows, values = [], []
    for candidate in sweep.candidates:
        place = [key.place(candidate.trials[0].values.get(key.name)) for key in keys]
        rows.append([0.5 if one is None else one for one in place])
        values.append(candidate.value)
    return np.array(rows, dtype=float).reshape(-1, len(keys)), np.array(values, dtype=float)


def _correlation(
    key: SearchedKey, places: NDArray[np.float64], values: NDArray[np.float64]
) -> float | None:
    listed = key.listed or []
    ordered = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in listed)
    if not ordered or np.ptp(places) == 0:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(places, values).statistic)
