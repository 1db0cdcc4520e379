"""The parameters of the family of grid worlds, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.arguments import takes
from ..core.checks import check_number
from ..core.sessions import Bernoulli
from .parameters import GridWorldParameters

Member = tuple[float, float, float]
"""One law of the context: (p_switch, T(1 | 0), T(0 | 1))."""

MEMBERS: tuple[Member, ...] = (
    (0.05, 0.2, 0.8),
    (0.05, 0.8, 0.2),
    (0.5, 0.2, 0.8),
    (0.5, 0.8, 0.2),
)
"""Rare or frequent changes, of which four in five are to goal 0 or four in five to goal 1."""


@dataclass(frozen=True)
class FamilyParameters:
    """Everything that defines a family; `GridWorldFamilyEnv` explains each. Hashable.

    Attributes:
        grid: what all members share; its process and transition are those of the first member.
        members: the laws of the context, equally likely.
    """

    grid: GridWorldParameters
    members: tuple[Member, ...]

    @classmethod
    @takes(GridWorldParameters.make, without=("p_switch", "session", "transition"))
    def make(cls, members: Sequence[Sequence[float]] = MEMBERS, **grid: Any) -> FamilyParameters:
        """Check the arguments of `GridWorldFamilyEnv` and return them in one hashable form.

        Raises:
            ValueError: if one is out of its range; the message names it and its range.
        """
        checked = _members(members)
        first = GridWorldParameters.make(
            p_switch=checked[0][0], transition=_transition(checked[0]), **grid
        )
        return cls(first, checked)

    def worlds(self) -> list[GridWorldParameters]:
        """Return the parameters of each member alone."""
        shared = vars(self.grid) | {"show_posterior": False}
        return [
            GridWorldParameters(
                **shared | {"process": Bernoulli(member[0]), "transition": _transition(member)}
            )
            for member in self.members
        ]


def step_matrices(members: Sequence[Member]) -> NDArray[np.float64]:
    """Return P(m_{t+1} | m_t) of each of n members, switch or not: (1 - p) I + p T, [n, 2, 2]."""
    p = np.array([member[0] for member in members])[:, None, None]
    return (1 - p) * np.eye(2) + p * np.array([_transition(member) for member in members])


def _transition(member: Member) -> tuple[tuple[float, float], tuple[float, float]]:
    _, to_second, to_first = member
    return (1 - to_second, to_second), (to_first, 1 - to_first)


def _members(members: Sequence[Sequence[float]]) -> tuple[Member, ...]:
    if not hasattr(members, "__len__") or not len(members):
        raise ValueError(
            f"GridWorldFamily: members is {members!r}; give one or more (p_switch, T(1|0), T(0|1))."
        )
    checked = []
    for index, member in enumerate(members):
        if not hasattr(member, "__len__") or len(member) != 3:
            raise ValueError(
                f"GridWorldFamily: members[{index}] is {member!r}; give three probabilities "
                "(p_switch, T(1|0), T(0|1))."
            )
        for name, value in zip(("p_switch", "T(1|0)", "T(0|1)"), member, strict=True):
            check_number("GridWorldFamily", f"{name} of members[{index}]", value, 0.0, 1.0)
        checked.append((float(member[0]), float(member[1]), float(member[2])))
    return tuple(checked)
