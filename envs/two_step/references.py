"""Expected returns of reference policies in the two-step task, and the exact filter behind them.

The context m says which second state is good. Rewards tell of it; where an action led tells
nothing. A belief is b = P(m = 1).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.bayes import FiniteFilter, Posterior, check_played, hidden_markov, nearest_class
from .parameters import TwoStepParameters

_GRID = 4001  # beliefs at which the Bayes-optimal value is computed

Array = NDArray[np.float64]


def references_of(parameters: TwoStepParameters) -> dict[str, float]:
    """Return the expected returns, undiscounted, of a whole meta-episode for four policies.

    ``random``: actions uniform; ``blind``: the best policy that takes no notice of rewards, to
    which both states are equally good, always; ``bayes``: the best policy there is; ``oracle``: the
    best policy given the good state. All are exact but ``bayes``, see `bayes_return`.
    """
    p = parameters
    unseeing = p.rounds * (p.rich + p.poor) / 2
    oracle = p.rounds * (p.common * p.rich + (1.0 - p.common) * p.poor)
    return {"random": unseeing, "blind": unseeing, "bayes": bayes_return(p), "oracle": oracle}


@lru_cache(maxsize=128)
def bayes_return(parameters: TwoStepParameters, grid: int = _GRID) -> float:
    """Return the Bayes-optimal return, by dynamic programming over beliefs on a grid.

    W_r(b) = max_a sum_s P(s | a) sum_y P(y | s, b) (y + W_{r+1}(b'(b, s, y))), y the reward, b' the
    next round's belief. W is convex, so reading it off between the points of the grid, along
    straight lines, can only give too much: less than 0.001.
    """
    p = parameters
    beliefs = np.linspace(0.0, 1.0, grid)
    chances = [[np.add(*_weights(p, beliefs, s, y)) for y in (0, 1)] for s in (0, 1)]
    after = [[updated(p, beliefs, s, y) for y in (0, 1)] for s in (0, 1)]
    value = np.zeros(grid)
    for _ in range(p.rounds):
        visits = [
            sum(chances[s][y] * (y + np.interp(after[s][y], beliefs, value)) for y in (0, 1))
            for s in (0, 1)
        ]
        value = (p.arrival @ np.stack(visits)).max(0)
    return float(np.interp(0.5, beliefs, value))


def exact_filter(p: TwoStepParameters) -> FiniteFilter:
    """Return the filter of which second state is good: rewards tell, the way there does not."""
    swap = p.p_switch * np.eye(2)[::-1]

    def run(observations: NDArray[Any], actions: NDArray[Any], rewards: NDArray[Any]) -> Posterior:
        observed, _, paid = check_played("TwoStep", observations, actions, rewards, 3)
        second = np.arange(paid.shape[1]) % 2 == 1
        change = np.where(second[:, None, None], swap, 0.0)
        stay = np.eye(2) * (1 - p.p_switch * second)[:, None, None]
        chance = p.pay[observed[:, :-1, 2].astype(np.int64)]  # [B, T, m]
        likelihood = np.where(paid[..., None] > 0, chance, 1 - chance)
        likelihood = np.where(second[:, None], likelihood, 1.0)
        return hidden_markov(np.full(2, 0.5), stay, change, likelihood)

    return FiniteFilter(("A is good", "B is good"), nearest_class([[0.0], [1.0]]), run)


def updated(p: TwoStepParameters, belief: Array, state: Any, reward: Any) -> Array:
    """Return the next round's belief after `reward` (0 or 1) in `state` (0 for A, 1 for B)."""
    against, for_it = _weights(p, belief, state, reward)
    total = against + for_it
    # What is impossible under this belief (0 / 0) has no belief after it; any will do.
    known = np.divide(for_it, total, out=np.full_like(total, 0.5), where=total > 0.0)
    return (1.0 - p.p_switch) * known + p.p_switch * (1.0 - known)


def _weights(p: TwoStepParameters, belief: Array, state: Any, reward: Any) -> tuple[Array, Array]:
    """P(m, reward | state) for m = 0 and m = 1, in the shape of `belief`."""
    paid = p.pay[state]
    chance = np.where(np.expand_dims(reward, -1) == 1, paid, 1.0 - paid)
    return (1.0 - belief) * chance[..., 0], belief * chance[..., 1]
