"""Hidden contexts for gymnasium's MuJoCo environments, and for any other of their kind.

Each wrapper has ``set_context(m)``, which is all that `Sessions` needs:

    env = DynamicsContext(gym.make("HalfCheetah-v5"), ["mass:torso", "damping:*thigh"])
    env = Sessions(env, Bernoulli(0.01), Uniform([(0.5, 2.0), (0.5, 2.0)]))

They can be put on top of each other: the outermost one reads the first entries of the context, the
one below it the next ones, and so on. Unstable physics (a warning of MuJoCo's about the state, or
NaN) ends the episode with a truncation: reward 0, the last sound observation, ``info["unstable"]``
1 (else 0), counted in `unstable_count`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.checks import did_you_mean
from .binding import mujoco
from .dynamics import Dynamics, names_of
from .engine import change_model, quiet
from .task import Array, Reward, State, Task

__all__ = ["ContextWrapper", "DynamicsContext", "ForceContext", "RewardContext", "TaskContext"]


class ContextWrapper(gym.Wrapper):
    """What the wrappers here share; by itself it has no context, and only minds unstable physics.

    Args:
        env: an environment with a public MjModel `model` and MjData `data` (after ``unwrapped``),
            as gymnasium's ``MujocoEnv`` has them.
        size: how many entries of the context are this wrapper's own.

    Raises:
        ValueError: if the environment is none of MuJoCo's.
    """

    def __init__(self, env: gym.Env, size: int = 0):
        super().__init__(env)
        inner: Any = env.unwrapped
        model, data = getattr(inner, "model", None), getattr(inner, "data", None)
        if not isinstance(model, mujoco.MjModel) or not isinstance(data, mujoco.MjData):
            raise ValueError(
                f"{type(self).__name__}: {env} is no MuJoCo environment: it has no `model` and "
                "`data`; use one such as gymnasium.make('HalfCheetah-v5')."
            )
        self.model, self.data = model, data
        self.size = size
        self.unstable_count = 0
        """How many episodes ended because the physics became unstable."""
        self._context: Array = np.zeros(size)
        self._last: Any = None

    @property
    def context_size(self) -> int:
        """How many entries a context has, those of the wrappers below included."""
        below = self.env.get_wrapper_attr("context_size") if self._below() else 0
        return self.size + int(below)

    def set_context(self, m: ArrayLike) -> None:
        """Let context `m` [context_size] hold from now on; positions and velocities stay.

        Raises:
            ValueError: if `m` has another shape.
        """
        context = np.asarray(m, np.float64)
        if context.shape != (self.context_size,):
            raise ValueError(
                f"{type(self).__name__}: the context has shape {context.shape}; give "
                f"{self.context_size} numbers."
            )
        self._context = context[: self.size].copy()
        self._take(self._context)
        if self._below():
            self.env.get_wrapper_attr("set_context")(context[self.size :])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode with the context as it is."""
        self._last, info = self.env.reset(seed=seed, options=options)
        return self._last, {**info, "unstable": np.int8(0)}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Act; where that makes the physics unstable, the episode is truncated."""
        before = _warnings(self.data)
        with quiet():
            observation, reward, terminated, truncated, info = self._step(action)
        sound = np.isfinite(reward) and np.isfinite(observation).all()
        if info.get("unstable") or _warnings(self.data) > before or not sound:
            self.unstable_count += 1
            return self._last, 0.0, False, True, {**info, "unstable": np.int8(1)}
        self._last = observation
        return observation, reward, terminated, truncated, {**info, "unstable": np.int8(0)}

    def _below(self) -> bool:
        return self.env.has_wrapper_attr("set_context")

    def _take(self, context: Array) -> None:
        """Hook: a new context [size]."""

    def _step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Hook: the step itself."""
        return self.env.step(action)


class DynamicsContext(ContextWrapper):
    """A context of physical parameters, one entry for each of `parameters`; see `Dynamics`.

    Raises:
        ValueError: if the environment is none of MuJoCo's, or its model lacks what is named.
    """

    def __init__(
        self,
        env: gym.Env,
        parameters: Sequence[str],
        bases: float | Sequence[float] | None = None,
        density: float | None = None,
        viscosity: float | None = None,
    ):
        self.dynamics = Dynamics(parameters, bases, density, viscosity)
        super().__init__(env, self.dynamics.size)
        self._original = copy.copy(self.model)
        self._scratch = mujoco.MjData(self.model)
        self.dynamics.bind(self._original)

    def _take(self, context: Array) -> None:
        write = lambda model: self.dynamics(model, self._original, context)  # noqa: E731
        change_model(self.model, self._scratch, write)


