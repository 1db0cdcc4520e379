"""Transitions by task: what IIDA's context encoder is learnt from, and how batches are drawn."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_metarl.errors import UserError
from rllib_metarl.reading import parse_json, read_arrays
from rllib_metarl.recording import Recording

_ROWS = ("observation", "action", "next_observation")
_ARRAYS = (*_ROWS, "begin", "episode")
_OLD_NAMES = {"following": "next_observation"}  # as older files have it


@dataclass(frozen=True)
class Transitions:
    """K transitions of M tasks, those of a task one behind the other. A task is one session.

    observation and next_observation `[K, O]`, action `[K, A]` (as encoders take it); begin
    `[M + 1]` int64: task m has the rows begin[m] to begin[m + 1]; episode `[M]` int64: the
    meta-episode that it is from; context `[M, C]`, or None where the env gives none.
    about: where they are from, plain data.
    """

    observation: Tensor
    action: Tensor
    next_observation: Tensor
    begin: Tensor
    episode: Tensor
    context: Tensor | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def lengths(self) -> Tensor:
        """`[M]` transitions of each task."""
        return self.begin.diff()

    @property
    def tasks(self) -> int:
        """M."""
        return len(self.begin) - 1

    def groups(self) -> Tensor:
        """`[M]` int64: one number for all tasks of a context; of an episode, where none is given.

        What is held out is held out by group.
        """
        of = self.episode if self.context is None else self.context
        return torch.unique(of, dim=0, return_inverse=True)[1]


@dataclass(frozen=True)
class TaskBatch:
    """Of each of M tasks: support transitions that tell the context, and query ones to predict.

    `[M, K, ...]` and `[M, J, ...]`, with masks `[M, K]` and `[M, J]` of those that are there;
    task `[M]`: which ones.
    """

    support: tuple[Tensor, Tensor, Tensor]
    support_mask: Tensor
    query: tuple[Tensor, Tensor, Tensor]
    query_mask: Tensor
    task: Tensor

    def named(self) -> dict[str, Tensor]:
        """All of its tensors by name, shapes as above."""
        names = ("observation", "action", "next_observation")
        support = {f"support_{name}": x for name, x in zip(names, self.support, strict=True)}
        query = {f"query_{name}": x for name, x in zip(names, self.query, strict=True)}
        masks = {"support_mask": self.support_mask, "query_mask": self.query_mask}
        return {**support, **query, **masks, "task": self.task}

    def take(self, tasks: slice) -> TaskBatch:
        """Some of the tasks."""
        return TaskBatch(
            tuple(column[tasks] for column in self.support),  # type: ignore[arg-type]
            self.support_mask[tasks],
            tuple(column[tasks] for column in self.query),  # type: ignore[arg-type]
            self.query_mask[tasks],
            self.task[tasks],
        )


def draw(
    data: Transitions, task: Tensor, support: Tensor, query: int, generator: torch.Generator
) -> TaskBatch:
    """Draws transitions of tasks without replacement: none is in both sets.

    Args:
        data: has the tasks.
        task: `[M]` which tasks.
        support: `[M]` transitions that tell the context; fewer where a task has too few.
        query: transitions to predict; at most half of a task's.
    """
    length = data.lengths[task]
    width = int(length.max())
    lottery = torch.rand(len(task), width, generator=generator, device=generator.device)
    beyond = torch.arange(width, device=task.device) >= length[:, None]
    order = lottery.masked_fill(beyond, 2.0).argsort(dim=1)
    ask = (length // 2).clamp(max=query)
    tell = torch.minimum(support, length - ask)
    place = torch.arange(int(tell.max()), device=task.device)
    support_mask = place < tell[:, None]
    behind = (ask[:, None] + place).clamp_max(width - 1)
    query_mask = torch.arange(int(ask.max()), device=task.device) < ask[:, None]
    begin = data.begin[task][:, None]
    last = len(data.observation) - 1  # what a mask leaves out may stand beyond the data's end
    support_rows = (begin + order.gather(1, behind)).clamp_max(last)
    query_rows = (begin + order[:, : query_mask.shape[1]]).clamp_max(last)
    columns = (data.observation, data.action, data.next_observation)
    return TaskBatch(
        support=tuple(column[support_rows] for column in columns),  # type: ignore[arg-type]
        support_mask=support_mask,
        query=tuple(column[query_rows] for column in columns),  # type: ignore[arg-type]
        query_mask=query_mask,
        task=task,
    )


def cut_at_sessions(
    observation: Tensor, action: Tensor, session: Tensor | None, kept: Tensor
) -> Transitions:
    """The transitions of B meta-episodes, a task for each session of each.

    Args:
        observation: `[B, T + 1, O]`; action: `[B, T, A]` as encoders take it.
        session: `[B, T]`, or None: whole meta-episodes are the tasks.
        kept: `[B, T]` bool, which transitions count.
    """
    if session is None:
        session = torch.zeros_like(kept, dtype=torch.long)
    episode = torch.arange(len(kept), device=kept.device)[:, None].expand_as(kept)
    label = torch.stack([episode[kept], session[kept]], dim=1)
    tasks, counts = torch.unique_consecutive(label, dim=0, return_counts=True)
    return Transitions(
        observation[:, :-1][kept],
        action[kept],
        observation[:, 1:][kept],
        begin=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        episode=tasks[:, 0],
    )


def transitions_of(
    played: Recording, encode_action: Any, about: dict[str, Any] | None = None
) -> Transitions:
    """The transitions of recorded meta-episodes, a task for each session of each.

    Steps over the reset of an inner episode are left out: they are nobody's dynamics.

    Args:
        played: what was played.
        encode_action: turns actions into encoder inputs `[B, T, A]`.
        about: kept with them.

    Raises:
        UserError: there are none.
    """
    kept = played.valid
    if played.inner_done is not None:
        kept = kept & (played.inner_done[:, 1:] == 0)
    if not kept.any():
        raise UserError("no transition was collected: collect more env steps.")
    session = None if played.session is None else torch.as_tensor(played.session[:, :-1])
    data = cut_at_sessions(
        torch.as_tensor(played.observations, dtype=torch.float32),
        encode_action(torch.as_tensor(played.actions)).float(),
        session,
        torch.as_tensor(kept),
    )
    context = None
    if played.context is not None:
        of_steps = torch.as_tensor(played.context[:, :-1][kept], dtype=torch.float32)
        context = of_steps[data.begin[:-1]]
    return replace(data, context=context, about=dict(about or {}))


def write_transitions(path: Path, data: Transitions) -> None:
    """Writes an .npz file that holds plain arrays only.

    Raises:
        UserError: it cannot be written.
    """
    arrays: dict[str, Any] = {name: getattr(data, name).numpy() for name in _ARRAYS}
    if data.context is not None:
        arrays["context"] = data.context.numpy()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez_compressed(file, about=np.array(json.dumps(data.about)), **arrays)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}.") from None


def read_transitions(path: Path) -> Transitions:
    """Reads what `write_transitions` wrote; runs no code from the file.

    Raises:
        UserError: there is no such file, it holds something else, or numbers that are not finite.
    """
    if not path.exists():
        raise UserError(f"no transitions at {path}: there is no such file.")
    try:
        arrays = read_arrays(path)
        about = parse_json(str(arrays.pop("about")))
        arrays = {_OLD_NAMES.get(name, name): array for name, array in arrays.items()}
        kinds = {name: torch.float32 for name in (*_ROWS, "context")} | dict.fromkeys(
            ("begin", "episode"), torch.int64
        )
        data = {name: _as(kinds[name], array) for name, array in arrays.items() if name in kinds}
        if not isinstance(about, dict) or not {*_ROWS, "begin", "episode"} <= data.keys():
            raise ValueError(f"it has {', '.join(sorted(arrays)) or 'nothing'}")
        read = Transitions(**data, about=about)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} holds no transitions ({error}): give a file that `rllib iida collect` wrote."
        ) from None
    check_transitions(read, str(path))
    return read


def _as(kind: torch.dtype, array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "iuf":
        raise ValueError(f"an array of {array.dtype}")
    return torch.as_tensor(array.astype(np.float32 if kind.is_floating_point else np.int64))


def check_transitions(data: Transitions, place: str) -> None:
    """Makes sure that the parts of transitions fit together, and that all numbers are finite.

    Raises:
        UserError: they do not; it begins with ``place``.
    """
    shapes = {name: tuple(getattr(data, name).shape) for name in _ARRAYS}
    whole = [len(shape) for shape in shapes.values()] == [2, 2, 2, 1, 1]
    rows, tasks = (len(data.observation), data.tasks) if whole else (0, 0)
    whole = (
        whole
        and shapes["next_observation"] == shapes["observation"]
        and (shapes["action"][0], shapes["begin"], shapes["episode"])
        == (rows, (tasks + 1,), (tasks,))
        and (data.context is None or (data.context.ndim == 2 and len(data.context) == tasks))
        and tasks > 0
        and int(data.begin[0]) == 0
        and int(data.begin[-1]) == rows
        and bool((data.lengths > 0).all())
    )
    if not whole:
        found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise UserError(
            f"{place}: these are not transitions of tasks ({found}): collect them again."
        )
    for name in (*_ROWS, "context"):
        values = getattr(data, name)
        if values is not None and not bool(values.isfinite().all()):
            bad = int((~values.isfinite()).any(dim=1).sum())
            raise UserError(
                f"{place}: {name} holds NaN or infinity in {bad:,} of {len(values):,} rows, which "
                "nothing can be fitted to: fix the env, and collect again."
            )
