"""Checks of parameters: every message says what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

MOST = 1_000_000
"""The most steps, cells or arms: beyond it a slip of the pen is likelier than a wish."""


def check_number(
    where: str,
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    integer: bool = False,
) -> None:
    """Raise ValueError unless `value` is a finite number (or whole number) in [low, high]."""
    kind = numbers.Integral if integer else numbers.Real
    right_type = isinstance(value, kind) and not isinstance(value, bool)
    if right_type and low <= value <= high and (integer or math.isfinite(value)):
        return
    noun = "a whole number" if integer else "a number"
    raise ValueError(f"{where}: {name} is {_shown(value)}, but must be {noun}{_range(low, high)}.")


def check_flags(where: str, **flags: Any) -> None:
    """Raise ValueError unless each value is True or False."""
    for name, value in flags.items():
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{where}: {name} is {_shown(value)}, but must be true or false.")


def check_size(where: str, name: str, value: Any, low: int = 1, high: int = MOST) -> None:
    """Raise ValueError unless `value` is a whole number in a range that memory can hold."""
    check_number(where, name, value, low=low, high=high, integer=True)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        text = "a number too long to show"
    return text if len(text) <= 100 else text[:97] + "..."


def _range(low: float, high: float) -> str:
    if math.isfinite(low) and math.isfinite(high):
        high_in_words = f"{int(high):,}" if float(high).is_integer() else f"{high:g}"
        return f" from {low:g} to {high_in_words}"
    return f", {low:g} or more" if math.isfinite(low) else ""


def check_distribution(where: str, name: str, value: Any) -> NDArray[np.float64]:
    """Return `value` as float64, each last-axis row a probability distribution, or raise."""
    try:
        rows = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        rows = np.asarray(np.nan)
    if rows.ndim == 0 or not np.isfinite(rows).all() or (rows < 0).any():
        raise ValueError(f"{where}: {name} is {value!r}, but must hold probabilities, 0 or more.")
    sums = rows.sum(-1)
    if not np.allclose(sums, 1.0, atol=1e-6):
        raise ValueError(
            f"{where}: {name} is {value!r}, whose sum is {np.round(sums, 6).tolist()}; "
            "each row of probabilities must sum to 1."
        )
    return rows / rows.sum(-1, keepdims=True)


def did_you_mean(name: Any, names: Iterable[str]) -> str:
    """Return " (did you mean ...?)" and the known names, for the end of a message."""
    known = list(names)
    close = difflib.get_close_matches(str(name), known, n=1)
    guess = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{guess}; there are: {', '.join(known)}"


def check_single(env: Any) -> gym.Env:
    """Return what was made as an environment, if it is one of gymnasium's with a single agent.

    Raises:
        ValueError: it is of another kind, or of the API that gym had before version 0.26.
    """
    kinds = {kind.__name__ for kind in type(getattr(env, "unwrapped", env)).__mro__}
    name = type(env).__name__
    if kinds & _OF_MANY:
        raise ValueError(
            f"{name} has several agents: environments of one agent are needed. Give the others "
            "policies of their own inside the environment, or train with RLlib's own algorithms."
        )
    if isinstance(env, gym.vector.VectorEnv):
        raise ValueError(
            f"{name} is a vector environment: give the single one, it is batched here."
        )
    if not isinstance(env, gym.Env):
        raise ValueError(
            f"{name} is no gymnasium.Env: derive it from that class, or wrap it (shimmy has "
            "wrappers for gym, dm_env and others)."
        )
    _check_reset(env.unwrapped)
    return env


_OF_MANY = {"MultiAgentEnv", "ParallelEnv", "AECEnv"}


def _check_reset(env: gym.Env) -> None:
    try:
        taken = inspect.signature(env.reset).parameters
    except (TypeError, ValueError):  # not written in Python
        return
    if any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        return
    missing = [name for name in ("seed", "options") if name not in taken]
    if missing:
        raise ValueError(
            f"{type(env).__name__}: reset() takes no {' and no '.join(missing)}, as in the old gym "
            "API. Make it reset(self, *, seed=None, options=None), which returns observation and "
            "info, and step() return observation, reward, terminated, truncated, info; or wrap it "
            "in shimmy.GymV21CompatibilityV0."
        )
