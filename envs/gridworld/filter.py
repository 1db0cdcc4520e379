"""The exact Bayes filter of the grid world's hidden context."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.bayes import FiniteFilter, NoExactFilterError, Posterior, hidden_markov
from .parameters import GridWorldParameters

WIDTH = 6
"""Of an observation that tells nothing else."""
GOALS = slice(2, 4), slice(4, 6)
"""Where an observation shows goal 0 and goal 1."""


def exact_filter(p: GridWorldParameters, notify: str = "none") -> FiniteFilter:
    """Return the filter of which goal pays: a reward on a goal shows it, others show nothing.

    Args:
        p: the grid world's parameters.
        notify: what the end of an observation tells besides (see `core.notify`).

    Raises:
        NoExactFilterError: if session lengths have a memory, for which a belief about the context
            alone is not sufficient.
    """
    if p.process.schedule(1) is None:
        raise NoExactFilterError(
            f"{p.process} has a memory: the exact filter knows Bernoulli, fixed or no switches"
        )

    def run(observations: NDArray[Any], actions: NDArray[Any], rewards: NDArray[Any]) -> Posterior:
        seen, notice = observations[..., :WIDTH], observations[..., WIDTH:]
        likelihood = agreement(p, seen, rewards)
        hazard = p.process.schedule(likelihood.shape[1])
        assert hazard is not None
        if notify == "context":
            return _told_which_pays(p, notice, hazard)
        if notify == "switched":
            hazard = notice[:, 1:, 0]  # [B, T]: whether there is a switch after transition t
        change = hazard[..., None, None] * np.array(p.transition)
        stay = (1 - hazard)[..., None, None] * np.eye(2)
        return hidden_markov(np.array(p.prior), stay, change, likelihood)

    return FiniteFilter(("goal 0", "goal 1"), paying_goal, run)


def _told_which_pays(
    p: GridWorldParameters, notice: NDArray[Any], hazard: NDArray[np.float64]
) -> Posterior:
    """What is certain where the context is told, `[B, T + 1, 1]`: all but unseen changes to it."""
    context = paying_goal(notice)
    probabilities = np.eye(2)[context]
    before, after = context[:, :-1], context[:, 1:]
    to_same = hazard * np.array(p.transition)[after, after]
    # P(switch | the same context again), and 1 where it is another.
    again = np.divide(to_same, to_same + 1 - hazard, out=np.ones_like(to_same), where=to_same < 1)
    opened = np.where(before == after, again, 1.0)
    switch = np.concatenate([np.zeros((len(context), 1)), opened], 1)
    switch[:, 1:] = switch[:, :-1].copy()  # entry t + 1 is of the session that transition t opened
    return Posterior(probabilities, switch, np.zeros(before.shape))


def paying_goal(context: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number `[...]` of the goal that pays in contexts `[..., C]`."""
    return np.rint(context[..., 0]).astype(np.int64)


def agreement(
    p: GridWorldParameters, observations: ArrayLike, rewards: ArrayLike
) -> NDArray[np.float64]:
    """Return P(r_t | goal 0 pays), P(r_t | goal 1 pays), 0, 1 or both 1, as [B, T, 2]."""
    evidence = evidence_of(p, observations, rewards)[..., None]
    agrees: NDArray[np.float64] = np.where(np.isnan(evidence), 1.0, evidence == np.arange(2))
    return agrees


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


def filter_step(
    p: GridWorldParameters,
    belief: NDArray[np.float64],
    evidence: NDArray[np.float64],
    hazard: NDArray[np.float64] | float,
) -> NDArray[np.float64]:
    """One step of the filter for B meta-episodes, as `show_posterior` makes it.

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
