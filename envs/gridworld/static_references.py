"""Exact expected returns of reference policies in the static grid world."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .parameters import next_cells
from .static_parameters import StaticParameters
from .static_search import bayes_return


def references_of(parameters: StaticParameters) -> dict[str, float]:
    """Return the expected returns, undiscounted, of a whole trial for four policies.

    ``random``: actions uniform; ``blind``: the best policy that knows the prior but takes no notice
    of rewards; ``bayes``: the best policy there is; ``oracle``: the best policy that is told the
    goal. ``bayes`` is left out where the search for it would take too long, as on large grids.
    """
    return dict(_references(parameters))


@lru_cache(maxsize=128)
def _references(parameters: StaticParameters) -> tuple[tuple[str, float], ...]:
    p = parameters
    goals = np.array(p.goal_cells)
    pay = np.full((p.size**2, len(goals)), p.step_reward)
    pay[goals, np.arange(len(goals))] = p.goal_reward
    prior_pay = pay.mean(1, keepdims=True)
    values: dict[str, float | None] = {
        "random": p.inner_episodes * _value(p, prior_pay, np.mean),
        "blind": p.inner_episodes * _value(p, prior_pay, np.max),
        "bayes": bayes_return(p),
        "oracle": p.inner_episodes * _value(p, pay, np.max),
    }
    return tuple((name, value) for name, value in values.items() if value is not None)


def _value(p: StaticParameters, pay: NDArray[np.float64], choose: Any) -> float:
    """Mean over columns of one inner episode's value for rewards `pay` [S, G] of entering a cell.

    V_t(s) = choose_a { pay(s') + V_{t+1}(s') }. All inner episodes are alike: each begins at the
    start, and none of these policies learns anything. Columns: goals, or the prior's mean.
    """
    value = np.zeros(pay.shape)
    next_cell = next_cells(p.size, p.stay)
    for _ in range(p.inner_horizon):
        value = choose((pay + value)[next_cell], axis=1)
    return float(value[p.start_index].mean())
