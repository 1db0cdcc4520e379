"""Exact filters of the grid worlds and of the two-step task, as hidden Markov models."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_metarl.envs.gridworld_family_parameters import FamilyParameters
from rllib_metarl.envs.gridworld_filter import evidence_of
from rllib_metarl.envs.gridworld_parameters import GridWorldParameters, next_cells
from rllib_metarl.envs.static_gridworld_parameters import StaticParameters
from rllib_metarl.envs.two_step_parameters import TwoStepParameters
from rllib_metarl.evaluation.exact import (
    Array,
    FiniteFilter,
    NoExactFilterError,
    Params,
    Posterior,
    hidden_markov,
)
from rllib_metarl.evaluation.recording import Recording


def grid_world(arguments: Params) -> FiniteFilter:
    """``DLCMDP/GridWorld-v0``: which goal pays; a reward on a goal tells it, others nothing.

    Raises:
        NoExactFilterError: if session lengths have a memory.
    """
    p = GridWorldParameters.make(**arguments)
    if p.process.schedule(1) is None:
        raise NoExactFilterError(
            f"{p.process} has a memory: the exact filter knows Bernoulli, fixed or no switches"
        )

    def run(recording: Recording) -> Posterior:
        hazard = p.process.schedule(recording.horizon)
        assert hazard is not None
        change = hazard[:, None, None] * np.array(p.transition)
        stay = (1 - hazard)[:, None, None] * np.eye(2)
        return hidden_markov(np.array(p.prior), stay, change, _agrees(p, recording))

    return FiniteFilter(("goal 0", "goal 1"), _first_entry, run)


def grid_world_family(arguments: Params) -> FiniteFilter:
    """``DLCMDP/GridWorldFamily-v0``: member and paying goal jointly; member 0's goals first."""
    p = FamilyParameters.make(**arguments)
    names = [f"member {i}, goal {m}" for i in range(len(p.members)) for m in range(2)]
    laws = [(w.process.schedule(1), np.array(w.transition)) for w in p.worlds()]
    change = _blocks([hazard[0] * matrix for hazard, matrix in laws if hazard is not None])
    stay = _blocks([(1 - hazard[0]) * np.eye(2) for hazard, _ in laws if hazard is not None])
    prior = np.tile(p.grid.prior, len(laws)) / len(laws)

    def run(recording: Recording) -> Posterior:
        shape = (recording.horizon, *change.shape)
        likelihood = np.tile(_agrees(p.grid, recording), (1, 1, len(laws)))
        return hidden_markov(
            prior, np.broadcast_to(stay, shape), np.broadcast_to(change, shape), likelihood
        )

    def class_of(context: NDArray[Any]) -> NDArray[np.int64]:
        apart = abs(context[..., None, 1:] - np.array(p.members)).sum(-1)
        return np.asarray(2 * apart.argmin(-1) + _first_entry(context))

    return FiniteFilter(tuple(names), class_of, run)


def _agrees(p: GridWorldParameters, recording: Recording) -> Array:
    """P(the reward | goal 0 pays), P(the reward | goal 1 pays): 0, 1 or both 1; `[B, T, 2]`."""
    evidence = evidence_of(p, recording.observations, recording.rewards)[..., None]
    agrees: Array = np.where(np.isnan(evidence), 1.0, evidence == np.arange(2))
    return agrees


def static_grid_world(arguments: Params) -> FiniteFilter:
    """``VariBAD/GridWorld-v0``: on which cell the goal is; each reward finds it or rules one out.

    The cell entered is told from where the agent was and what it did, since at the end of an inner
    episode the observation shows it back at the start.
    """
    p = StaticParameters.make(**arguments)
    cells, following = np.array(p.goal_cells), next_cells(p.size, p.stay)
    names = tuple(f"({cell % p.size}, {cell // p.size})" for cell in cells)
    still = np.eye(len(cells))

    def run(recording: Recording) -> Posterior:
        here = _cells(recording.observations[:, :-1], p.size)
        on_goal = following[here, recording.actions][..., None] == cells
        reward = recording.rewards[..., None]
        paid = abs(reward - p.goal_reward) < abs(reward - p.step_reward)
        likelihood = (on_goal == paid) | (p.goal_reward == p.step_reward)
        shape = (recording.horizon, *still.shape)
        prior = np.full(len(cells), 1 / len(cells))
        stay = np.broadcast_to(still, shape)
        return hidden_markov(prior, stay, np.zeros(shape), likelihood.astype(np.float64))

    def class_of(context: NDArray[Any]) -> NDArray[np.int64]:
        return np.minimum(np.searchsorted(cells, _cells(context, p.size)), len(cells) - 1)

    return FiniteFilter(names, class_of, run)


def two_step(arguments: Params) -> FiniteFilter:
    """``TwoStep-v0``: which second state is good; rewards tell of it, the way there does not."""
    p = TwoStepParameters.make(**arguments)
    swap = p.p_switch * np.eye(2)[::-1]

    def run(recording: Recording) -> Posterior:
        second = np.arange(recording.horizon) % 2 == 1
        change = np.where(second[:, None, None], swap, 0.0)
        stay = np.eye(2) * (1 - p.p_switch * second)[:, None, None]
        chance = p.pay[recording.observations[:, :-1, 2].astype(np.int64)]  # [B, T, m]
        likelihood = np.where(recording.rewards[..., None] > 0, chance, 1 - chance)
        likelihood = np.where(second[:, None], likelihood, 1.0)
        return hidden_markov(np.full(2, 0.5), stay, change, likelihood)

    return FiniteFilter(("A is good", "B is good"), _first_entry, run)


def _first_entry(context: NDArray[Any]) -> NDArray[np.int64]:
    return np.rint(context[..., 0]).astype(np.int64)


def _cells(positions: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Numbers `[...]` of cells whose x and y, divided by (size - 1), come first in `[..., D]`."""
    xy = np.rint(positions[..., :2] * (size - 1)).astype(np.int64)
    return np.asarray(xy[..., 1] * size + xy[..., 0])


def _blocks(matrices: list[Array]) -> Array:
    """`[n k, n k]` with n blocks `[k, k]` on its diagonal."""
    count, size = len(matrices), len(matrices[0])
    whole = np.zeros((count, size, count, size))
    for i, matrix in enumerate(matrices):
        whole[i, :, i] = matrix
    return whole.reshape(count * size, -1)
