"""Expected returns of reference policies where goals pay in a cycle, by dynamic programming.

What an agent can know is P(m), a distribution b over the K goals. It is changed by a reward on a
goal (that one pays, or it does not), and by the law. The value of (cell, b) is computed on a grid
of distributions. *Upper bound*: the value is convex in b, so that interpolation between grid points
is never too small. *Lower bound*: each grid point keeps what its plan earns under each m; behind a
step, the best plan of the points around the new b is followed. That plan is a policy, whose return
is exact under any law: so the lower bound also tells what a filter of *another* law is worth.

Letters: S cells, P grid points, K goals; ``upper[s, p]``, ``earned[s, p, m]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.simplex import SimplexGrid
from .cycle_parameters import CycleParameters
from .references import symmetries

Array = NDArray[np.float64]
POINTS = {3: 500, 4: 460}
TOLERANCE = 0.04
"""How far apart the bounds on ``bayes`` may be, as a share of what evidence is worth."""


def reference_returns(**parameters: Any) -> dict[str, float]:
    """Return the expected returns of reference policies; parameters as in `GridWorldCycleEnv`.

    Returns:
        ``random``: actions uniform; ``blind``: the best policy that takes no notice of rewards;
        ``law_unknown``: acts as were best if any other goal could pay after a goal, with the exact
        filter of that law; ``bayes``: the best policy there is, the middle of two proven bounds;
        ``oracle``: the best one that is told the goal that pays before each step. With five goals
        or more ``law_unknown`` and ``bayes`` are left out, as where the bounds are far apart.

    Raises:
        ValueError: if a parameter is out of range.
    """
    return cycle_references(CycleParameters.make(**parameters))


def cycle_references(p: CycleParameters) -> dict[str, float]:
    """Return the references; see `reference_returns`."""
    return dict(_references(p))


@lru_cache(maxsize=32)
def _references(p: CycleParameters) -> tuple[tuple[str, float], ...]:
    layouts, weights = _layouts(p)
    values = [_of_layout(p, goals) for goals in layouts]
    names = [name for name in values[0] if all(name in one for one in values)]
    returns = {name: float(np.dot(weights, [one[name] for one in values])) for name in names}
    if "bayes" in returns:
        gap = returns.pop("upper") - returns["bayes"]
        returns["bayes"] += gap / 2
        if gap > TOLERANCE * (returns["bayes"] - returns["blind"]) + 1e-9:
            del returns["bayes"]
    return tuple(returns.items())


def _layouts(p: CycleParameters) -> tuple[NDArray[np.int64], Array]:
    """Orders of the goals `[C, K]` that stand for all, and their weights: it does not matter which
    goal the cycle begins with, nor how the grid is turned."""
    orders = p.numbers[p.orders()]
    codes = []
    for goals in orders:
        turned = symmetries(p.size)[:, goals]
        rolled = [np.roll(row, shift) for row in turned for shift in range(p.goals)]
        codes.append(min(tuple(row.tolist()) for row in rolled))
    chosen, counts = np.unique(np.array(codes), axis=0, return_counts=True)
    return chosen, counts / counts.sum()


def _of_layout(p: CycleParameters, goals: NDArray[np.int64]) -> dict[str, float]:
    returns = {
        "random": _unseeing(p, goals, np.mean),
        "blind": _unseeing(p, goals, np.max),
        "oracle": _oracle(p, goals),
    }
    if p.goals in POINTS:
        law = p.transition
        others = (1 - np.eye(p.goals)) / (p.goals - 1)
        returns["law_unknown"] = _planned(p, goals, others, law)[0]
        returns["bayes"], returns["upper"] = _planned(p, goals, law, law)
    return returns


def _unseeing(p: CycleParameters, goals: NDArray[np.int64], choose: Any) -> float:
    """Each goal pays with the same probability at all times."""
    enter = np.full(p.size**2, p.step_reward)
    enter[goals] = (p.active_reward + (p.goals - 1) * p.inactive_reward) / p.goals
    value = np.zeros(p.size**2)
    put = p.p_switch * p.announce  # how probable it is to be put anywhere
    for _ in range(p.horizon):
        value = choose((enter + (1 - put) * value + put * value.mean())[p.next], axis=1)
    return float(value.mean())


def _oracle(p: CycleParameters, goals: NDArray[np.int64]) -> float:
    enter = np.full((p.size**2, p.goals), p.step_reward)
    enter[goals] = _pay(p)
    value = np.zeros((p.size**2, p.goals))
    for _ in range(p.horizon):
        switched = value @ p.transition.T
        if p.announce:  # and it is put anywhere
            switched = np.broadcast_to(switched.mean(0), switched.shape)
        behind = (1 - p.p_switch) * value + p.p_switch * switched
        value = (enter + behind)[p.next].max(1)
    return float(value.mean())


def _pay(p: CycleParameters) -> Array:
    """Reward by (goal entered, goal that pays)."""
    off = p.active_reward - p.inactive_reward
    return p.inactive_reward + off * np.eye(p.goals)


@dataclass(frozen=True)
class _Behind:
    """What can come behind a step, for beliefs `[..., K]` that know its reward.

    Attributes:
        around, weight: `[..., K]`, the grid points around the next belief.
        belief: the next belief by the law that is believed in.
        believed, true: `[K, K]`, chance and new m of this case by either law.
        anywhere: whether the agent is put on a uniform cell.
    """

    around: NDArray[np.int64]
    weight: Array
    belief: Array
    believed: Array
    true: Array
    anywhere: bool


class _Laws:
    """The law that is believed in and the true one, and what they make of beliefs."""

    def __init__(self, p: CycleParameters, grid: SimplexGrid, believed: Array, true: Array):
        self.grid, same, q = grid, np.eye(p.goals), p.p_switch
        if p.announce:  # two cases, which can be told apart
            self.cases = [
                (same, (1 - q) * same, (1 - q) * same, False),
                (believed, q * believed, q * true, True),
            ]
        else:
            laws = [(1 - q) * same + q * law for law in (believed, true)]
            self.cases = [(laws[0], laws[0], laws[1], False)]

    def behind(self, known: Array) -> list[_Behind]:
        """All cases behind beliefs `[..., K]`."""
        behind = []
        for moves, believed, true, anywhere in self.cases:
            belief = known @ moves
            parts = self.grid.surround(belief)
            behind.append(_Behind(*parts, belief, believed, true, anywhere))
        return behind


def _planned(
    p: CycleParameters, goals: NDArray[np.int64], believed: Array, true: Array
) -> tuple[float, float]:
    """What a plan made for one law earns under another, and its upper bound under its own."""
    grid = SimplexGrid.with_points(p.goals, POINTS[p.goals])
    assert grid is not None
    laws = _Laws(p, grid, believed, true)
    points, pay = grid.points, _pay(p)
    paid, unpaid = laws.behind(np.eye(p.goals)), laws.behind(_without(points))
    nowhere = laws.behind(points)
    shape = (p.size**2, len(points))
    upper, own, earned = np.zeros(shape), np.zeros((*shape, p.goals)), np.zeros((*shape, p.goals))
    for _ in range(p.horizon):
        high = p.step_reward + _interpolated(upper, nowhere)
        plans = [p.step_reward + x for x in _followed(own, earned, nowhere)]
        for g, cell in enumerate(goals):
            row = slice(cell, cell + 1)
            if p.active_reward == p.inactive_reward:  # nothing is told here
                shift = p.active_reward - p.step_reward
                high[cell] += shift
                for plan in plans:
                    plan[cell] += shift
                continue
            yes = [_Behind(b.around[g], b.weight[g], b.belief[g], *_rest(b)) for b in paid]
            no = [_Behind(b.around[g], b.weight[g], b.belief[g], *_rest(b)) for b in unpaid]
            chance = points[:, g]
            high[cell] = chance * (p.active_reward + _interpolated(upper, yes, row)[0])
            high[cell] += (1 - chance) * (p.inactive_reward + _interpolated(upper, no, row)[0])
            for plan, sure, not_it in zip(
                plans,
                _followed(own, earned, yes, row),
                _followed(own, earned, no, row),
                strict=True,
            ):
                plan[cell] = pay[g] + not_it[0]
                plan[cell, :, g] = pay[g, g] + sure[0, ..., g]
        action = p.next[np.arange(p.size**2)[:, None], high[p.next].argmax(1)]
        each = np.arange(len(points))
        upper = high[action, each]
        own, earned = (plan[action, each] for plan in plans)
    start = np.full(p.goals, 1 / p.goals)
    around, weight = grid.surround(start)
    best = around[(own[:, around] @ start).mean(0).argmax()]
    return float((earned[:, best] @ start).mean()), float((upper[:, around] @ weight).mean())


def _rest(b: _Behind) -> tuple[Array, Array, bool]:
    return b.believed, b.true, b.anywhere


def _without(points: Array) -> Array:
    """`[K, P, K]`: each distribution without goal g; where nothing is left, as it was."""
    goals = points.shape[1]
    left = np.where(np.eye(goals, dtype=bool)[:, None], 0.0, points)
    total = left.sum(-1, keepdims=True)
    return np.where(total > 1e-12, left / np.maximum(total, 1e-12), points)


def _interpolated(upper: Array, cases: list[_Behind], rows: slice = slice(None)) -> Array:
    """Upper bound behind a step into the cells of `rows`, `[S', ...]`."""
    total: Any = 0.0
    for case in cases:
        near = upper.mean(0, keepdims=True) if case.anywhere else upper[rows]
        chance = case.believed.sum(1)[0]  # the same for all m
        total = total + chance * (near[:, case.around] * case.weight).sum(-1)
    count = len(range(*rows.indices(len(upper))))
    return np.array(np.broadcast_to(total, (count, *np.shape(total)[1:])))


def _followed(
    own: Array, earned: Array, cases: list[_Behind], rows: slice = slice(None)
) -> tuple[Array, Array]:
    """What the best plans around the new belief earn, by the law believed in and by the true one,
    `[S', ..., K]`; the plans are chosen by the former."""
    count = len(range(*rows.indices(len(own))))
    totals: list[Any] = [0.0, 0.0]
    for case in cases:
        here = slice(None) if case.anywhere else rows
        mine = own[here][:, case.around]  # [S'', ..., candidates, K]
        best = np.einsum("s...ck,...k->s...c", mine, case.belief).argmax(-1)[..., None, None]
        for i, (plans, law) in enumerate(((own, case.believed), (earned, case.true))):
            chosen = np.take_along_axis(plans[here][:, case.around], best, -2)[..., 0, :]
            if case.anywhere:
                chosen = chosen.mean(0, keepdims=True)
            totals[i] = totals[i] + chosen @ law.T
    shape = (count, *np.shape(totals[0])[1:])
    return tuple(np.array(np.broadcast_to(total, shape)) for total in totals)  # type: ignore[return-value]
