"""Exact expected returns of reference policies in the grid world, by dynamic programming.

A reward on a goal cell reveals the context and no other cell tells anything. So what an agent can
know is (which goal was active when last seen, and when), and the Bayes-optimal value is computed
exactly on (cell, that), for all pairs of goals at once. Values are undiscounted and averaged over
goals and starts where these are random.

Letters: S cells, A actions, G goal pairs, K beliefs, T the horizon; ``value[s, g, ...]`` is the
expected return from cell s to the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.notify import check_level
from ..core.sessions import SessionProcess
from .parameters import TRANSITION, Cell, GridWorldParameters, next_cells

Array = NDArray[np.float64]
MOST_VALUES = 3_000_000_000
"""Values of cells, goal pairs, beliefs and steps that are computed at most: half a minute."""
_NUMBERS_AT_ONCE = 4_000_000  # of the largest array; more goal pairs are taken in turns


def reference_returns(
    size: int = 5,
    goals: Sequence[Cell] | None = None,
    start: Cell | None = None,
    horizon: int = 60,
    p_switch: float = 0.07,
    transition: ArrayLike = TRANSITION,
    stay: bool = True,
    prior: ArrayLike = (0.5, 0.5),
    session: SessionProcess | dict[str, Any] | None = None,
    active_reward: float = 1.0,
    inactive_reward: float = 0.0,
    step_reward: float = -0.1,
    notify: str = "none",
) -> dict[str, float]:
    """Return the expected returns of four policies; parameters as in `GridWorldEnv`.

    Returns:
        ``random``: actions uniform; ``blind``: the best policy that knows all parameters and the
        goals but takes no notice of rewards; ``bayes``: the best policy there is, which uses all
        that it sees and is told; ``oracle``: the best policy that is told the active goal before
        each step. The default grid has -3.12, 29.20, 46.15 and 50.79; with `notify`, of which
        ``random`` and ``blind`` take no notice, ``bayes`` is 48.30 (switched) and 50.79 (context).

    Raises:
        ValueError: if a parameter is out of range, or the values are not known exactly: the session
            process has a memory (lengths that are random and not geometric), or there are more
            than `MOST_VALUES`.
    """
    parameters = GridWorldParameters.make(
        size=size,
        horizon=horizon,
        p_switch=p_switch,
        session=session,
        transition=transition,
        prior=prior,
        stay=stay,
        goals=goals,
        start=start,
        active_reward=active_reward,
        inactive_reward=inactive_reward,
        step_reward=step_reward,
    )
    references = references_of(parameters, check_level("reference_returns", notify))
    if references is None and _are_too_many(parameters):
        raise ValueError(
            f"reference_returns: size {size} with horizon {horizon} has more than {MOST_VALUES:,} "
            "values; give goals and start, or a smaller grid."
        )
    if references is None:
        raise ValueError(
            f"reference_returns: {parameters.process} has a memory; exact references exist for "
            "Bernoulli, fixed or no switches only."
        )
    return references


def references_of(parameters: GridWorldParameters, notify: str = "none") -> dict[str, float] | None:
    """Return the references of a grid world, or None where they are not known exactly."""
    if parameters.process.schedule(parameters.horizon) is None or _are_too_many(parameters):
        return None
    returns = dict(_references(parameters))
    if notify == "context":
        returns["bayes"] = returns["oracle"]
    elif notify == "switched":
        returns["bayes"] = _switched_reference(parameters)
    return returns


def blind_value(parameters: GridWorldParameters, marginal: Array) -> float:
    """Return the best expected return without regard to rewards, for a given P(m_t), [T, 2]."""
    pairs, weights = goal_pairs(parameters)
    world = _World(parameters, pairs)
    world.marginal = marginal
    return float(world.from_start(_unseeing_value(world, np.max)) @ weights)


def _are_too_many(p: GridWorldParameters) -> bool:
    """Whether the exact values would take too long."""
    cells = p.size**2
    pairs = 1 if p.goals is not None else cells * (cells - 1)
    if p.goals is None and p.start is None:
        pairs //= 8  # symmetries of the grid
    return pairs * cells * (1 + 2 * p.horizon) * p.horizon > MOST_VALUES


@lru_cache(maxsize=128)
def _references(parameters: GridWorldParameters) -> tuple[tuple[str, float], ...]:
    totals = dict.fromkeys(("random", "blind", "bayes", "oracle"), 0.0)
    for world, weights in _worlds(parameters, 1 + 2 * parameters.horizon):
        for name, value in _values(world).items():
            totals[name] += float(value @ weights)
    return tuple(totals.items())


@lru_cache(maxsize=128)
def _switched_reference(parameters: GridWorldParameters) -> float:
    """The best expected return of who is told of each switch."""
    worlds = _worlds(parameters, 3 * (1 + parameters.horizon))
    return sum(
        float(world.from_start(_switched_value(world)) @ weights) for world, weights in worlds
    )


def _worlds(parameters: GridWorldParameters, beliefs: int) -> Iterator[tuple[_World, Array]]:
    """The goal pairs in turns, where each has so many beliefs, and their weights."""
    pairs, weights = goal_pairs(parameters)
    chunk = max(1, _NUMBERS_AT_ONCE // (parameters.size**2 * beliefs))
    for first in range(0, len(weights), chunk):
        part = slice(first, first + chunk)
        yield _World(parameters, pairs[:, part]), weights[part]


def _values(world: _World) -> dict[str, Array]:
    """The policies' values for each pair of goals, [G], averaged over starts."""
    return {
        "random": world.from_start(_unseeing_value(world, np.mean)),
        "blind": world.from_start(_unseeing_value(world, np.max)),
        "bayes": world.from_start(_bayes_value(world)),
        "oracle": world.from_start(_oracle_value(world)),
    }


