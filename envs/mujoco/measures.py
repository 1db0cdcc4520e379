"""Tasks whose success is not their return: measures of it, given with `info`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .simulator import MujocoSimulator
from .task import Array, State, Task
from .trial import Moved, Trial

Measure = Callable[[State, Array], dict[str, Array]]


class MeasuredSimulator(MujocoSimulator):
    """N environments of one task whose labels have measures as well.

    The measures that come with an observation are those of the state that the step led to, under
    the context of that step. Where the step ended an inner episode this is the last state of that
    one, not the first of the next: what they say in the last step of an inner episode is final. The
    measures that come with a meta-episode's first observation are those of its first state.

    Args:
        num_envs: N.
        task: what there is to do.
        trial: length and sessions.
        threads: how many threads share the rows of one step.
        measure: (state, contexts [N, C]) -> name -> [N], a module-level function.
    """

    def __init__(
        self, num_envs: int, task: Task, trial: Trial, threads: int, measure: Measure
    ) -> None:
        super().__init__(num_envs, task, trial, threads)
        self._measure = measure
        self._measured = measure(self._state, self._active)

    def begin(self, rows: NDArray[np.int64], uniforms: Array) -> None:
        super().begin(rows, uniforms)
        for name, values in self._measure(self._state, self._active).items():
            self._measured[name][rows] = values[rows]

    def _move(self, actions: Array) -> Moved:
        moved = super()._move(actions)
        self._measured = self._measure(self._state, self._active)
        return moved

    def under_way(self) -> dict[str, Any]:
        measured = {name: values.copy() for name, values in self._measured.items()}
        return super().under_way() | {"measured": measured}

    def set_under_way(self, state: dict[str, Any]) -> None:
        own = dict(state)
        self._measured = {name: np.array(v) for name, v in own.pop("measured").items()}
        super().set_under_way(own)

    def labels(self) -> dict[str, NDArray[Any]]:
        measured = {name: values.copy() for name, values in self._measured.items()}
        return {**super().labels(), **measured}