class ForceContext(ContextWrapper):
    """A context that pushes a body all the time: wind as a force, one entry (N) for each axis.

    Args:
        env: a MuJoCo environment.
        body: name of the body.
        axes: of the world, in the order of the context's entries.

    Raises:
        ValueError: if there is no such body or axis.
    """

    def __init__(self, env: gym.Env, body: str, axes: str = "x"):
        super().__init__(env, len(axes))
        names = names_of(self.model, "body")
        if body not in names:
            raise ValueError(
                f"ForceContext: the model has no body {body!r}{did_you_mean(body, names)}."
            )
        if not axes or set(axes) - set("xyz"):
            raise ValueError(f"ForceContext: axes is {axes!r}; give some of 'x', 'y' and 'z'.")
        self._body, self._axes = names.index(body), ["xyz".index(axis) for axis in axes]

    def _step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        # Written again in each step: a reset of the environment takes all forces away.
        self.data.xfrc_applied[self._body, self._axes] = self._context
        return self.env.step(action)


class RewardContext(ContextWrapper):
    """A context that decides the reward, which replaces the environment's own.

    Args:
        env: a MuJoCo environment.
        reward: one of `rewards` (`TargetVelocity()`, `Direction()`, `Goal()`) or a function of
            (state before, state after, actions [1, A], contexts [1, C]) that returns [1].
        size: C; by default what the reward itself says (``reward.size``).
    """

    def __init__(self, env: gym.Env, reward: Reward, size: int | None = None):
        super().__init__(env, int(getattr(reward, "size", 1)) if size is None else size)
        self.reward = reward

    def _step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        before = state_of(self.env)
        observation, _, terminated, truncated, info = self.env.step(action)
        reward = self.reward(before, state_of(self.env), _row(action), self._context[None])
        return observation, float(reward[0]), terminated, truncated, info


class TaskContext(ContextWrapper):
    """A whole `Task` on a gymnasium environment of the same model: observation, reward, context.

    The environment's own start, frame skip and physics stay; a time limit goes outside.
    """

    def __init__(self, env: gym.Env, task: Task):
        super().__init__(env, task.contexts.size)
        self.task = task
        self._original = copy.copy(self.model)
        self._scratch = mujoco.MjData(self.model)
        if task.bind is not None:
            task.bind(self._original)
        self._memory = np.zeros((1, task.memory_size))
        shape = task.observation(self._look()).shape[1:]
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, shape, np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode with the context as it is."""
        _, info = super().reset(seed=seed, options=options)
        self._memory = np.zeros((1, self.task.memory_size))
        self._remember()
        self._last = self.task.observation(self._look())[0]
        return self._last, info

    def _take(self, context: Array) -> None:
        apply = self.task.apply
        if apply is not None:
            write = lambda model: apply(model, self._original, context)  # noqa: E731
            change_model(self.model, self._scratch, write)

    def _step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        task, before, context = self.task, self._look(), self._context[None]
        if task.force is not None:
            self.data.qfrc_applied[:] = task.force(context)[0]
        _, _, _, truncated, info = self.env.step(action)
        self._remember()
        after = self._look()
        reward = float(task.reward(before, after, _row(action), context)[0])
        terminated = task.terminated is not None and bool(task.terminated(after)[0])
        return task.observation(after)[0], reward, terminated, truncated, info

    def _look(self) -> State:
        sensed = np.zeros((1, 0))
        if self.task.sense is not None:
            mujoco.mj_resetData(self.model, self._scratch)
            self._scratch.qpos[:], self._scratch.qvel[:] = self.data.qpos, self.data.qvel
            self._scratch.ctrl[:] = self.data.ctrl
            sensed = np.asarray(self.task.sense(self.model, self._scratch), np.float64)[None]
        return state_of(self.env, sensed, self._memory)

    def _remember(self) -> None:
        if self.task.remember is not None:
            self._memory = self.task.remember(self._look())


def state_of(env: gym.Env, sensed: Array | None = None, memory: Array | None = None) -> State:
    """Return a MuJoCo environment's physical state as a `State` of one row."""
    inner: Any = env.unwrapped
    nothing = np.zeros((1, 0))
    return State(
        inner.data.qpos[None].copy(),
        inner.data.qvel[None].copy(),
        nothing if sensed is None else sensed,
        nothing if memory is None else memory,
        float(inner.dt),
    )


def _row(action: Any) -> Array:
    return np.asarray(action, np.float64)[None]


def _warnings(data: Any) -> int:
    """How often MuJoCo has warned that a state is bad since the last reset."""
    kinds = mujoco.mjtWarning
    bad: tuple[Any, ...] = (kinds.mjWARN_BADQPOS, kinds.mjWARN_BADQVEL, kinds.mjWARN_BADQACC)
    counts: NDArray[np.int64] = np.array([data.warning[int(kind)].number for kind in bad])
    return int(counts.sum())
