"""The parameters of the static grid world, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.checks import MOST, check_flags, check_number, check_size
from .parameters import Cell, cell_of, cell_positions


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
        check_size(where, "size", size, low=3, high=1000)
        check_size(where, "inner_horizon", inner_horizon)
        check_size(where, "inner_episodes", inner_episodes, high=MOST // inner_horizon)
        check_flags(where, stay=stay)
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
