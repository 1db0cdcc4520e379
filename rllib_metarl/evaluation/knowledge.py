"""What an env says of itself: its hooks (see `rllib_metarl.envs.core.hooks`), asked and checked.

A user's env can have them too, so that whatever they return is looked at, and what does not fit is
a `UserError` that names the env, the method and the fix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_metarl.envs.core.bayes import (
    Density,
    ExactFilter,
    FiniteFilter,
    NoExactFilterError,
    NumberFilter,
    Posterior,
)
from rllib_metarl.envs.core.hooks import hook_of
from rllib_metarl.errors import UserError
from rllib_metarl.recording import Recording

Variants = dict[str, dict[str, Any]]
Numbers = dict[str, float]
MOST_CELLS = 1_000
"""Of a side of the grid that an env's `frame` tells of at most."""


def exact_filter_of(env: Any) -> ExactFilter:
    """The exact filter of an env.

    Raises:
        NoExactFilterError: with the reason, if there is none.
    """
    found = _ask(env, "exact_filter")
    if found is None:
        raise NoExactFilterError(f"no exact filter is known for {name_of(env)}")
    if not isinstance(found, (FiniteFilter, NumberFilter)):
        raise _refused(env, "exact_filter", found, "return a FiniteFilter, a NumberFilter or None")
    return found


def run_filter(exact: ExactFilter, played: Recording) -> Posterior | Density:
    """The exact posterior along a recording.

    Raises:
        UserError: if the filter raises, or returns what is no posterior over these meta-episodes.
    """
    arrays = played.observations, played.actions, played.rewards
    posterior: Posterior | Density
    try:
        if isinstance(exact, FiniteFilter):
            posterior = exact.run(*arrays)
            _check_posterior(posterior, (len(played), played.horizon), len(exact.classes))
        else:
            assert played.context is not None
            posterior = exact.run(*arrays, played.context)
            _check_shape("mean", posterior.mean, played.context.shape)
    except Exception as error:  # a user's filter can raise anything
        raise UserError(
            f"the env's exact filter failed: {_said(error)}. Fix its exact_filter(), or let it "
            "return None."
        ) from error
    return posterior


def _check_posterior(posterior: Posterior, rows: tuple[int, int], classes: int) -> None:
    batch, steps = rows
    _check_shape("probabilities", posterior.probabilities, (batch, steps + 1, classes))
    _check_shape("switch", posterior.switch, (batch, steps + 1))
    _check_shape("surprise", posterior.surprise, (batch, steps))
    if not np.allclose(np.sum(posterior.probabilities, -1), 1.0, atol=1e-6):
        raise ValueError("probabilities do not sum to 1 over the classes")


def _check_shape(name: str, value: Any, shape: tuple[int, ...]) -> None:
    if np.shape(value) != shape:
        raise ValueError(f"{name} has shape {np.shape(value)} where {shape} is needed")


def variants_of(env: Any) -> Variants:
    """Name -> env arguments that override those of the env; none where none are known.

    All of them look like the env and behave in a way that its context cannot explain.

    Raises:
        UserError: if the env returns something else.
    """
    found = _ask(env, "variants") or {}
    if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
        raise _refused(env, "variants", found, "return a dict: name -> dict of env arguments")
    return {str(name): dict(arguments) for name, arguments in found.items()}


def measures_of(env: Any, episodes: Sequence[Any]) -> Numbers:
    """The env's own measures of played meta-episodes, beside the return: name -> number.

    Raises:
        UserError: if the env returns something else.
    """
    found = _ask(env, "measures", episodes) or {}
    try:
        return {str(name): float(value) for name, value in dict(found).items()}
    except (TypeError, ValueError):
        raise _refused(env, "measures", found, "return a dict: name -> number") from None


def frame_of(env: Any, observations: NDArray[Any], context: NDArray[Any] | None) -> dict[str, Any]:
    """Where everything is in one meta-episode: ``kind`` "grid" with what `hooks` says, or "none".

    Args:
        env: the env, or None where what was observed is not its own.
        observations: `[T + 1, ...]`; context `[T + 1, C]`, or None.
    """
    found = None if env is None else _ask(env, "frame", observations, context)
    if found is None:
        return {"kind": "none"}
    try:
        size, position = int(found["size"]), np.asarray(found["position"], np.int64)
        goals = np.asarray(found["goals"], np.int64).reshape(-1, 2)
        fits = position.shape == (len(observations), 2) and _has_goals(len(goals), context)
        cells = np.concatenate([position, goals]) if fits else goals
        fits = fits and 0 < size <= MOST_CELLS and bool(((cells >= 0) & (cells < size)).all())
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        fix = (
            f"return size (at most {MOST_CELLS:,}), position [T + 1, 2] and goals [G, 2] in it (of "
            "several, context[0] is one)"
        )
        raise _refused(env, "frame", found, f"{fix}, or None")
    grid = {"size": size, "position": position.tolist(), "goals": goals.tolist()}
    return {"kind": "grid", **grid}


def _has_goals(count: int, context: NDArray[Any] | None) -> bool:
    """Whether the one of several goals that pays is the first entry of the context."""
    if count < 2:
        return True
    return context is not None and bool(((context[:, 0] >= 0) & (context[:, 0] < count)).all())


def name_of(env: Any) -> str:
    """The env's id where it has one, else its class."""
    inside = env.unwrapped
    spec = env.spec or (inside.envs[0].spec if getattr(inside, "envs", None) else None)
    return type(inside).__name__ if spec is None else str(spec.id)


def _ask(env: Any, name: str, *arguments: Any) -> Any:
    hook = hook_of(env, name)
    if hook is None:
        return None
    try:
        return hook(*arguments)
    except NoExactFilterError:
        raise
    except Exception as error:  # a user's method can raise anything
        raise UserError(
            f"env {name_of(env)}: its {name}() failed: {_said(error)}. Fix it, or leave it out."
        ) from error


def _refused(env: Any, name: str, found: Any, fix: str) -> UserError:
    shown = repr(found)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return UserError(f"env {name_of(env)}: its {name}() returned {shown}; {fix}.")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".: ")