def goal_pairs(p: GridWorldParameters) -> tuple[NDArray[np.int64], Array]:
    """Goal pairs [2, G] that stand for all ordered pairs, and their weights [G], which sum to 1.

    Two pairs have equal values if a symmetry of the grid that keeps the start's distribution maps
    one to the other, or if they are each other's reverse and the two contexts' roles are alike.
    """
    if p.goals is not None:
        return np.array([[p.index(goal)] for goal in p.goals]), np.ones(1)
    cells = p.size**2
    first, second = np.divmod(np.arange(cells**2), cells)
    first, second = first[first != second], second[first != second]
    maps = symmetries(p.size)
    if p.start is not None:
        maps = maps[maps[:, p.index(p.start)] == p.index(p.start)]
    codes = maps[:, first] * cells + maps[:, second]
    if p.prior[0] == p.prior[1] and p.transition[0] == p.transition[1][::-1]:
        codes = np.concatenate([codes, maps[:, second] * cells + maps[:, first]])
    chosen, counts = np.unique(codes.min(0), return_counts=True)
    return np.stack(np.divmod(chosen, cells)), counts / counts.sum()


def symmetries(size: int) -> NDArray[np.int64]:
    """Return the eight rotations and reflections of the square as maps of cell numbers, [8, S]."""
    grid = np.arange(size**2).reshape(size, size)
    turns = [np.rot90(grid, k) for k in range(4)]
    return np.stack([m.ravel() for turn in turns for m in (turn, turn.T)])


class _World:
    """What the recursions share.

    Attributes:
        goal: [2, G], the cells of goal 0 and goal 1 of each pair.
        next: [S, A], where each action leads.
        matrix: [T, 2, 2], the context's law from transition t to t + 1, switch or not.
        marginal: [T, 2], P(m_t) given nothing.
        pay: [2, 2], reward on goal i (row) when m (column).
    """

    def __init__(self, parameters: GridWorldParameters, goal: NDArray[np.int64]):
        p = self.parameters = parameters
        self.cells = p.size**2
        self.goal = goal
        self.pairs = np.arange(self.goal.shape[1])
        self.next = next_cells(p.size, p.stay)
        schedule = p.process.schedule(p.horizon)
        assert schedule is not None
        change, same = np.array(p.transition), np.eye(2)
        self.matrix = same + schedule[:, None, None] * (change - same)
        self.marginal = np.empty((p.horizon, 2))
        self.marginal[0] = p.prior
        for t in range(1, p.horizon):
            self.marginal[t] = self.marginal[t - 1] @ self.matrix[t - 1]
        off = p.active_reward - p.inactive_reward
        self.pay = p.inactive_reward + off * np.eye(2)

    def from_start(self, value: Array) -> Array:
        """Average ``value[s, g]`` over the starts, [G]."""
        p = self.parameters
        result: Array = value.mean(0) if p.start is None else value[p.index(p.start)]
        return result

    def best(self, entering: Array) -> Array:
        """Max over actions of the value of entering a cell, [S, ...] -> [S, ...]."""
        result = entering[self.next[:, 0]]
        for action in range(1, self.next.shape[1]):
            np.maximum(result, entering[self.next[:, action]], out=result)
        return result


