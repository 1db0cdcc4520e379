"""The exact Bayes filter of a family of grid worlds, over its members and contexts jointly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.bayes import FiniteFilter, Posterior, hidden_markov
from .family_parameters import FamilyParameters
from .filter import agreement, paying_goal


def exact_filter(p: FamilyParameters) -> FiniteFilter:
    """Return the filter of member and paying goal jointly; the goals of member 0 come first.

    The members form one hidden Markov model whose state is (member, m) and whose member never
    changes.
    """
    names = [f"member {i}, goal {m}" for i in range(len(p.members)) for m in range(2)]
    laws = [(w.process.schedule(1), np.array(w.transition)) for w in p.worlds()]
    change = _blocks([hazard[0] * matrix for hazard, matrix in laws if hazard is not None])
    stay = _blocks([(1 - hazard[0]) * np.eye(2) for hazard, _ in laws if hazard is not None])
    prior = np.tile(p.grid.prior, len(laws)) / len(laws)

    def run(observations: NDArray[Any], actions: NDArray[Any], rewards: NDArray[Any]) -> Posterior:
        likelihood = np.tile(agreement(p.grid, observations, rewards), (1, 1, len(laws)))
        return hidden_markov(prior, stay, change, likelihood)

    def class_of(context: NDArray[Any]) -> NDArray[np.int64]:
        apart = abs(context[..., None, 1:] - np.array(p.members)).sum(-1)
        return np.asarray(2 * apart.argmin(-1) + paying_goal(context))

    return FiniteFilter(tuple(names), class_of, run)


def _blocks(matrices: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """`[n k, n k]` with n blocks `[k, k]` on its diagonal."""
    count, size = len(matrices), len(matrices[0])
    whole = np.zeros((count, size, count, size))
    for i, matrix in enumerate(matrices):
        whole[i, :, i] = matrix
    return whole.reshape(count * size, -1)


def initial_belief(p: FamilyParameters) -> NDArray[np.float64]:
    """Return P(member, m_0), [n, 2]: members are equally likely."""
    return np.repeat([p.grid.prior], len(p.members), 0) / len(p.members)


def filter_step(
    step: NDArray[np.float64], belief: NDArray[np.float64], evidence: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One step of the filter for B meta-episodes, as `show_posterior` makes it.

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
    next_belief: NDArray[np.float64] = np.einsum("bna,nac->bnc", kept, step)
    return next_belief
