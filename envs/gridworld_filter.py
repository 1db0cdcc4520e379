"""The exact Bayes filter of the grid world's hidden context."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .gridworld_parameters import GridWorldParameters


def exact_filter(
    observations: ArrayLike, rewards: ArrayLike, **parameters: Any
) -> NDArray[np.float64]:
    """Return P(goal 1 is active) for each coming transition, given what was seen before it.

    A reward on a goal cell says which goal is active; any other tells nothing. Between, the
    belief follows the context's Markov chain. Recursion, with b_0 the prior of m = 1:
    b_{t+1} = (1 - p_t) b'_t + p_t (b'_t T[1, 1] + (1 - b'_t) T[0, 1]), where b'_t is b_t after the
    reward r_t.

    Args:
        observations: o_0 .. o_T of B meta-episodes, [B, T + 1, 6].
        rewards: r_0 .. r_{T-1}, [B, T].
        **parameters: those of `GridWorldEnv` that are not at their default.

    Returns:
        [B, T + 1] float64; entry t goes with o_t: P(m_t = 1 | o_0, a_0, r_0 .. o_t).

    Raises:
        ValueError: if shapes disagree or the session process has a memory (lengths that are random
            and not geometric), for which this belief is not sufficient.
    """
    p = GridWorldParameters.make(**parameters)
    evidence = evidence_of(p, observations, rewards)
    schedule = p.process.schedule(evidence.shape[1])
    if schedule is None:
        raise ValueError(
            f"exact_filter: {p.process} has a memory; the filter is exact for Bernoulli, fixed or "
            "no switches only."
        )
    return _run(p, evidence, schedule)


def _transitions(observed: NDArray[np.float64]) -> tuple[int, int]:
    return observed.shape[0], observed.shape[1] - 1


def evidence_of(
    p: GridWorldParameters, observations: ArrayLike, rewards: ArrayLike
) -> NDArray[np.float64]:
    """What each r_t says about m_t: 1 or 0 on a goal, NaN (nothing) elsewhere; [B, T].

    Raises:
        ValueError: unless `observations` are [B, T + 1, 6] and `rewards` [B, T].
    """
    observed, received = np.asarray(observations, np.float64), np.asarray(rewards, np.float64)
    if observed.ndim != 3 or observed.shape[2] != 6 or received.shape != _transitions(observed):
        raise ValueError(
            f"exact_filter: observations {observed.shape}, rewards {received.shape}; "
            "give [B, T + 1, 6] and [B, T]."
        )
    cells = np.rint(observed[:, 1:] * (p.size - 1))
    on_first = (cells[..., 0:2] == cells[..., 2:4]).all(-1)
    on_second = (cells[..., 0:2] == cells[..., 4:6]).all(-1)
    if p.active_reward == p.inactive_reward:  # nothing tells m
        return np.full(received.shape, np.nan)
    paid = abs(received - p.active_reward) < abs(received - p.inactive_reward)
    return np.where(on_second, paid, np.where(on_first, ~paid, np.nan))


def _run(
    p: GridWorldParameters, evidence: NDArray[np.float64], schedule: NDArray[np.float64]
) -> NDArray[np.float64]:
    belief = np.empty((evidence.shape[0], evidence.shape[1] + 1))
    belief[:, 0] = p.prior[1]
    for t in range(evidence.shape[1]):
        belief[:, t + 1] = filter_step(p, belief[:, t], evidence[:, t], schedule[t])
    return belief


def filter_step(
    p: GridWorldParameters,
    belief: NDArray[np.float64],
    evidence: NDArray[np.float64],
    hazard: NDArray[np.float64] | float,
) -> NDArray[np.float64]:
    """One step of the recursion of `exact_filter` for B meta-episodes.

    Args:
        p: the grid world's parameters.
        belief: b_t, [B].
        evidence: what r_t says: 1 goal 1 is active, 0 goal 0 is, NaN nothing; [B].
        hazard: p_t, the probability of a switch after transition t; [B] or one number.

    Returns:
        b_{t+1}, [B].
    """
    known = np.where(np.isnan(evidence), belief, evidence)
    changed = known * p.transition[1][1] + (1 - known) * p.transition[0][1]
    return (1 - hazard) * known + hazard * changed
