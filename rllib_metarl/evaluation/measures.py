"""Measures of played meta-episodes that need nothing but their rewards and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Numbers = dict[str, float]


def inner_returns(episodes: Sequence[Any]) -> Numbers:
    """Mean return of each inner episode of a trial: how fast what was found is made use of.

    Args:
        episodes: meta-episodes with rewards `[T]` and the label inner_done `[T]`, 1 at the first
            step of every inner episode but the first.

    Returns:
        ``inner_return_1`` .. ``inner_return_K`` and ``last_inner_return``, the last of them; none
        where the label is missing, for then there is one inner episode.
    """
    if not all("inner_done" in e.labels for e in episodes):
        return {}
    numbers_of = [np.cumsum(np.ravel(e.labels["inner_done"])).astype(int) for e in episodes]
    count = 1 + max(int(numbers[-1]) for numbers in numbers_of)
    sums = np.array(
        [np.bincount(n, e.rewards, count) for n, e in zip(numbers_of, episodes, strict=True)]
    )
    means = [float(x) for x in sums.mean(axis=0)]
    numbers = {f"inner_return_{k}": mean for k, mean in enumerate(means, 1)}
    return numbers | {"last_inner_return": means[-1]}
