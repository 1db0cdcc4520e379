"""The exact Bayes filter of a family of grid worlds, over its members and contexts jointly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .gridworld_family_parameters import FamilyParameters, step_matrices
from .gridworld_filter import evidence_of


def exact_filter(
    observations: ArrayLike, rewards: ArrayLike, **parameters: Any
) -> NDArray[np.float64]:
    """Return P(member, m_t) for each coming transition, given what was seen before it.

    The members form one hidden Markov model whose state is (member, m) and whose member never
    changes: b_{t+1}(i, m') = sum_m b'_t(i, m) P_i(m' | m), where b'_t is b_t, kept where m_t agrees
    with what the reward r_t revealed, and scaled to sum to 1.

    Args:
        observations: o_0 .. o_T of B meta-episodes, [B, T + 1, 6].
        rewards: r_0 .. r_{T-1}, [B, T].
        **parameters: those of `GridWorldFamilyEnv` that are not at their default.

    Returns:
        [B, T + 1, n, 2] float64; entry t goes with o_t: P(member, m_t | o_0, a_0, r_0 .. o_t).

    Raises:
        ValueError: if shapes disagree or a parameter is out of range.
    """
    p = FamilyParameters.make(**parameters)
    evidence = evidence_of(p.grid, observations, rewards)
    beliefs = [np.broadcast_to(initial_belief(p), (len(evidence), len(p.members), 2))]
    step = step_matrices(p.members)
    for t in range(evidence.shape[1]):
        beliefs.append(filter_step(step, beliefs[-1], evidence[:, t]))
    return np.stack(beliefs, 1)


def initial_belief(p: FamilyParameters) -> NDArray[np.float64]:
    """Return P(member, m_0), [n, 2]: members are equally likely."""
    return np.repeat([p.grid.prior], len(p.members), 0) / len(p.members)


def filter_step(
    step: NDArray[np.float64], belief: NDArray[np.float64], evidence: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One step of the recursion of `exact_filter` for B meta-episodes.

    Args:
        step: `step_matrices` of the members, [n, 2, 2].
        belief: b_t, [B, n, 2].
        evidence: what r_t says: 1 goal 1 is active, 0 goal 0 is, NaN nothing; [B].

    Returns:
        b_{t+1}, [B, n, 2].
    """
    agrees = np.isnan(evidence)[:, None] | (evidence[:, None] == np.arange(2))
    kept = belief * agrees[:, None, :]
    kept = kept / kept.sum((1, 2), keepdims=True)
    following: NDArray[np.float64] = np.einsum("bna,nac->bnc", kept, step)
    return following
