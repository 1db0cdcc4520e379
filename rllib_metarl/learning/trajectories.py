"""The trajectory buffer: whole meta-episodes for the ELBO, part of the checkpoint."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from rllib_metarl.learning.batch import Trajectories

# Integer labels are small; storing them small keeps a checkpoint with a full buffer light.
_COMPACT = {"session": torch.int16, "switched": torch.int8}


class TrajectoryBuffer:
    """A ring buffer of the newest `capacity` meta-episodes.

    Args:
        capacity: meta-episodes kept.
        seed: seeds the stream that samples are drawn from.
    """

    def __init__(self, capacity: int, seed: int = 0) -> None:
        self.capacity = capacity
        self.size = 0
        self._next = 0
        self._storage: dict[str, Tensor] = {}
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.size

    def add(self, batch: Trajectories) -> None:
        """Adds B meta-episodes; the oldest leave when the buffer is full."""
        columns = {
            f.name: getattr(batch, f.name).cpu()
            for f in fields(batch)
            if getattr(batch, f.name) is not None
        }
        count = min(len(batch.length), self.capacity)
        columns = {key: value[-count:] for key, value in columns.items()}
        self._make_room(columns)
        slots = (torch.arange(count) + self._next) % self.capacity
        for key, value in columns.items():
            rows = self._storage[key]
            if value.dim() > 1 and value.shape[1] < rows.shape[1]:
                rows[slots] = 0
                rows[slots, : value.shape[1]] = value.to(rows.dtype)
            else:
                rows[slots] = value.to(rows.dtype)
        self._next = int((self._next + count) % self.capacity)
        self.size = min(self.size + count, self.capacity)

    def _make_room(self, columns: dict[str, Tensor]) -> None:
        """Grows the storage to the longest meta-episode seen and to the rows needed."""
        rows_needed = min(self.capacity, max(self._next + len(columns["length"]), self.size))
        for key, value in columns.items():
            old = self._storage.get(key)
            shape = list(value.shape)
            shape[0] = rows_needed
            if old is not None:
                if value.dim() > 1:
                    shape[1] = max(shape[1], old.shape[1])
                shape[0] = max(rows_needed, old.shape[0])
                if list(old.shape) == shape:
                    continue
                # Doubling keeps the number of copies logarithmic.
                shape[0] = min(self.capacity, max(shape[0], 2 * old.shape[0]))
            new = torch.zeros(shape, dtype=_COMPACT.get(key, value.dtype))
            if old is not None:
                region = new[: old.shape[0]]
                (region[:, : old.shape[1]] if value.dim() > 1 else region).copy_(old)
            self._storage[key] = new

    def sample(self, count: int, device: torch.device | str = "cpu") -> Trajectories:
        """Draws `count` meta-episodes uniformly with replacement.

        Raises:
            ValueError: if the buffer is empty.
        """
        if not self.size:
            raise ValueError("the trajectory buffer is empty: add meta-episodes before sampling")
        rows = torch.randint(self.size, (count,), generator=self._generator)
        columns = {key: value[rows] for key, value in self._storage.items()}
        longest = int(columns["length"].max())
        for key, value in columns.items():
            if value.dim() > 1:
                columns[key] = value[:, : longest + (key == "observation")]
            if key in ("session", "switched"):
                columns[key] = columns[key].long()
        return Trajectories(**columns).map(lambda x: x.to(device))

    def get_state(self) -> dict[str, Any]:
        """A copy of everything, for checkpoints; only the filled rows."""
        storage = {key: value[: self.size].numpy().copy() for key, value in self._storage.items()}
        return {
            "storage": storage,
            "next": self._next,
            "capacity": self.capacity,
            "generator": self._generator.get_state().numpy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores `get_state()`; a smaller buffer takes the newest that it can hold."""
        rows = {key: torch.as_tensor(v).clone() for key, v in state["storage"].items()}
        begin, resized = int(state["next"]), state.get("capacity", self.capacity) != self.capacity
        if resized:  # oldest first, so that the newest stay and new ones follow them
            rows = {key: value.roll(-begin, 0)[-self.capacity :] for key, value in rows.items()}
        self._storage = rows
        self.size = len(next(iter(rows.values()))) if rows else 0
        self._next = self.size % self.capacity if resized else begin
        self._generator.set_state(torch.as_tensor(state["generator"]))
