"""The Bayes-optimal return of the static grid world, by branch and bound.

Until the goal is found, all an agent learns is which cells it is not on. So a policy is a path to
follow until the goal is found, and after that the walk of one who knows the goal. The return of a
path depends on when it first enters each possible goal cell:

    return = step_reward * N + mean over goals g of gain[n_g, g],

n_g the transition (of N in the trial) that first enters g, and 0 if none does. The search goes
through the paths one transition at a time and keeps, of all with the same set of entered cells and
the same place, the best. It drops what cannot become better than a path that a narrow search has
found before: exact, since the bound is never too low.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .parameters import next_cells
from .static_parameters import StaticParameters

_BEAM = 300  # paths kept by the narrow search
_GIVE_UP = 200_000  # paths at once; more would take too long
_FAR = 10**6

Ints = NDArray[np.int64]
Array = NDArray[np.float64]


@dataclass
class _Paths:
    """Partial paths: entered goals as bits, the present cell, and the gains so far; each [P]."""

    entered: Ints
    cell: Ints
    gain: Array

    def take(self, chosen: NDArray[np.bool_] | Ints) -> _Paths:
        return _Paths(self.entered[chosen], self.cell[chosen], self.gain[chosen])


def bayes_return(parameters: StaticParameters) -> float | None:
    """Return the expected undiscounted return of the best policy, or None if it takes too long."""
    p = parameters
    bits = len(p.goal_cells) + int(p.size**2).bit_length()
    if bits > 62 or p.goal_reward <= p.step_reward:
        return None  # sets of cells do not fit a word; or nobody would look for the goal
    search = _Search(p)
    narrow = search.run(bound=-np.inf, width=_BEAM)
    best = search.run(bound=float(narrow or 0.0), width=None)
    if best is None:
        return None
    return p.step_reward * search.transitions + best / search.count


class _Search:
    """The tables of one grid and the search through its paths. G possible goals, S cells."""

    def __init__(self, p: StaticParameters):
        self.p = p
        self.goals = np.array(p.goal_cells)
        self.count = len(self.goals)
        self.transitions = p.inner_horizon * p.inner_episodes
        self.next = next_cells(p.size, p.stay)
        self.number = np.full(p.size**2, -1)
        self.number[self.goals] = np.arange(self.count)
        self.distance = _distances(self.next)[:, self.goals]
        self.gain, self.delay_cost = self._gains()

    def run(self, bound: float, width: int | None) -> float | None:
        """Return the greatest sum of gains, if at least `bound`; None if there are too many paths.

        With a `width` only that many paths are kept, and the result is that of some path.
        """
        start = self.p.start_index
        paths = _Paths(np.zeros(1, np.int64), np.array([start]), np.zeros(1))
        for n in range(self.transitions):
            if n % self.p.inner_horizon == 0:
                paths.cell[:] = start
            paths = self._extend(_best_of_equals(paths, self.p.size**2), n)
            limits = self._limits(paths, n)
            hopeful = limits >= bound - 1e-9
            paths, limits = paths.take(hopeful), limits[hopeful]
            if width is not None and len(limits) > width:
                paths = paths.take(np.argpartition(-limits, width)[:width])
            elif len(limits) > _GIVE_UP:
                return None
        return float(paths.gain.max())

    def _extend(self, paths: _Paths, n: int) -> _Paths:
        """All paths one transition longer."""
        actions = self.next.shape[1]
        cell = self.next[paths.cell].ravel()
        entered = np.repeat(paths.entered, actions)
        number = self.number[cell]
        bit = np.where(number >= 0, 1 << np.maximum(number, 0), 0)
        new = (bit & ~entered) != 0
        gain = np.repeat(paths.gain, actions) + np.where(new, self.gain[n, number], 0.0)
        return _best_of_equals(_Paths(entered | bit, cell, gain), self.p.size**2)

    def _limits(self, paths: _Paths, n: int) -> Array:
        """No continuation of a path after transition n gains more than this, [P].

        Each goal not yet entered counts as entered as early as walking there allows, in this inner
        episode or the next. As only one can be entered at a time, those that would be entered at
        the same time in this one are put off, each transition of delay costing `delay_cost`.
        """
        left = (paths.entered[:, None] >> np.arange(self.count)) & 1 == 0
        end = (n // self.p.inner_horizon + 1) * self.p.inner_horizon
        now = n + self.distance[paths.cell]
        later = end + self.distance[self.p.start_index] - 1
        early = np.minimum(np.where(now < end, now, later), self.transitions)
        gains = np.where(left, self.gain[early, np.arange(self.count)], 0.0).sum(1)
        times = np.sort(np.where(left, early, _FAR), 1)
        order = np.arange(self.count)
        apart = np.maximum.accumulate(times - order, 1) + order
        delays = np.where(times < end, np.minimum(apart, end) - times, 0).sum(1)
        return paths.gain + gains - self.delay_cost * delays

    def _gains(self) -> tuple[Array, float]:
        """The table gain[n, g], [N + 1, G] (last row 0: never), and the least cost of a delay."""
        p, known = self.p, self._known_values()
        n = np.arange(self.transitions)
        episode, t = np.divmod(n, p.inner_horizon)
        each = np.arange(self.count)
        rest = known[p.inner_horizon - 1 - t][:, self.goals, each]
        later = (p.inner_episodes - 1 - episode)[:, None] * known[-1, p.start_index]
        before = p.step_reward * (n - self.transitions)[:, None]
        gain = before + p.goal_reward + rest + later
        inside = gain[: p.inner_horizon - 1] - gain[1 : p.inner_horizon]
        cost = min(float(inside.min(initial=np.inf)), p.goal_reward - p.step_reward)
        return np.vstack([gain, np.zeros(self.count)]), cost

    def _known_values(self) -> Array:
        """Value of each cell with k transitions left if the goal is known, [H + 1, S, G]."""
        p = self.p
        pay = np.full((p.size**2, self.count), p.step_reward)
        pay[self.goals, np.arange(self.count)] = p.goal_reward
        values = np.zeros((p.inner_horizon + 1, *pay.shape))
        for k in range(p.inner_horizon):
            values[k + 1] = (pay + values[k])[self.next].max(1)
        return values


def _best_of_equals(paths: _Paths, cells: int) -> _Paths:
    """Of paths with equal entered cells and place, the one with the greatest gain."""
    code = paths.entered * cells + paths.cell
    order = np.lexsort((-paths.gain, code))
    _, first = np.unique(code[order], return_index=True)
    return paths.take(order[first])


def _distances(next_cell: Ints) -> Ints:
    """Transitions needed to enter cell s' from s, at least 1, [S, S]."""
    cells = len(next_cell)
    distance = np.full((cells, cells), _FAR)
    reached = np.eye(cells, dtype=np.bool_)
    for d in range(1, cells + 1):
        ahead = np.zeros_like(reached)
        for action in range(next_cell.shape[1]):
            ahead |= _step(reached, next_cell[:, action])
        distance[ahead & (distance == _FAR)] = d
        reached = ahead
    return distance


def _step(reached: NDArray[np.bool_], next_cell: Ints) -> NDArray[np.bool_]:
    """Row s: the cells that one more transition leads to from those reached from s."""
    ahead = np.zeros_like(reached)
    for cell, to in enumerate(next_cell):
        ahead[:, to] |= reached[:, cell]
    return ahead
