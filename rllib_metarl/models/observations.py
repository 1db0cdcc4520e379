"""Observation spaces as flat arrays `[N, O]`, of which images are the parts that a CNN reads.

The layout is that of gymnasium's own `flatten`: one-hots for Discrete and MultiDiscrete, everything
else as it is, the parts of Dict and Tuple one after the other. Whole batches are flattened at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rllib_metarl.columns import ACTION_MASK
from rllib_metarl.envs.core.nested import values_of
from rllib_metarl.errors import UserError
from rllib_metarl.models.spaces import supported_parts

MASKED = "observations"
"""Beside `ACTION_MASK` in RLlib's convention for masked actions: a Dict observation of the two."""

_LARGEST = float(np.finfo(np.float32).max)


class Image(NamedTuple):
    """A part of a flat observation that is an image: entries `begin` to `end`, of `shape`."""

    begin: int
    end: int
    shape: tuple[int, int, int]

    @property
    def channels_first(self) -> bool:
        """Whether it is [C, H, W]: at most four channels in front, and no such last dimension."""
        return self.shape[0] <= 4 < min(self.shape[1:])

    @property
    def channels(self) -> int:
        """C."""
        return self.shape[0 if self.channels_first else 2]


class ObservationCodec:
    """From an env's observations to what networks read.

    Args:
        space: Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of such, nested.
        choices: how many values the env's action has in all its categories together. Where there
            are some, a Dict of ``action_mask`` and ``observations`` alone is RLlib's convention for
            masks: the mask is apart, and only the rest is an observation.
        mask_key: RLlib's `action_mask_key`, in the place of ``action_mask``.

    Attributes:
        size: O. images: the parts of type uint8 and shape [H, W, C] (or [C, H, W]).
        plain: whether observations are flat as they come. carries_mask: see `choices`.
        flat_space: what flat observations lie in.

    Raises:
        UserError: a part has no fixed size, or the mask has another one than the action.
    """

    def __init__(self, space: gym.Space, choices: int = 0, mask_key: str = ACTION_MASK) -> None:
        self.mask_key = mask_key
        keys = set(space.spaces) if isinstance(space, spaces.Dict) else set()
        self.carries_mask = bool(choices) and keys == {mask_key, MASKED}
        self.space: gym.Space = space[MASKED] if self.carries_mask else space  # type: ignore[index]
        self._parts = supported_parts(self.space, "observation")
        self._sizes = [spaces.flatdim(part) for part in self._parts]
        self.size = sum(self._sizes)
        if not self.size:
            raise UserError(f"observation space {space} is empty: give at least one number.")
        self._begins = np.cumsum([0, *self._sizes])[:-1].tolist()
        self.images = [
            Image(begin, begin + size, part.shape)  # type: ignore[arg-type]
            for part, begin, size in zip(self._parts, self._begins, self._sizes, strict=True)
            if _is_image(part)
        ]
        self.plain = isinstance(self.space, spaces.Box) and len(self.space.shape) == 1
        self._double = self.plain and self.space.dtype == np.float64
        small = all(_fits_a_byte(part) for part in self._parts)
        self._dtype: Any = np.uint8 if small else np.float32
        self.flat_space = self.space
        if not self.plain:
            low = 0 if small else -np.inf
            high = 255 if small else np.inf
            self.flat_space = spaces.Box(low, high, (self.size,), self._dtype)

    def flatten(self, batch: Any) -> NDArray[Any]:
        """Flat observations `[N, O]` of a batch of the env's.

        Raises:
            UserError: a Discrete or MultiDiscrete part is not what its space says.
        """
        if self.carries_mask:
            batch = batch[MASKED]
        if self.plain:
            # What is finite in double precision shall be so in the networks' single precision.
            return np.clip(batch, -_LARGEST, _LARGEST) if self._double else batch
        values = [np.asarray(value) for value in values_of(self.space, batch)]
        flat = np.zeros((len(values[0]), self.size), self._dtype)
        for part, begin, size, value in zip(
            self._parts, self._begins, self._sizes, values, strict=True
        ):
            if isinstance(part, (spaces.Discrete, spaces.MultiDiscrete)):
                _set_one_hots(flat[:, begin : begin + size], part, value)
            else:
                columns = value.reshape(len(flat), size)
                large = columns.dtype == np.float64
                columns = np.clip(columns, -_LARGEST, _LARGEST) if large else columns
                flat[:, begin : begin + size] = columns
        return flat

    def mask(self, batch: Any) -> Any:
        """The action mask within a batch of observations, or None."""
        return batch[self.mask_key] if self.carries_mask else None


def _is_image(part: gym.Space) -> bool:
    return isinstance(part, spaces.Box) and part.dtype == np.uint8 and len(part.shape) == 3


def _fits_a_byte(part: gym.Space) -> bool:
    return not isinstance(part, spaces.Box) or part.dtype == np.uint8


def _set_one_hots(flat: NDArray[Any], part: Any, value: NDArray[Any]) -> None:
    """Writes the one-hots of values `[N, *shape]` into zeros `[N, size]`."""
    sizes = np.ravel(part.n if isinstance(part, spaces.Discrete) else part.nvec)
    index = value.reshape(len(flat), len(sizes)) - np.ravel(part.start)
    wrong = (index < 0) | (index >= sizes)
    if wrong.any():
        raise UserError(
            f"an observation of the env is {value[wrong.any(1)][0]}, which is not in its space "
            f"{part}: fix the space or the observation."
        )
    columns = index.astype(np.int64) + np.cumsum([0, *sizes[:-1]])
    flat[np.arange(len(flat))[:, None], columns] = 1
