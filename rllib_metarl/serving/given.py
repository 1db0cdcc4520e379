"""Checks of what a caller passes to an agent, with numpy and gymnasium alone."""

from __future__ import annotations

import operator
import reprlib
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rllib_metarl.envs.core.nested import nested, parts_of, values_of
from rllib_metarl.envs.core.returned import numbers_in
from rllib_metarl.errors import UserError

MOST_AT_ONCE = 1_000_000
"""The most meta-episodes in one batch."""


def batch_size(value: Any) -> int:
    """A number of meta-episodes.

    Raises:
        UserError: it is not a whole number from 1 to `MOST_AT_ONCE`.
    """
    try:
        count = 0 if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        count = 0
    if not 1 <= count <= MOST_AT_ONCE:
        raise UserError(
            f"batch_size is {reprlib.repr(value)}: give a whole number of meta-episodes, from 1 to "
            f"{MOST_AT_ONCE:,}."
        )
    return count


def truths(name: str, value: Any, count: int | None) -> NDArray[np.bool_]:
    """Truth values: one (``count`` None), or `[count]`, of which one may stand for all.

    Raises:
        UserError: they are something else; 0 and 1 are such values, text is not.
    """
    array = _array(name, value, "a truth value")
    if not np.isin(array, (0, 1)).all():
        raise UserError(f"{name} is {reprlib.repr(value)}: expected True or False.")
    if array.shape not in ((), () if count is None else (count,)):
        raise UserError(
            f"{name} has shape {array.shape}, expected {() if count is None else (count,)}."
        )
    return array.astype(bool)


def reward(value: Any, count: int | None) -> NDArray[np.float32]:
    """Rewards `[N]` from one number (``count`` None: whatever its shape), or from `[count]`.

    Raises:
        UserError: they are not numbers, not finite or not that many.
    """
    array = _array("reward", value, "numbers")
    if count is None and array.size == 1:
        array = array.reshape(())
    return _rows("reward", array, () if count is None else (count,), count)


def label(name: str, value: Any, width: int, count: int | None) -> NDArray[np.float32]:
    """A label `[N, width]` from `[width]` (``count`` None) or `[count, width]`.

    Raises:
        UserError: it is not numeric, not finite or of another shape.
    """
    leading = () if count is None else (count,)
    return _rows(name, _array(name, value, "numbers"), (*leading, width), count)


def observations(space: gym.Space, value: Any, count: int | None) -> Any:
    """Observations of N envs, in the space's vectorised form, from one (``count`` None) or N.

    Numbers beyond a Box's bounds pass, as they do in training; what its type cannot hold does not.

    Raises:
        UserError: they are not of the space's form or shape, not finite, or none of its values.
    """
    leading = () if count is None else (count,)
    try:
        values = list(values_of(space, value))
    except (KeyError, IndexError, TypeError, ValueError):
        raise UserError(f"observation is {reprlib.repr(value)}: {_wanted(space)}.") from None
    checked = []
    for part, given in zip(parts_of(space), values, strict=True):
        array = _array("observation", given, "numbers")
        _check_part(part, array, leading)
        checked.append(array if leading else array[None])
    return nested(space, iter(checked))


def _check_part(part: gym.Space, array: NDArray[Any], leading: tuple[int, ...]) -> None:
    """Raises UserError unless an array is values of a space that has no parts."""
    expected = (*leading, *(part.shape or ()))
    if array.shape != expected:
        raise UserError(f"observation has shape {array.shape}, expected {expected}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"observation is not finite: {_short(array)}.")
    if isinstance(part, (gym.spaces.Discrete, gym.spaces.MultiDiscrete)):
        sizes: Any = part.n if isinstance(part, gym.spaces.Discrete) else part.nvec
        start: Any = part.start
        index = array.astype(np.float64) - start
        fits = (index >= 0) & (index < sizes) & (array.dtype.kind in "iub")
    else:
        fits = _held(np.dtype(part.dtype), array)
    if not np.all(fits):
        raise UserError(f"observation is {_short(array)}: {_wanted(part)}.")


def _held(dtype: np.dtype[Any], array: NDArray[Any]) -> Any:
    """Whether a space's type can hold numbers as they are; a float type rounds them."""
    if dtype.kind == "f" or dtype == array.dtype:
        return True
    with np.errstate(invalid="ignore"):
        return np.equal(array.astype(dtype), array)


def _rows(
    name: str, array: NDArray[Any], expected: tuple[int, ...], count: int | None
) -> NDArray[np.float32]:
    if array.shape != expected:
        raise UserError(f"{name} has shape {array.shape}, expected {expected}.")
    with np.errstate(over="ignore"):
        rows = array.astype(np.float32)
    if not np.isfinite(rows).all():
        raise UserError(f"{name} is not finite in single precision: {_short(array)}.")
    return rows[None] if count is None else rows


def _array(name: str, value: Any, expected: str) -> NDArray[Any]:
    """Numbers or truth values as an array; text is neither."""
    array = numbers_in(value)
    if array is None:
        raise UserError(f"{name} is {reprlib.repr(value)}: expected {expected}.")
    return array


def _wanted(space: gym.Space) -> str:
    return f"it does not lie in {str(space)[:200]}"


def _short(array: NDArray[Any]) -> str:
    return str(array)[:100]
