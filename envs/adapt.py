"""Thin adapters for environments that were written to another convention."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike

from .core.checks import did_you_mean


class DictContexts(gym.Wrapper):
    """Gives an environment whose context is a dict the method ``set_context(m)``, for `Sessions`.

    The convention is CARL's: an attribute `context` holds a dict, a method ``_update_context()``,
    where there is one, makes the physics follow it, and ``reset()`` may choose another context. The
    one of `set_context` is set anew after each reset. Where observations are a dict of ``obs`` and
    ``context``, only ``obs`` is shown.

    Args:
        env: the environment.
        names: which entries of its context vary, in the order of the vector m; None for all that
            are numbers, in alphabetical order. The others keep the values that they have.

    Raises:
        ValueError: if nothing in `env` has such a context, or it lacks one of the names.
    """

    def __init__(self, env: gym.Env, names: Sequence[str] | None = None):
        super().__init__(env)
        self._holder = _holder(env)
        known = {k for k, v in self._holder.context.items() if isinstance(v, numbers.Real)}
        self.names = tuple(sorted(known) if names is None else names)
        for name in self.names:
            if name not in known:
                raise ValueError(
                    f"DictContexts: no number {name!r}{did_you_mean(name, sorted(known))}."
                )
        self._chosen: dict[str, float] | None = None
        space = env.observation_space
        self._hides = isinstance(space, gym.spaces.Dict) and {"obs", "context"} == {*space.spaces}
        if isinstance(space, gym.spaces.Dict) and self._hides:
            self.observation_space = space["obs"]

    def set_context(self, context: ArrayLike) -> None:
        """Changes the context to a vector [C], in the order of `names`."""
        values: list[float] = np.asarray(context, np.float64).tolist()
        self._chosen = dict(zip(self.names, values, strict=True))
        self._apply()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode under the context that was set last."""
        observation, info = self.env.reset(seed=seed, options=options)
        if self._chosen is not None:
            self._apply()
        return self._shown(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Act."""
        observation, *rest = self.env.step(action)
        return self._shown(observation), *rest  # type: ignore[return-value]

    def _apply(self) -> None:
        self._holder.context = {**self._holder.context, **(self._chosen or {})}
        getattr(self._holder, "_update_context", _nothing)()

    def _shown(self, observation: Any) -> Any:
        return observation["obs"] if self._hides else observation


def _holder(env: gym.Env) -> Any:
    """The environment, or the wrapper around it, that has the context."""
    layer: Any = env
    while not isinstance(vars(layer).get("context", getattr(layer, "context", None)), Mapping):
        if not isinstance(layer, gym.Wrapper):
            raise ValueError(
                f"DictContexts: {env} has no attribute `context` that is a dict; give it a method "
                "set_context(m), as rllib_metarl.envs.Sessions asks for."
            )
        layer = layer.env
    return layer


def _nothing() -> None:
    """What there is to do where the environment reads its context at each step."""
