"""The exact Bayes filter of the static grid world: on which cell the goal is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.bayes import FiniteFilter, Posterior, check_played, hidden_markov
from .parameters import next_cells
from .static_parameters import StaticParameters


def exact_filter(p: StaticParameters) -> FiniteFilter:
    """Return the filter of the goal's cell: each reward finds it or rules one out.

    The cell entered is derived from where the agent was and what it did, since at the end of an
    inner episode the observation shows it back at the start.
    """
    cells, next_cell = np.array(p.goal_cells), next_cells(p.size, p.stay)
    names = tuple(f"({cell % p.size}, {cell // p.size})" for cell in cells)
    count = len(cells)

    def run(observations: NDArray[Any], actions: NDArray[Any], rewards: NDArray[Any]) -> Posterior:
        observed, acted, paid = check_played("StaticGridWorld", observations, actions, rewards, 3)
        on_goal = next_cell[_cells(observed[:, :-1], p.size), acted][..., None] == cells
        reward = paid[..., None]
        found = abs(reward - p.goal_reward) < abs(reward - p.step_reward)
        likelihood = (on_goal == found) | (p.goal_reward == p.step_reward)
        return hidden_markov(
            np.full(count, 1 / count), np.eye(count), np.zeros((count, count)), likelihood
        )

    def class_of(context: NDArray[Any]) -> NDArray[np.int64]:
        return np.minimum(np.searchsorted(cells, _cells(context, p.size)), count - 1)

    return FiniteFilter(names, class_of, run)


def _cells(positions: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Numbers `[...]` of cells whose x and y, divided by (size - 1), come first in `[..., D]`."""
    xy = np.rint(positions[..., :2] * (size - 1)).astype(np.int64)
    return np.asarray(xy[..., 1] * size + xy[..., 0])
