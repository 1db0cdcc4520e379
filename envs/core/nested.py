"""Values of nested gymnasium spaces: their parts, one after the other, and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np


def parts_of(space: gym.Space) -> Iterator[gym.Space]:
    """The parts of Dict and Tuple spaces, nested as deep as they come, in gymnasium's order."""
    if isinstance(space, gym.spaces.Dict):
        for part in space.spaces.values():
            yield from parts_of(part)
    elif isinstance(space, gym.spaces.Tuple):
        for part in space.spaces:
            yield from parts_of(part)
    else:
        yield space


def values_of(space: gym.Space, value: Any) -> Iterator[Any]:
    """The values of `parts_of(space)` in a value of the space, or in a batch of them."""
    if isinstance(space, gym.spaces.Dict):
        for key, part in space.spaces.items():
            yield from values_of(part, value[key])
    elif isinstance(space, gym.spaces.Tuple):
        for part, of_part in zip(space.spaces, value, strict=True):
            yield from values_of(part, of_part)
    else:
        yield value


def nested(space: gym.Space, values: Iterator[Any]) -> Any:
    """The inverse of `values_of`: dicts and tuples as the space has them."""
    if isinstance(space, gym.spaces.Dict):
        return {key: nested(part, values) for key, part in space.spaces.items()}
    if isinstance(space, gym.spaces.Tuple):
        return tuple(nested(part, values) for part in space.spaces)
    return next(values)


def rows_of(space: gym.Space, batch: Any) -> list[Any]:
    """The values in a batch, one a row; numbers of shape () are arrays as the space has them."""
    columns = []
    for part, values in zip(parts_of(space), values_of(space, batch), strict=True):
        scalar = isinstance(part, gym.spaces.Box) and part.shape == ()
        columns.append(map(np.asarray, values) if scalar else values)
    return [nested(space, iter(row)) for row in zip(*columns, strict=True)]


def joined_mask(mask: Any) -> np.ndarray:
    """One env's action mask as one vector: gymnasium's tuples, a part for each category, joined.

    None in such a tuple stands for a part that is not masked because it has no categories.
    """
    if isinstance(mask, (tuple, list)) and any(part is None or np.ndim(part) for part in mask):
        return np.concatenate([joined_mask(part) for part in mask if part is not None])
    return np.ravel(mask)


def same(space: gym.Space, one: Any, other: Any) -> bool:
    """Whether two values of a space are equal."""
    pairs = zip(values_of(space, one), values_of(space, other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)
