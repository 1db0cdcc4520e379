"""Single and vector environments of a MuJoCo `Task`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ..core.arguments import ParametrisedEnv, ParametrisedVectorEnv, signature_of
from ..core.checks import check_number
from ..core.vector import Simulator
from .engine import Engine
from .rendering import Painter
from .task import Array, State, Task
from .trial import Moved, Trial, TrialSimulator

_PHYSICAL = ("qpos", "qvel", "sensed", "memory")
PICTURE = (320, 240)
"""Width and height of a picture, in pixels."""


class MujocoSimulator(TrialSimulator):
    """N environments of one task.

    Args:
        num_envs: N.
        task: what there is to do.
        trial: length and sessions.
        threads: how many threads share the rows of one step.

    Raises:
        ValueError: if a setting is out of range, the model lacks what the task names, or one of the
            task's functions returns another shape than it should.
    """

    def __init__(self, num_envs: int, task: Task, trial: Trial, threads: int = 1):
        check_number(task.name, "threads", threads, low=1, high=1024, integer=True)
        self.task = task
        path = str(task.model_path())
        changes, forced = task.apply is not None, task.force is not None
        engine = Engine(num_envs, path, task.frame_skip, changes, forced, int(threads))
        self.engine = engine
        if task.bind is not None:
            task.bind(engine.original)
        self._qpos0 = np.array(engine.original.qpos0 if task.qpos0 is None else task.qpos0)
        self._controls = np.zeros((num_envs, engine.nu))
        self._active = np.zeros((num_envs, task.contexts.size))
        self._painter: Painter | None = None
        self._state = self._first_state()
        super().__init__(
            num_envs,
            trial,
            task.contexts,
            task.start.count(engine.nq, engine.nv),
            self._check_shapes(),
            action_space(engine.original),
        )

    def _first_state(self) -> State:
        sensed = self._sense(np.arange(len(self._active)))
        memory = np.zeros((len(self._active), self.task.memory_size))
        return State(self.engine.qpos(), self.engine.qvel(), sensed, memory, self.engine.dt)

    def _check_shapes(self) -> gym.spaces.Box:
        """Return the observation space, having seen that the task's functions fit together."""
        task, state, n = self.task, self._state, len(self._active)
        observation = np.asarray(task.observation(state))
        reward = np.asarray(task.reward(state, state, self._controls, self._active))
        if observation.ndim != 2 or len(observation) != n or reward.shape != (n,):
            raise ValueError(
                f"{task.name}: for {n} environments the observation has shape {observation.shape} "
                f"and the reward {reward.shape}; they must return ({n}, D) and ({n},)."
            )
        if task.remember is not None and np.shape(task.remember(state)) != state.memory.shape:
            raise ValueError(
                f"{task.name}: remember returns shape {np.shape(task.remember(state))} where "
                f"memory_size asks for {state.memory.shape}; make them agree."
            )
        return gym.spaces.Box(-np.inf, np.inf, observation.shape[1:], np.float32)

    @property
    def state(self) -> State:
        """The physical states of all rows, in full precision."""
        return self._state

    def _set_contexts(self, rows: NDArray[np.int64], contexts: Array) -> None:
        self._active[rows] = contexts
        self._apply(rows)

    def _apply(self, rows: NDArray[np.int64]) -> None:
        """Write the active contexts of `rows` into their models."""
        apply, original = self.task.apply, self.engine.original
        if apply is None:
            return
        for row in rows.tolist():

            def write(model: Any, context: Array = self._active[row]) -> None:
                apply(model, original, context)

            self.engine.change(row, write)

    def _start(self, rows: NDArray[np.int64], uniforms: Array) -> None:
        qpos, qvel = self.task.start.draw(uniforms, self._qpos0, self.engine.nv)
        self.engine.place(rows, qpos, qvel)
        self._controls[rows] = 0.0
        state = self._state
        state.qpos[rows], state.qvel[rows] = qpos, qvel
        state.sensed[rows] = self._sense(rows)
        if self.task.remember is not None:
            nothing = np.zeros((len(rows), self.task.memory_size))
            first = State(qpos, qvel, state.sensed[rows], nothing, state.dt)
            state.memory[rows] = self.task.remember(first)

    def _sense(self, rows: NDArray[np.int64]) -> Array:
        if self.task.sense is None:
            return np.zeros((len(rows), 0))
        sense = self.task.sense
        return np.stack([self.engine.sense(row, sense, self._controls[row]) for row in rows])

    def _move(self, actions: Array) -> Moved:
        task, before = self.task, self._state
        forces = None if task.force is None else task.force(self._active)
        self._controls[:] = actions
        unstable = self.engine.step(actions, forces)
        after = self._next_state(before)
        rewards = task.reward(before, after, actions, self._active)
        unstable = unstable | ~np.isfinite(rewards)
        if unstable.any():
            _keep(before, after, unstable)
        terminated = np.zeros(self.num_envs, np.bool_)
        if task.terminated is not None:
            terminated = task.terminated(after)
        self._state = after
        return rewards, terminated, unstable

    def _next_state(self, before: State) -> State:
        sensed = self._sense(self._rows) if self.task.sense is not None else before.sensed
        qpos, qvel = self.engine.qpos(), self.engine.qvel()
        state = State(qpos, qvel, sensed, before.memory, before.dt)
        if self.task.remember is None:
            return state
        return State(qpos, qvel, sensed, self.task.remember(state), before.dt)

    def _observe(self) -> Array:
        return self.task.observation(self._state)

    def under_way(self) -> dict[str, Any]:
        physical = {key: np.copy(getattr(self._state, key)) for key in _PHYSICAL}
        return super().under_way() | {"physics": physical | {"engine": self.engine.states.copy()}}

    def set_under_way(self, state: dict[str, Any]) -> None:
        own = dict(state)
        physics = own.pop("physics")
        super().set_under_way(own)
        self.engine.states[:] = physics["engine"]
        physical = {key: np.array(physics[key]) for key in _PHYSICAL}
        self._state = State(dt=self._state.dt, **physical)
        self._apply(self._rows)

    def variants(self) -> dict[str, dict[str, Any]]:
        return super().variants() | dict(self.task.variants)

    def measures(self, episodes: Sequence[Any]) -> dict[str, float]:
        return {} if self.task.measures is None else self.task.measures(episodes)

    def draw(self, row: int, mode: str) -> NDArray[np.uint8] | str:
        if mode == "ansi":
            return self._text(row)
        if self._painter is None:
            self._painter = Painter(self.engine.original, self.task.camera, *PICTURE)
        task, qpos, context = self.task, self._state.qpos[row], self.context_of(row)
        extras = [] if task.markers is None else task.markers(qpos, context)
        pose = qpos if task.pose is None else task.pose(qpos, context)
        return self._painter.picture(pose, extras)

    def _text(self, row: int) -> str:
        numbers = {
            "context": self.context_of(row),
            "positions": self._state.qpos[row],
            "velocities": self._state.qvel[row],
        }
        head = f"step {self._t[row]}, inner episode {self._inner[row] + 1}, "
        lines = [f"{name}: {np.array2string(v, precision=3)}" for name, v in numbers.items()]
        return "\n".join([head + f"session {self._session[row, self._t[row]] + 1}", *lines]) + "\n"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_painter": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._apply(self._rows)


