"""The parameters of the grid world, checked once, and the tables that follow from them."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.checks import check_distribution, check_flags, check_number, check_size
from ..core.sessions import Bernoulli, SessionProcess, session_process

Cell = tuple[int, int]
TRANSITION = ((0.2, 0.8), (0.8, 0.2))
MOVES = np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [0, 0]])
"""Change of (x, y) by action: right, down, left, up, stay. (0, 0) is the upper left corner."""


@dataclass(frozen=True)
class GridWorldParameters:
    """Everything that defines a grid world; `GridWorldEnv` explains each. Hashable.

    Make it with `GridWorldParameters.make`, which takes lists as well and checks them.
    """

    size: int
    horizon: int
    process: SessionProcess
    transition: tuple[tuple[float, float], tuple[float, float]]
    prior: tuple[float, float]
    stay: bool
    goals: tuple[Cell, Cell] | None
    start: Cell | None
    active_reward: float
    inactive_reward: float
    step_reward: float
    show_posterior: bool = False

    @classmethod
    def make(
        cls,
        size: int = 5,
        horizon: int = 60,
        p_switch: float = 0.07,
        session: SessionProcess | dict[str, Any] | None = None,
        transition: ArrayLike = TRANSITION,
        prior: ArrayLike = (0.5, 0.5),
        stay: bool = True,
        goals: Sequence[Sequence[int]] | None = None,
        start: Sequence[int] | None = None,
        active_reward: float = 1.0,
        inactive_reward: float = 0.0,
        step_reward: float = -0.1,
        show_posterior: bool = False,
        context_matters: bool = True,
    ) -> GridWorldParameters:
        """Check the arguments of `GridWorldEnv` and return them in one hashable form.

        Raises:
            ValueError: if one is out of its range; the message names it and its range.
        """
        check_size("GridWorld", "size", size, low=2, high=1000)
        check_size("GridWorld", "horizon", horizon)
        flags = {"stay": stay, "show_posterior": show_posterior}
        check_flags("GridWorld", **flags, context_matters=context_matters)
        check_number("GridWorld", "p_switch", p_switch, low=0.0, high=1.0)
        rewards = _rewards(active_reward, inactive_reward, step_reward, context_matters)
        matrix = _probabilities("transition", transition, (2, 2))
        process = Bernoulli(float(p_switch)) if session is None else session_process(session)
        if show_posterior and process.schedule(1) is None:
            raise ValueError(
                f"GridWorld: show_posterior is set, but {process} has a memory, so that no exact "
                "filter is known; use p_switch, or a fixed session length."
            )
        return cls(
            size=int(size),
            horizon=int(horizon),
            process=process,
            transition=(tuple(matrix[0].tolist()), tuple(matrix[1].tolist())),
            prior=tuple(_probabilities("prior", prior, (2,)).tolist()),
            stay=bool(stay),
            goals=_goals(goals, size),
            start=None if start is None else cell_of("GridWorld", "start", start, size),
            active_reward=rewards[0],
            inactive_reward=rewards[1],
            step_reward=rewards[2],
            show_posterior=bool(show_posterior),
        )

    @property
    def num_actions(self) -> int:
        """5 with the action to stay, else 4."""
        return 5 if self.stay else 4

    def index(self, cell: Cell) -> int:
        """Return the number of cell (x, y): y * size + x."""
        return cell[1] * self.size + cell[0]


def cell_positions(size: int) -> NDArray[np.int64]:
    """Return (x, y) of each cell, [size**2, 2]."""
    index = np.arange(size**2)
    return np.stack([index % size, index // size], 1)


def next_cells(size: int, stay: bool = True) -> NDArray[np.int64]:
    """Return the cell that each action leads to, [size**2, A]. Walls stop the agent."""
    moves = MOVES if stay else MOVES[:4]
    xy = np.clip(cell_positions(size)[:, None] + moves, 0, size - 1)
    return xy[..., 1] * size + xy[..., 0]


def _rewards(
    active: float, inactive: float, step: float, context_matters: bool
) -> tuple[float, float, float]:
    for name, value in (("active", active), ("inactive", inactive), ("step", step)):
        check_number("GridWorld", f"{name}_reward", value)
    if active == inactive and context_matters:
        raise ValueError(
            f"GridWorld: active_reward and inactive_reward are both {active}, so the context would "
            "mean nothing; give them different values, or set context_matters to False."
        )
    return float(active), float(inactive), float(step)


def _probabilities(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    rows = check_distribution("GridWorld", name, value)
    if rows.shape != shape:
        raise ValueError(f"GridWorld: {name} has shape {rows.shape}; give shape {shape}.")
    return rows


def _goals(goals: Sequence[Sequence[int]] | None, size: int) -> tuple[Cell, Cell] | None:
    if goals is None:
        return None
    if not hasattr(goals, "__len__") or len(goals) != 2:
        raise ValueError(f"GridWorld: goals is {goals!r}; give two (x, y) cells, or None.")
    first, second = (cell_of("GridWorld", "goals", goal, size) for goal in goals)
    if first == second:
        raise ValueError(f"GridWorld: both goals are on {first}; give two different cells.")
    return first, second


def cell_of(where: str, name: str, cell: Sequence[int], size: int) -> Cell:
    """Return `cell` as (x, y), or raise ValueError if it is none of a grid of this size."""
    try:
        x, y = cell
        whole = all(isinstance(v, numbers.Integral) and not isinstance(v, bool) for v in (x, y))
        x, y = (int(x), int(y)) if whole else (-1, -1)
    except (TypeError, ValueError):
        x, y = -1, -1
    if not (0 <= x < size and 0 <= y < size):
        raise ValueError(
            f"{where}: {name} holds {cell!r}, but a cell is (x, y) with both from 0 to {size - 1}."
        )
    return x, y
