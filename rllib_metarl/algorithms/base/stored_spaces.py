"""Gymnasium spaces as plain JSON values, and back."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

_MOST_NUMBERS = 2**26
_DEEPEST = 50


def plain_space(space: gym.Space) -> dict[str, Any]:
    """A space as JSON has it: one of the forms that `space_of` reads.

    Raises:
        TypeError: its kind has no such form.
    """
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return {"n": int(space.n)} | ({"start": start} if start else {})
    if isinstance(space, spaces.MultiDiscrete):
        sizes = {"nvec": space.nvec.tolist(), "dtype": str(space.dtype)}
        return sizes | ({"start": space.start.tolist()} if space.start.any() else {})
    if isinstance(space, spaces.MultiBinary):
        return {"binary": space.n if isinstance(space.n, int) else list(space.shape)}
    if isinstance(space, spaces.Tuple):
        return {"tuple": [plain_space(part) for part in space.spaces]}
    if isinstance(space, spaces.Dict):
        return {"dict": [[key, plain_space(part)] for key, part in space.spaces.items()]}
    if not isinstance(space, spaces.Box):
        raise TypeError(f"space {space} cannot be stored as plain data")
    bounds = {"low": _bound(space.low), "high": _bound(space.high), "dtype": str(space.dtype)}
    return bounds if isinstance(bounds["low"], list) else bounds | {"shape": list(space.shape)}


def space_of(plain: dict[str, Any], depth: int = 0) -> gym.Space:
    """The space of `plain_space`.

    Raises:
        ValueError, KeyError, TypeError: it is of no form that `plain_space` writes.
    """
    if depth > _DEEPEST:
        raise ValueError(f"a space is nested more than {_DEEPEST} deep")
    if "n" in plain:
        return spaces.Discrete(int(plain["n"]), start=int(plain.get("start", 0)))
    if "nvec" in plain:
        dtype: Any = np.dtype(plain["dtype"])
        return spaces.MultiDiscrete(plain["nvec"], dtype=dtype, start=plain.get("start"))
    if "binary" in plain:
        sizes = plain["binary"]
        return spaces.MultiBinary(sizes if isinstance(sizes, int) else _shape(sizes))
    if "tuple" in plain:
        return spaces.Tuple([space_of(part, depth + 1) for part in plain["tuple"]])
    if "dict" in plain:
        return spaces.Dict([(key, space_of(part, depth + 1)) for key, part in plain["dict"]])
    dtype = np.dtype(plain["dtype"])
    low, high = (np.asarray(plain[side], dtype) for side in ("low", "high"))
    shape = _shape(plain["shape"]) if "shape" in plain else low.shape
    return spaces.Box(np.broadcast_to(low, shape), np.broadcast_to(high, shape), dtype=dtype)


def _bound(bound: np.ndarray) -> Any:
    """All numbers, or the one that they all are where there are more dimensions than one."""
    if bound.ndim != 1 and bound.size and (bound == bound.flat[0]).all():
        return bound.flat[0].item()
    return bound.tolist()


def _shape(plain: Any) -> tuple[int, ...]:
    shape = tuple(int(size) for size in plain)
    if any(size < 0 for size in shape) or np.prod(shape, dtype=np.float64) > _MOST_NUMBERS:
        raise ValueError(f"a space has the shape {shape}")
    return shape
