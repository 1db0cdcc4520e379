"""The parameters of the grid world whose goals pay in a cycle, checked once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_flags, check_number, check_size
from ..core.sessions import Bernoulli
from .parameters import Cell, cell_of, next_cells

CELLS: tuple[Cell, ...] = ((2, 0), (4, 2), (2, 4), (0, 2))
"""The middles of a 5 x 5 grid's edges: any two are four steps apart."""
WHERE = "GridWorldCycle"


@dataclass(frozen=True)
class CycleParameters:
    """Everything that defines it; `GridWorldCycleEnv` explains each. Hashable.

    Make it with `CycleParameters.make`, which takes lists as well and checks them.
    """

    size: int
    horizon: int
    p_switch: float
    cells: tuple[Cell, ...]
    shuffle: bool
    announce: bool
    active_reward: float
    inactive_reward: float
    step_reward: float

    @classmethod
    def make(
        cls,
        size: int = 5,
        horizon: int = 60,
        p_switch: float = 0.07,
        cells: Sequence[Sequence[int]] = CELLS,
        shuffle: bool = True,
        announce: bool = False,
        active_reward: float = 1.0,
        inactive_reward: float = 0.0,
        step_reward: float = -0.1,
    ) -> CycleParameters:
        """Check the arguments of `GridWorldCycleEnv` and return them in one hashable form.

        Raises:
            ValueError: if one is out of its range; the message names it and its range.
        """
        check_size(WHERE, "size", size, low=2, high=1000)
        check_size(WHERE, "horizon", horizon)
        check_number(WHERE, "p_switch", p_switch, low=0.0, high=1.0)
        check_flags(WHERE, shuffle=shuffle, announce=announce)
        rewards = {"active": active_reward, "inactive": inactive_reward, "step": step_reward}
        for name, value in rewards.items():
            check_number(WHERE, f"{name}_reward", value)
        return cls(
            size=int(size),
            horizon=int(horizon),
            p_switch=float(p_switch),
            cells=_cells(cells, size),
            shuffle=bool(shuffle),
            announce=bool(announce),
            active_reward=float(active_reward),
            inactive_reward=float(inactive_reward),
            step_reward=float(step_reward),
        )

    @property
    def goals(self) -> int:
        """K, how many goals there are."""
        return len(self.cells)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The cells' numbers, y * size + x, [K]."""
        return np.array([y * self.size + x for x, y in self.cells])

    @property
    def process(self) -> Bernoulli:
        """When sessions end."""
        return Bernoulli(self.p_switch)

    @property
    def transition(self) -> NDArray[np.float64]:
        """T_m [K, K]: goal m is followed by goal m + 1, the last one by the first."""
        return np.roll(np.eye(self.goals), 1, axis=1)

    @property
    def next(self) -> NDArray[np.int64]:
        """The cell that each action leads to, [size**2, 5]."""
        return next_cells(self.size)

    def orders(self) -> NDArray[np.int64]:
        """Which cell each goal can be on, every order once, [orders, K]."""
        chosen = list(itertools.permutations(range(self.goals))) if self.shuffle else [self.cells]
        return np.array(chosen) if self.shuffle else np.arange(self.goals)[None]


def _cells(cells: Sequence[Sequence[int]], size: int) -> tuple[Cell, ...]:
    if not hasattr(cells, "__len__") or not 3 <= len(cells) <= 6:
        raise ValueError(f"{WHERE}: cells is {cells!r}; give three to six (x, y) cells.")
    checked = tuple(cell_of(WHERE, "cells", cell, size) for cell in cells)
    if len(set(checked)) < len(checked):
        raise ValueError(f"{WHERE}: cells is {cells!r}; give different cells.")
    return checked