def _unseeing_value(world: _World, choose: Any) -> Array:
    """Value [S, G] of acting without regard to rewards, at random (mean) or at best (max).

    V_t(s) = choose_a { E[r(s')] + V_{t+1}(s') }, the expectation under P(m_t) given nothing.
    """
    value = np.zeros((world.cells, len(world.pairs)))
    for t in reversed(range(world.parameters.horizon)):
        entering = value + world.parameters.step_reward
        for i in range(2):
            at = world.goal[i], world.pairs
            entering[at] = value[at] + world.pay[i] @ world.marginal[t]
        value = choose(entering[world.next], axis=1)
    return value


def _oracle_value(world: _World) -> Array:
    """Value [S, G] of the best policy given m_t before each step.

    V_t(s, m) = max_a { r(s', m) + sum_m' P_t(m' | m) V_{t+1}(s', m') }.
    """
    p = world.parameters
    value = np.zeros((world.cells, len(world.pairs), 2))
    for t in reversed(range(p.horizon)):
        entering = value @ world.matrix[t].T
        reward = np.full(entering.shape, p.step_reward)
        for i in range(2):
            reward[world.goal[i], world.pairs] = world.pay[i]
        value = world.best(entering + reward)
    result: Array = value @ np.array(p.prior)
    return result


def _bayes_value(world: _World) -> Array:
    """Value [S, G] of the best policy that knows what it has seen.

    Beliefs k: 0, nothing seen yet; 1 + 2 s + m, goal m was active in transition s, the last one on
    a goal. Until the next sight the index stays and the belief follows the chain:
    W_t(s', k) = r + V_{t+1}(s', k) off the goals, and on goal i
    sum_m b_t(k)[m] (pay[i, m] + V_{t+1}(s', 1 + 2 t + m)).
    """
    p = world.parameters
    beliefs = _beliefs(world)
    value = np.zeros((world.cells, len(world.pairs), 1 + 2 * p.horizon))
    for t in reversed(range(p.horizon)):
        known = 1 + 2 * t  # beliefs that are possible before transition t
        entering = value[..., :known] + p.step_reward
        for i in range(2):
            at = world.goal[i], world.pairs
            seen = world.pay[i] + value[at][:, known : known + 2]
            entering[at] = seen @ beliefs[t, :known].T
        value = world.best(entering)
    return value[..., 0]


def _switched_value(world: _World) -> Array:
    """Value [S, G] of the best policy that knows what it has seen and is told of each switch.

    Beliefs (c, j): goal c was active when last seen (2: none has been), j switches ago. With h_t
    the probability of a switch, V'_t(s, c, j) = (1 - h_t) V_{t+1}(s, c, j) + h_t V_{t+1}(s, c, j+1)
    and W_t(s', c, j) = r + V'_t(s', c, j) off the goals, on goal i
    sum_m b(c, j)[m] (pay[i, m] + V'_t(s', m, 0)).
    """
    p = world.parameters
    change, hazard = np.array(p.transition), p.process.schedule(p.horizon)
    assert hazard is not None
    powers = [np.vstack([np.eye(2), p.prior])]
    for _ in range(p.horizon):
        powers.append(powers[-1] @ change)
    beliefs = np.stack(powers, 1)  # [c, j, m]
    value = np.zeros((world.cells, len(world.pairs), 3, p.horizon + 1))
    for t in reversed(range(p.horizon)):
        expected = (1 - hazard[t]) * value[..., : t + 1] + hazard[t] * value[..., 1 : t + 2]
        entering = expected + p.step_reward
        for i in range(2):
            at = world.goal[i], world.pairs
            seen = world.pay[i] + expected[at][:, :2, 0]
            entering[at] = np.einsum("gm,cjm->gcj", seen, beliefs[:, : t + 1])
        value = world.best(entering)
    return value[..., 2, 0]


def _beliefs(world: _World) -> Array:
    """P(m_t) for each belief index, [T, 1 + 2 T, 2]; rows not yet possible at t are zero."""
    horizon = world.parameters.horizon
    beliefs = np.zeros((horizon, 1 + 2 * horizon, 2))
    beliefs[:, 0] = world.marginal
    for t in range(1, horizon):
        seen = 1 + 2 * (t - 1)
        beliefs[t, 1:seen] = beliefs[t - 1, 1:seen] @ world.matrix[t - 1]
        beliefs[t, seen : seen + 2] = world.matrix[t - 1]
    return beliefs
