"""Bounds on the Bayes-optimal value of a family of grid worlds, by dynamic programming.

A reward on a goal cell reveals the context m, and no other cell tells anything. So nothing is
learnt between two *sights*, that is steps onto a goal, and how the agent spends that time matters
by its length alone. What remains to be chosen after a sight in transition t is the next goal j and
in how many steps k to be there, or never to see a goal again:

    U_t(i, m, w) = max_{j, k} (k - 1) r_step
                   + sum_m' P_k(m' | m, w) [pay(j, m') + U_{t+k}(j, m', w')]

i is the goal the agent is on, m what it has just seen, w its posterior over the members of the
family, w' the posterior after the next sight; (j, k) must be possible in the grid. The first sight
is chosen likewise from the starting cell.

The value is known on a grid of posteriors w. *Upper bound*: U is convex in w, as a maximum of
linear functions, so interpolation between grid points is never too small. *Lower bound*: each grid
point keeps what its plan earns under each member; after a sight, the best plan of the points around
w' is followed. Both are proven, up to rounding; the policies of the lower bound can be played.

Letters: T the horizon, K grid points, n members, C layouts of the goals that are alike, L goal
pairs; axes i, j are goals, m contexts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ..core.simplex import SimplexGrid
from .family_parameters import FamilyParameters, step_matrices
from .parameters import GridWorldParameters, next_cells
from .references import goal_pairs

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
POINTS = 500


def bayes_bounds(parameters: FamilyParameters, points: int = POINTS) -> tuple[float, float] | None:
    """Return a lower and an upper bound on the best expected return of a meta-episode.

    Args:
        parameters: the family's.
        points: how many posteriors over members the value is computed for; more take longer and
            bring the bounds together. A few seconds for the default.

    Returns:
        (lower, upper), or None where so few points say nothing about so many members.
    """
    grid = SimplexGrid.with_points(len(parameters.members), points)
    if grid is None:
        return None
    sights = _Sights(parameters, grid)
    layouts = _Layouts(parameters.grid)
    upper, lower = _solve(parameters.grid, sights, layouts)
    first = _first_sights(parameters, sights, upper, lower)
    return layouts.best(first[1]), layouts.best(first[0])


class _Sights:
    """What a sight k steps after one of m tells, for each grid point; index k - 1.

    Attributes:
        law: [T, n, 2, 2], P(m' | m) of each member over k steps.
        chance: [T, 2, 2, K], P_k(m' | m, w).
        after: [T, 2, 2, K, n], the posterior w'.
        around, weight: [T, 2, 2, K, n], the grid points around w'.
        matrices: for each k [2 K, 2 K]: (m, point) to (m', point), chance times weight.
    """

    def __init__(self, parameters: FamilyParameters, grid: SimplexGrid):
        self.grid = grid
        step = step_matrices(parameters.members)
        powers = [step]
        for _ in range(parameters.grid.horizon - 1):
            powers.append(powers[-1] @ step)
        self.law = np.stack(powers)
        joint = np.einsum("pn,knab->kabpn", grid.points, self.law)
        self.chance = joint.sum(-1)
        self.after = _normalised(joint, grid.points)
        self.around, self.weight = grid.surround(self.after)
        self.matrices = [self._matrix(k) for k in range(len(powers))]

    def _matrix(self, k: int) -> csr_array:
        count, members = self.grid.points.shape
        columns = self.around[k] + count * np.arange(2)[:, None, None]
        entries = self.weight[k] * self.chance[k][..., None]
        by_row = (0, 2, 1, 3)  # (m, m', point, neighbour) -> (m, point, m', neighbour)
        row_ends = np.arange(2 * count + 1) * 2 * members
        parts = entries.transpose(by_row).ravel(), columns.transpose(by_row).ravel(), row_ends
        return csr_array(parts, shape=(2 * count, 2 * count))


def _normalised(joint: Array, otherwise: Array) -> Array:
    """Distributions over the last axis; `otherwise` where the whole is impossible."""
    total = joint.sum(-1, keepdims=True)
    possible = total > 1e-14
    return np.where(possible, joint / np.where(possible, total, 1.0), otherwise)


class _Layouts:
    """Where one can be and when, for all goal pairs.

    Attributes:
        arrive: [C, 2, 2, T], from goal i (now) the next sight can be goal j in k steps.
        avoid: [C, 2, T + 1], from goal i one can stay off the goals for so many steps.
    """

    def __init__(self, p: GridWorldParameters):
        self.parameters = p
        pairs, self.weights = goal_pairs(p)
        ways = [_ways(p, goals) for goals in pairs.T]
        kinds: dict[bytes, int] = {}
        self.kind, arrive, avoid = [], [], []
        for goals, (reach, off) in zip(pairs.T, ways, strict=True):
            key = reach[goals].tobytes() + off[goals].tobytes()
            if key not in kinds:
                kinds[key] = len(kinds)
                arrive.append(reach[goals])
                avoid.append(off[goals])
            self.kind.append(kinds[key])
        self.arrive, self.avoid, self._ways = np.stack(arrive), np.stack(avoid), ways

    def best(self, first: Array) -> float:
        """Average over pairs and starts of the best first sight, values [T, C, 2], of those that
        can be reached."""
        p, total = self.parameters, 0.0
        for kind, weight, (reach, off) in zip(self.kind, self.weights, self._ways, strict=True):
            scored = np.where(reach, first[:, kind].T, -np.inf).max((1, 2))
            never = np.where(off[:, -1], p.horizon * p.step_reward, -np.inf)
            value = np.maximum(scored, never)
            total += weight * (value.mean() if p.start is None else value[p.index(p.start)])
        return float(total)


def _ways(p: GridWorldParameters, goals: NDArray[np.int64]) -> tuple[Bools, Bools]:
    """From each cell: can goal j be the first one seen in k steps [S, 2, T], and can one be off the
    goals for so many steps [S, T + 1]."""
    cells = p.size**2
    moves = np.zeros((cells, cells), np.bool_)
    moves[np.arange(cells)[:, None], next_cells(p.size, p.stay)] = True
    here, reach = np.eye(cells, dtype=np.bool_), []
    off: list[Any] = [np.ones(cells, np.bool_)]
    for _ in range(p.horizon):
        here = here @ moves
        reach.append(here[:, goals])
        here[:, goals] = False
        off.append(here.any(1))
    return np.stack(reach, -1), np.stack(off, -1)


@dataclass(frozen=True)
class _Choice:
    """The best options so far, [2 (m), K, C, 2 (i)]: their value, k (0: never) and goal j."""

    value: Array
    steps: NDArray[np.int64]
    goal: NDArray[np.int64]


def _solve(p: GridWorldParameters, sights: _Sights, layouts: _Layouts) -> tuple[Array, Array]:
    """U on the grid [T, 2, K, C, 2], and what each point's plan earns [T, 2, K, C, 2, n]."""
    count, members = sights.grid.points.shape
    shape = (p.horizon, 2, count, len(layouts.arrive), 2)
    upper, plans = np.zeros(shape), np.zeros((*shape, members))
    for t in reversed(range(p.horizon)):
        choice = _choose(p, sights, layouts, upper, t)
        upper[t] = choice.value
        plans[t] = _follow(p, sights, plans, choice, t)
    return upper, plans


def _choose(
    p: GridWorldParameters, sights: _Sights, layouts: _Layouts, upper: Array, t: int
) -> _Choice:
    left = p.horizon - 1 - t
    never = np.where(layouts.avoid[..., left], p.step_reward * left, -np.inf)
    value = np.broadcast_to(never, upper.shape[1:]).copy()
    steps, goal = np.zeros(value.shape, np.int64), np.zeros(value.shape, np.int64)
    barred = np.where(layouts.arrive, 0.0, -np.inf)  # [C, i, j, T]
    for k in range(1, left + 1):
        entering = upper[t + k] + _pay(p)[:, None, None, :]  # [m', K, C, j]
        entering = entering.reshape(sights.matrices[k - 1].shape[1], -1)
        seen = (sights.matrices[k - 1] @ entering).reshape(upper.shape[1:])
        for j in range(2):
            cost = barred[:, :, j, k - 1] + (k - 1) * p.step_reward
            option = seen[..., j, None] + cost
            better = option > value
            np.copyto(value, option, where=better)
            steps[better], goal[better] = k, j
    return _Choice(value, steps, goal)


def _follow(
    p: GridWorldParameters, sights: _Sights, plans: Array, choice: _Choice, t: int
) -> Array:
    """What the chosen options earn under each member, [2, K, C, 2, n]."""
    steps, goal = choice.steps, choice.goal
    axes: Any = np.indices(steps.shape, sparse=True)
    m, point, kind, _ = axes
    k = np.maximum(steps - 1, 0)
    earned = np.repeat((k * p.step_reward)[..., None], plans.shape[-1], -1)
    ahead = np.minimum(t + steps, p.horizon - 1)[..., None]
    for seen in range(2):
        around = sights.around[k, m, seen, point]  # [2, K, C, 2, n]
        plan = plans[ahead, seen, around, kind[..., None], goal[..., None]]
        plan = _best_plan(plan, sights.after[k, m, seen, point])
        chance = sights.law[k, :, m, seen]
        earned += chance * (_pay(p)[seen, goal][..., None] + plan)
    never = p.step_reward * (p.horizon - 1 - t)
    return np.where(steps[..., None] > 0, earned, never)


def _best_plan(plans: Array, w: Array) -> Array:
    """Of `plans` [..., candidates, n] the one [..., n] that promises most at `w` [..., n]."""
    best = np.einsum("...ci,...i->...c", plans, w).argmax(-1)[..., None, None]
    return np.take_along_axis(plans, best, -2)[..., 0, :]


def _first_sights(
    parameters: FamilyParameters, sights: _Sights, upper: Array, plans: Array
) -> tuple[Array, Array]:
    """Upper and lower value of seeing goal j first in transition t, [T, C, 2] each."""
    p, members = parameters.grid, len(parameters.members)
    before = np.concatenate([np.broadcast_to(np.eye(2), (1, members, 2, 2)), sights.law[:-1]])
    joint = np.einsum("a,knab->kbn", np.array(p.prior), before) / members
    chance, w = joint.sum(-1), _normalised(joint, np.full(members, 1 / members))
    around, weight = sights.grid.surround(w)
    waiting = np.arange(p.horizon, dtype=np.float64)[:, None, None] * p.step_reward
    high: Array = waiting + np.zeros((*upper.shape[:1], *upper.shape[3:]))
    low = high.copy()
    time = np.arange(p.horizon)
    for m in range(2):
        near = upper[time[:, None], m, around[:, m]]  # [T, n, C, j]
        interpolated = (near * weight[:, m, :, None, None]).sum(1)
        known = np.einsum("kpcjn,kn->kpcj", plans[:, m], w[:, m]).max(1)
        reward = _pay(p)[m]
        high += chance[:, m, None, None] * (reward + interpolated)
        low += chance[:, m, None, None] * (reward + known)
    return high, low


def _pay(p: GridWorldParameters) -> Array:
    """Reward by (m, goal)."""
    return p.inactive_reward + (p.active_reward - p.inactive_reward) * np.eye(2)