def _keep(before: State, after: State, rows: NDArray[np.bool_]) -> None:
    """Put what `before` has into `rows` of `after`: an unstable state cannot be observed."""
    after.qpos[rows], after.qvel[rows] = before.qpos[rows], before.qvel[rows]
    after.sensed[rows], after.memory[rows] = before.sensed[rows], before.memory[rows]


def action_space(model: Any) -> gym.spaces.Box:
    """Return the actuators' control ranges as a Box; a control without one is unbounded."""
    limited = model.actuator_ctrllimited.astype(bool)[:, None]
    low, high = np.where(limited, model.actuator_ctrlrange, [-np.inf, np.inf]).T
    return gym.spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)


TRIAL_SETTINGS = ("horizon", "inner_episodes", "p_switch", "session")
"""Settings that every environment here has; all others belong to its task."""


def task_parameters(make_task: Callable[..., Task], **trial: Any) -> Callable[..., Any]:
    """Return what makes task, trial and number of threads of an environment's arguments.

    Args:
        make_task: its arguments are the task's own settings.
        trial: defaults of `TRIAL_SETTINGS` that are not those of `Trial.make`.
    """

    def rows(threads: int = 1) -> None:
        """What is neither the trial's nor the task's."""

    signature = signature_of(Trial.make, make_task, rows, without=("where",), **trial)

    def parameters(*arguments: Any, **named: Any) -> tuple[Task, Trial, int]:
        given = signature.bind(*arguments, **named)
        given.apply_defaults()
        settings = dict(given.arguments)
        of_trial = {key: settings.pop(key) for key in TRIAL_SETTINGS}
        threads = settings.pop("threads")
        task = make_task(**settings)
        return task, Trial.make(task.name, **of_trial), threads

    parameters.__signature__ = signature  # type: ignore[attr-defined]
    return parameters


class MujocoTaskEnv(ParametrisedEnv):
    """A single environment of a task: ``class MyEnv(MujocoTaskEnv, task=my_task)``.

    ``my_task(...)`` returns the task for the settings that are not the trial's. Other keywords are
    the trial's defaults where they are not the usual ones, and ``simulator`` another class.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 20}

    def __init_subclass__(
        cls,
        *,
        task: Callable[..., Task] | None = None,
        simulator: Callable[..., Simulator] = MujocoSimulator,
        **trial: Any,
    ) -> None:
        if task is None:
            super().__init_subclass__(**trial)
            return
        super().__init_subclass__(
            parameters=task_parameters(task, **trial),
            simulator=lambda num_envs, made: simulator(num_envs, *made),
        )


class MujocoTaskVectorEnv(ParametrisedVectorEnv):
    """N environments of a task, moved by one call of ``mujoco.rollout`` a step.

    ``class MyVectorEnv(MujocoTaskVectorEnv, of=MyEnv)``; `threads` share the rows.
    """
