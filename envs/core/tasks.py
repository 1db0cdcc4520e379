"""Tasks that are held: which task each row of a vector environment plays, from a finite set.

A task is the row of uniforms from which a meta-episode's first hidden context (and what else makes
the task) is drawn; everything else of the meta-episode, such as where the agent starts, stays
random. A set of them is an array [count, width]; a task's id is its row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .streams import Stream

TASK = "task"
"""Key of a task's uniforms among reset options."""
TASK_ID = "task_id"
"""Key of the held task's id among the labels."""


def draw_tasks(count: int, width: int, stream: Stream) -> NDArray[np.float64]:
    """Return `count` tasks, uniforms [count, width], from the beginning of a stream of its own.

    Two streams that differ in seed, worker or evaluation give tasks that have nothing in common:
    one for training and one for testing.

    Args:
        count: how many, 1 or more.
        width: uniforms in a task, an environment's `task_width`.
        stream: where they come from.

    Raises:
        ValueError: if count or width is below 1.
    """
    if count < 1 or width < 1:
        raise ValueError(f"draw_tasks: count is {count} and width {width}; both must be 1 or more.")
    return stream.generator(0).random((count, width))


class Held:
    """Which task each of N rows plays from its next meta-episode on, and plays now.

    Args:
        tasks: uniforms in [0, 1), [count, width].
        ids: the tasks of the rows, [N] whole numbers.
        num_envs, width: N and the environment's `task_width`.

    Raises:
        ValueError: if they do not fit each other or the environment.
    """

    def __init__(self, tasks: ArrayLike, ids: ArrayLike, num_envs: int, width: int):
        self.tasks, self.ids = np.array(tasks, np.float64), np.array(ids)
        if self.tasks.ndim != 2 or self.tasks.shape[1] != width:
            raise ValueError(
                f"hold_tasks: tasks have shape {self.tasks.shape}; give [count, {width}], for "
                "example from draw_tasks."
            )
        if not ((self.tasks >= 0.0) & (self.tasks < 1.0)).all():
            raise ValueError("hold_tasks: tasks are uniforms in [0, 1); some are not.")
        if self.ids.shape != (num_envs,) or self.ids.dtype.kind not in "iu":
            raise ValueError(
                f"hold_tasks: ids have shape {self.ids.shape} and type {self.ids.dtype}; give "
                f"{num_envs} whole numbers, one for each row."
            )
        if ((self.ids < 0) | (self.ids >= len(self.tasks))).any():
            raise ValueError(f"hold_tasks: ids must be 0 to {len(self.tasks) - 1}; some are not.")
        self.ids = self.ids.astype(np.int64)

    def uniforms(self, rows: Any) -> NDArray[np.float64]:
        """Return the uniforms of the tasks of `rows`, [R, width], or [width] for one row."""
        return self.tasks[self.ids[rows]]


def held_tasks(env: Any, tasks: ArrayLike | None, ids: ArrayLike) -> Held | None:
    """Return the tasks that a vector environment is to hold; None to draw new ones.

    Raises:
        ValueError: if they do not fit the environment, or it has none that can be held.
    """
    if tasks is None:
        return None
    if not env.task_width:
        raise ValueError(
            f"hold_tasks: {type(env.unwrapped).__name__} has no tasks that can be held; give the "
            "environment an attribute task_width and let its reset take options['task']."
        )
    return Held(tasks, ids, env.num_envs, env.task_width)
