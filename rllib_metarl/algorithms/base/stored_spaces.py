"""Gymnasium spaces as plain JSON values, and back."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rllib_metarl.reading import field

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
    if not isinstance(plain, dict):
        raise ValueError(f"a space is {str(plain)[:100]}, expected a mapping")
    if "n" in plain:
        return spaces.Discrete(field(plain, "n", int), start=field(plain, "start", int, default=0))
    if "nvec" in plain:
        start = field(plain, "start", list, default=None)
        dtype: Any = _dtype(plain)
        return spaces.MultiDiscrete(field(plain, "nvec", list), dtype=dtype, start=start)
    if "binary" in plain:
        sizes = field(plain, "binary", int, list)
        return spaces.MultiBinary(sizes if isinstance(sizes, int) else _shape(sizes))
    if "tuple" in plain:
        return spaces.Tuple([space_of(part, depth + 1) for part in field(plain, "tuple", list)])
    if "dict" in plain:
        pairs = field(plain, "dict", list)
        if not all(isinstance(p, list) and len(p) == 2 and isinstance(p[0], str) for p in pairs):
            raise ValueError("a space's parts are no pairs of a name and a space")
        return spaces.Dict([(key, space_of(part, depth + 1)) for key, part in pairs])
    dtype = _dtype(plain)
    low, high = (
        np.asarray(field(plain, side, list, int, float, bool), dtype) for side in ("low", "high")
    )
    shape = _shape(field(plain, "shape", list)) if "shape" in plain else low.shape
    if not all(side.shape in ((), shape) for side in (low, high)):
        raise ValueError(f"a space's bounds have shapes {low.shape} and {high.shape}")
    return spaces.Box(np.broadcast_to(low, shape), np.broadcast_to(high, shape), dtype=dtype)


def _bound(bound: np.ndarray) -> Any:
    """All numbers, or the one that they all are where there are more dimensions than one."""
    if bound.ndim != 1 and bound.size and (bound == bound.flat[0]).all():
        return bound.flat[0].item()
    return bound.tolist()


def _dtype(plain: dict[str, Any]) -> Any:
    dtype = np.dtype(field(plain, "dtype", str))
    if dtype.kind not in "fiub":
        raise ValueError(f"a space holds {dtype}, expected numbers")
    return dtype


def _shape(plain: Any) -> tuple[int, ...]:
    if not all(type(size) is int for size in plain):
        raise ValueError(f"a space has the shape {str(plain)[:100]}")
    shape = tuple(plain)
    if any(size < 0 for size in shape) or np.prod(shape, dtype=np.float64) > _MOST_NUMBERS:
        raise ValueError(f"a space has the shape {shape}")
    return shape
