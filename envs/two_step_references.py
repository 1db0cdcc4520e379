"""Expected returns of reference policies in the two-step task, and the exact filter behind them.

The context m says which second state is good. Rewards tell of it; where an action led tells
nothing. A belief is b = P(m = 1).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .two_step_parameters import TwoStepParameters

_GRID = 4001  # beliefs at which the Bayes-optimal value is computed

Array = NDArray[np.float64]


def references_of(parameters: TwoStepParameters) -> dict[str, float]:
    """Return the expected returns, undiscounted, of a whole meta-episode for four policies.

    ``random``: actions uniform; ``blind``: the best policy that takes no notice of rewards, to
    which both states are equally good, always; ``bayes``: the best policy there is; ``oracle``: the
    best policy that is told the good state. All are exact but ``bayes``, see `bayes_return`.
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


def exact_filter(
    observations: ArrayLike, actions: ArrayLike, rewards: ArrayLike, **parameters: Any
) -> Array:
    """Return P(B is the good state) for each coming transition, given what was seen before it.

    The belief changes after each round's reward: b' = P(m = 1 | s, y) by Bayes' rule with the
    round's second state s and reward y, then b_{t+1} = (1 - p_switch) b' + p_switch (1 - b').

    Args:
        observations: o_0 .. o_T of B meta-episodes from their start, [B, T + 1, 3].
        actions: a_0 .. a_{T-1}, [B, T]; what follows from them is seen, so that their values
            change nothing.
        rewards: r_0 .. r_{T-1}, [B, T].
        **parameters: those of `TwoStepEnv` that are not at their default.

    Returns:
        [B, T + 1] float64; entry t goes with o_t: P(m_t = 1 | o_0, a_0, r_0 .. o_t).

    Raises:
        ValueError: if shapes disagree or a parameter is out of range.
    """
    observed, received = np.asarray(observations, np.float64), np.asarray(rewards, np.float64)
    shape = (*observed.shape[:1], observed.shape[1] - 1) if observed.ndim == 3 else None
    if shape is None or observed.shape[2] != 3 or {received.shape, np.shape(actions)} != {shape}:
        raise ValueError(
            f"exact_filter: observations {observed.shape}, actions {np.shape(actions)}, rewards "
            f"{received.shape}; give [B, T + 1, 3], [B, T] and [B, T]."
        )
    p = TwoStepParameters.make(**parameters)
    beliefs = np.full((shape[0], shape[1] + 1), 0.5)
    for t in range(shape[1]):
        beliefs[:, t + 1] = beliefs[:, t]
        if t % 2 == 1:
            at_b = observed[:, t, 2].astype(np.int64)
            beliefs[:, t + 1] = updated(p, beliefs[:, t], at_b, received[:, t].astype(np.int64))
    return beliefs


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
