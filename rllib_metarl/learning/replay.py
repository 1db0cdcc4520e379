"""Replay by task: transitions as arrays, one ring for each task, part of the checkpoint."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_metarl.errors import UserError

logger = logging.getLogger("rllib_metarl")

Rows = NDArray[np.float32]
MOST_OF_MEMORY = 0.8
"""How much of the machine's free memory a replay may take."""


class TaskRings:
    """The newest `capacity` transitions of each task, rows of `width` numbers.

    Args:
        tasks: how many. capacity: transitions of each. width: numbers of a transition.
    """

    def __init__(self, tasks: int, capacity: int, width: int) -> None:
        self.capacity = capacity
        self._rows = np.zeros((tasks, capacity, width), np.float32)  # not touched before it is used
        self.sizes, self._next = np.zeros((2, tasks), np.int64)

    def add(self, task: int, rows: Rows) -> None:
        """Adds transitions `[n, width]` of a task; its oldest leave where it is full."""
        rows = rows[-self.capacity :]
        slots = (self._next[task] + np.arange(len(rows))) % self.capacity
        self._rows[task, slots] = rows
        self._next[task] = (self._next[task] + len(rows)) % self.capacity
        self.sizes[task] = min(self.sizes[task] + len(rows), self.capacity)

    def clear(self, task: int) -> None:
        """Forgets a task's transitions."""
        self.sizes[task] = self._next[task] = 0

    def sample(self, tasks: NDArray[np.int64], count: int, rng: np.random.Generator) -> Rows:
        """Draws `[len(tasks), count, width]` uniformly, with replacement.

        Raises:
            UserError: a task has no transitions.
        """
        sizes = self.sizes[tasks]
        if not sizes.all():
            raise UserError(
                f"task {int(tasks[sizes == 0][0])} has no transitions in the replay: let each task "
                "be played before its transitions are sampled."
            )
        index = (rng.random((len(tasks), count)) * sizes[:, None]).astype(np.int64)
        sampled: Rows = self._rows[tasks[:, None], index]
        return sampled

    def get_state(self) -> dict[str, Any]:
        """What is filled, for checkpoints."""
        filled = [self._rows[task, :size] for task, size in enumerate(self.sizes)]
        rows = np.concatenate(filled) if filled else self._rows[:0, 0]
        return {"rows": rows, "sizes": self.sizes.copy(), "next": self._next.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores `get_state()`.

        Raises:
            UserError: it is of another number of tasks, or of larger rings.
        """
        sizes = np.asarray(state["sizes"])
        if len(sizes) != len(self.sizes) or sizes.max(initial=0) > self.capacity:
            raise UserError(
                f"the checkpoint's replay has {len(sizes)} tasks of up to {sizes.max(initial=0)} "
                f"transitions, this run {len(self.sizes)} of {self.capacity}: go on with the "
                "number of tasks and the capacity that it was trained with."
            )
        self.sizes, self._next = sizes.astype(np.int64), np.array(state["next"], np.int64)
        parts = np.split(np.asarray(state["rows"], np.float32), np.cumsum(sizes)[:-1])
        for task, rows in enumerate(parts):
            self._rows[task, : len(rows)] = rows


class TaskReplay:
    """Two rings a task: what critics and policy learn from, and the recent context of the encoder.

    Args:
        tasks: how many.
        capacity, context_capacity: transitions of each, in the two rings.
        widths: name -> width of each column of a transition, in their order.
        seed: of the stream that samples are drawn from.

    Raises:
        UserError: it would be larger than the machine's free memory.
    """

    def __init__(
        self,
        tasks: int,
        capacity: int,
        context_capacity: int,
        widths: dict[str, int],
        seed: int = 0,
    ) -> None:
        self._widths, width = dict(widths), sum(widths.values())
        check_memory(tasks, capacity + context_capacity, width)
        self.learnt = TaskRings(tasks, capacity, width)
        self.context = TaskRings(tasks, context_capacity, width)
        self._rng = np.random.default_rng(seed)

    def add(self, task: int, columns: dict[str, Any], in_context: NDArray[np.bool_]) -> None:
        """Adds n transitions of a task.

        Args:
            task: its id.
            columns: name -> `[n, width]`.
            in_context: `[n]`, which of them the encoder may see, too.

        Raises:
            UserError: a number is NaN or infinite.
        """
        rows = np.concatenate([np.asarray(columns[name], np.float32) for name in self._widths], 1)
        if not np.isfinite(rows).all():
            bad = [name for name in self._widths if not np.isfinite(columns[name]).all()]
            raise UserError(
                f"the replay was given a transition of task {task} whose {bad[0]} is NaN or "
                "infinite: fix the env (bound its state, clip its reward)."
            )
        self.learnt.add(task, rows)
        self.context.add(task, rows[in_context])

    def playable(self) -> NDArray[np.int64]:
        """The ids of the tasks that have transitions in both rings."""
        return np.flatnonzero((self.learnt.sizes > 0) & (self.context.sizes > 0))

    def tasks(self, count: int) -> NDArray[np.int64]:
        """Draws the ids of `count` tasks that can be learnt from, none twice if there are enough.

        Raises:
            UserError: there are none.
        """
        ids = self.playable()
        if not len(ids):
            raise UserError("the replay is empty: let tasks be played before it is sampled from.")
        return self._rng.choice(ids, count, replace=count > len(ids))

    def sample(self, tasks: NDArray[np.int64], count: int) -> dict[str, Rows]:
        """Columns `[len(tasks), count, width]` of what critics and policy learn from.

        Raises:
            UserError: a task has no transitions.
        """
        return self._columns(self.learnt.sample(tasks, count, self._rng))

    def sample_context(self, tasks: NDArray[np.int64], count: int) -> dict[str, Rows]:
        """Columns `[len(tasks), count, width]` of recent context.

        Raises:
            UserError: a task has no transitions.
        """
        return self._columns(self.context.sample(tasks, count, self._rng))

    def _columns(self, rows: Rows) -> dict[str, Rows]:
        ends = np.cumsum(list(self._widths.values()))[:-1]
        return dict(zip(self._widths, np.split(rows, ends, -1), strict=True))

    def get_state(self) -> dict[str, Any]:
        """All of it, with the stream that samples are drawn from, for checkpoints."""
        return {
            "learnt": self.learnt.get_state(),
            "context": self.context.get_state(),
            "rng": self._rng.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores `get_state()`.

        Raises:
            UserError: it is of another number of tasks, or of larger rings.
        """
        self.learnt.set_state(state["learnt"])
        self.context.set_state(state["context"])
        self._rng.bit_generator.state = state["rng"]


def check_memory(tasks: int, transitions: int, width: int) -> None:
    """Logs how much memory a replay takes when it is full, and makes sure that there is as much.

    Args:
        tasks: how many. transitions: of each. width: numbers of a transition.

    Raises:
        UserError: there is not.
    """
    size, free = 4 * tasks * transitions * width, _free_memory()
    told = f"{tasks} tasks x {transitions:,} transitions x {width} numbers = {_mib(size)}"
    if free is not None and size > MOST_OF_MEMORY * free:
        raise UserError(
            f"the replay would take more memory than there is: {told}, and {_mib(free)} are free. "
            "Lower replay_capacity, context_capacity or train_tasks."
        )
    logger.info("replay: at most %s", told)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _free_memory() -> int | None:
    """Bytes that can be taken without swapping; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None
