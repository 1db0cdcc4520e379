"""Parameters of the static grid world, and exact expected returns of reference policies in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .core.checks import check_number
from .gridworld_parameters import Cell, cell_of, cell_positions, next_cells


@dataclass(frozen=True)
class StaticParameters:
    """Everything that defines a static grid world; `StaticGridWorldEnv` explains each. Hashable."""

    size: int
    inner_horizon: int
    inner_episodes: int
    stay: bool
    start: Cell
    goal: Cell | None
    goal_reward: float
    step_reward: float

    @classmethod
    def make(
        cls,
        size: int = 5,
        inner_horizon: int = 15,
        inner_episodes: int = 4,
        stay: bool = True,
        start: Sequence[int] = (0, 0),
        goal: Sequence[int] | None = None,
        goal_reward: float = 1.0,
        step_reward: float = -0.1,
    ) -> StaticParameters:
        """Check the arguments of `StaticGridWorldEnv`; ValueError names the one out of range."""
        where = "VariBAD/GridWorld"
        check_number(where, "size", size, low=3, integer=True)
        check_number(where, "inner_horizon", inner_horizon, low=1, integer=True)
        check_number(where, "inner_episodes", inner_episodes, low=1, integer=True)
        check_number(where, "goal_reward", goal_reward)
        check_number(where, "step_reward", step_reward)
        return cls(
            size=int(size),
            inner_horizon=int(inner_horizon),
            inner_episodes=int(inner_episodes),
            stay=bool(stay),
            start=cell_of(where, "start", start, size),
            goal=None if goal is None else cell_of(where, "goal", goal, size),
            goal_reward=float(goal_reward),
            step_reward=float(step_reward),
        )

    @property
    def num_actions(self) -> int:
        """5 with the action to stay, else 4."""
        return 5 if self.stay else 4

    @property
    def start_index(self) -> int:
        """The start's cell number, y * size + x."""
        return self.start[1] * self.size + self.start[0]

    @property
    def goal_cells(self) -> tuple[int, ...]:
        """Numbers of the cells on which the goal can be, each equally likely."""
        if self.goal is not None:
            return (self.goal[1] * self.size + self.goal[0],)
        away = np.abs(cell_positions(self.size) - self.start).max(1) > 1
        return tuple(np.flatnonzero(away).tolist())


def references_of(parameters: StaticParameters) -> dict[str, float]:
    """Return the expected returns, undiscounted, of a whole trial for three policies.

    ``random``: actions uniform; ``blind``: the best policy that knows the prior but takes no notice
    of rewards; ``oracle``: the best policy that is told the goal. The Bayes-optimal value would
    need a search over all sets of cells already ruled out, and is left out.
    """
    return dict(_references(parameters))


@lru_cache(maxsize=128)
def _references(parameters: StaticParameters) -> tuple[tuple[str, float], ...]:
    p = parameters
    goals = np.array(p.goal_cells)
    pay = np.full((p.size**2, len(goals)), p.step_reward)
    pay[goals, np.arange(len(goals))] = p.goal_reward
    inner = {
        "random": _value(p, pay.mean(1, keepdims=True), np.mean),
        "blind": _value(p, pay.mean(1, keepdims=True), np.max),
        "oracle": _value(p, pay, np.max),
    }
    return tuple((name, p.inner_episodes * value) for name, value in inner.items())


def _value(p: StaticParameters, pay: NDArray[np.float64], choose: Any) -> float:
    """Mean over columns of one inner episode's value for rewards `pay` [S, G] of entering a cell.

    V_t(s) = choose_a { pay(s') + V_{t+1}(s') }. All inner episodes are alike: each begins at the
    start, and none of these policies learns anything.
    """
    value = np.zeros(pay.shape)
    following = next_cells(p.size, p.stay)
    for _ in range(p.inner_horizon):
        value = choose((pay + value)[following], axis=1)
    return float(value[p.start_index].mean())
