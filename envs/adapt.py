"""Thin adapters for environments that were written to another convention."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .core.checks import did_you_mean
from .core.returned import plain_info


class DictContexts(gym.Wrapper):
    """Gives an environment whose context is a dict the method ``set_context(m)``, for `Sessions`.

    The convention is CARL's: an attribute `context` holds a dict, a method ``_update_context()``,
    where there is one, makes the physics follow it, and ``reset()`` may choose another context. The
    one of `set_context` is set again after each reset. Where observations are a dict of ``obs`` and
    ``context``, only ``obs`` is shown. `info` gets the label `context`: the entries of `names`,
    whoever has chosen them.

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
        self._first = _context_of(self._holder)  # CARL's env has one from its first reset on
        known = {k for k, v in self._first.items() if isinstance(v, numbers.Real)}
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
        return self._shown(observation), {**plain_info(info), "context": self._label()}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Act."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = {**plain_info(info), "context": self._label()}
        return self._shown(observation), reward, terminated, truncated, info

    def _apply(self) -> None:
        now = self._holder.context or self._first
        self._holder.context = {**now, **(self._chosen or {})}
        getattr(self._holder, "_update_context", _nothing)()

    def _label(self) -> NDArray[np.float32]:
        """The context [C] that the coming transition is made in."""
        return np.array([self._holder.context[name] for name in self.names], np.float32)

    def _shown(self, observation: Any) -> Any:
        return observation["obs"] if self._hides else observation


def _holder(env: gym.Env) -> Any:
    """The environment, or the wrapper around it, that has the context."""
    layer = _layer(env, lambda layer: bool(_context_of(layer)))
    if layer is None:
        raise ValueError(
            f"DictContexts: {env} has no attribute `context` that is a dict; give it a method "
            "set_context(m), as rllib_metarl.envs.Sessions asks for."
        )
    return layer


def _context_of(layer: Any) -> dict[str, Any]:
    """Its context; before the first reset the first one of those that it will choose from."""
    context = vars(layer).get("context", getattr(layer, "context", None))
    contexts = getattr(layer, "contexts", None)
    if context is None and isinstance(contexts, Mapping):
        context = next(iter(contexts.values()), None)
    return dict(context) if isinstance(context, Mapping) else {}


def _layer(env: Any, wanted: Callable[[Any], bool]) -> Any:
    """The outermost wrapper, or the environment itself, that is `wanted`; None if none is."""
    while not wanted(env):
        if not isinstance(env, gym.Wrapper):
            return None
        env = env.env
    return env


def _nothing() -> None:
    """What there is to do where the environment reads its context at each step."""


class NSGymSessions(gym.Wrapper):
    """Makes sessions of what NS-Gym's schedulers and update functions change.

    NS-Gym changes parameters inside a step, before the physics move. Here scheduler and update
    function are asked one step ahead, so that the labels `context` (the parameters' values, in the
    order of `tunable_params`), `session` and `switched` that come with o_t hold for the coming
    transition; what happens to the environment, and what NS-Gym notifies of, stays as it was. A
    change at t = 0 is the first context, no switch.

    NS-Gym copies its schedulers at each reset, so that random ones would let every episode change
    at the same times. Here their generators get new seeds from the environment's own one.

    Args:
        env: an environment in one of NS-Gym's wrappers, whose parameters are attributes that hold
            numbers (its classic control).

    Raises:
        ValueError: if `env` is none.
    """

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self._layer = _layer(env, lambda layer: "tunable_params" in vars(layer))
        self._names = () if self._layer is None else tuple(self._layer.tunable_params)
        values = [getattr(env.unwrapped, name, None) for name in self._names]
        if not values or not all(isinstance(value, numbers.Real) for value in values):
            raise ValueError(
                f"NSGymSessions: {env} is not in a wrapper of NS-Gym with tunable_params that are "
                "numbers and attributes of the environment, as those of its classic control are."
            )
        self._session, self._switched, self._context = 0, 0, np.zeros(0, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a meta-episode, whose changes are redrawn."""
        observation, info = self.env.reset(seed=seed, options=options)
        functions = self._layer.tunable_params
        for name, function in functions.items():
            if not isinstance(function, _Ahead):
                _reseed(function, self.unwrapped.np_random)
                _reseed(function.scheduler, self.unwrapped.np_random)
                functions[name] = _Ahead(function)
        self._decide()
        self._session, self._switched = 0, 0
        return observation, {**plain_info(info), **self._labels()}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Act under the parameters that were decided on, then decide on those of the next step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._decide()
        self._session += self._switched
        info = {**plain_info(info), **self._labels()}
        return observation, reward, terminated, truncated, info

    def _decide(self) -> None:
        now = {name: getattr(self.unwrapped, name) for name in self._names}
        decided = {
            name: self._layer.tunable_params[name].decide(value, self._layer.t)
            for name, value in now.items()
        }
        values = {name: value for name, (value, _, _) in decided.items()}
        # NS-Gym leaves out what its physics would not bear.
        check = getattr(self._layer, "_constraint_checker", None)
        refused = check(values) if check else {}
        taken = {name: now[name] if refused.get(name) else values[name] for name in self._names}
        self._context = np.array(list(taken.values()), np.float32)
        changed = (flag for name, (_, flag, _) in decided.items() if not refused.get(name))
        self._switched = int(any(changed))

    def _labels(self) -> dict[str, Any]:
        return {
            "context": self._context,
            "session": np.int64(self._session),
            "switched": np.int8(self._switched),
        }


class _Ahead:
    """Stands in the place of one of NS-Gym's update functions, and is asked before it is called."""

    def __init__(self, function: Any):
        self.function = function
        self.decided: Any = None

    def decide(self, value: Any, t: int) -> Any:
        """What a call at time t will return: the new value, whether it changed, and by how much."""
        self.decided = self.function(value, t)
        return self.decided

    def __call__(self, value: Any, t: int) -> Any:
        return self.decided

    def seed(self, seed: Any) -> None:
        """As its parameters, so its generator outlives a reset where the wrapper is told so."""
        self.function.seed(seed)


def _reseed(drawing: Any, rng: np.random.Generator) -> None:
    """Gives one of NS-Gym's objects, if it draws at all, a generator of its own."""
    if hasattr(drawing, "rng"):
        drawing.rng = np.random.default_rng(int(rng.integers(2**63)))
        if hasattr(drawing, "transition_time"):  # was drawn when it was made
            drawing.transition_time = drawing.rng.geometric(drawing.p, size=1)
