"""The exact Bayes filter of which goal pays where goals pay in a cycle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.bayes import SMALLEST, FiniteFilter, Posterior, check_played, hidden_markov
from .cycle_parameters import CycleParameters
from .filter import paying_goal

Array = NDArray[np.float64]


def exact_filter(p: CycleParameters) -> FiniteFilter:
    """Return the filter of which goal pays: a reward on a goal says whether it is this one."""

    def run(observations: ArrayLike, actions: ArrayLike, rewards: ArrayLike) -> Posterior:
        observed, acted, paid = check_played(
            "exact_filter", observations, actions, rewards, 2 + 2 * p.goals + p.announce
        )
        likelihood = agreement(p, observed, acted, paid)
        prior = np.full(p.goals, 1 / p.goals)
        if p.announce:
            return _announced(p, prior, likelihood, observed[..., -1] > 0.5)
        stay, change = (1 - p.p_switch) * np.eye(p.goals), p.p_switch * p.transition
        return hidden_markov(prior, stay, change, likelihood)

    return FiniteFilter(tuple(f"goal {g}" for g in range(p.goals)), paying_goal, run)


def agreement(
    p: CycleParameters, observed: NDArray[Any], acted: NDArray[np.int64], paid: Array
) -> Array:
    """P(r_t | goal g pays), 0 or 1, `[B, T, K]`; all 1 where nothing is told.

    The cell entered follows from the cell before and the action: with `announce` the agent may be
    elsewhere by the time of the next observation.
    """
    places = np.rint(observed[:, :-1, : 2 + 2 * p.goals] * (p.size - 1)).astype(np.int64)
    numbers = places[..., 1::2] * p.size + places[..., 0::2]
    entered = p.next[numbers[..., 0], acted]
    here = entered[..., None] == numbers[..., 1:]
    if p.active_reward == p.inactive_reward:
        return np.ones(here.shape)
    active = abs(paid - p.active_reward) < abs(paid - p.inactive_reward)
    agrees: Array = np.where(here.any(-1, keepdims=True), here == active[..., None], 1.0)
    return agrees


def _announced(
    p: CycleParameters, prior: Array, likelihood: Array, announced: NDArray[np.bool_]
) -> Posterior:
    """The same where each session's end is told with the observation behind it."""
    batch, steps, goals = likelihood.shape
    belief, surprise = np.empty((batch, steps + 1, goals)), np.empty((batch, steps))
    belief[:, 0] = prior
    for t in range(steps):
        joint = belief[:, t] * likelihood[:, t]
        chance = joint.sum(1)
        surprise[:, t] = -np.log(np.maximum(chance, SMALLEST))
        possible = (chance > SMALLEST)[:, None]
        known = np.where(possible, joint / np.maximum(chance, SMALLEST)[:, None], belief[:, t])
        belief[:, t + 1] = np.where(announced[:, t + 1, None], known @ p.transition, known)
    switch = np.zeros((batch, steps + 1))
    switch[:, 1:] = announced[:, :-1]
    return Posterior(belief, switch, surprise)
