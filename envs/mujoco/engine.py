"""The physics of N environments: one call of ``mujoco.rollout`` moves them all.

Each step starts its constraint solver from zero (gymnasium's environments start it from the last
step's solution). Both find the same accelerations up to rounding, and so a step here is a function
of the physical state alone, whichever thread computes it and whatever other rows do.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .binding import mujoco
from .task import Array

_PHYSICS = mujoco.mjtState.mjSTATE_FULLPHYSICS
_CONTROLS = mujoco.mjtState.mjSTATE_CTRL.value
_CONTROLS_AND_FORCES = _CONTROLS | mujoco.mjtState.mjSTATE_QFRC_APPLIED.value


class Engine:
    """N physical states and the models they follow.

    Args:
        num_envs: N.
        path: MJCF file.
        frame_skip: physics steps in a step.
        own_models: whether each row has a model of its own, which `change` may alter.
        forces: whether `step` gets generalised forces beside the controls.
        threads: how many threads share the rows; 1 means the caller's own.

    Attributes:
        original: the model as it was loaded. Do not change it.
        states: [N, S] full physical states: time, qpos, qvel, ...
        dt: seconds in a step.
    """

    def __init__(
        self,
        num_envs: int,
        path: str,
        frame_skip: int,
        own_models: bool = False,
        forces: bool = False,
        threads: int = 1,
    ):
        self._arguments = (num_envs, path, frame_skip, own_models, forces, threads)
        self.original = load(path)
        self.dt = float(self.original.opt.timestep) * frame_skip
        self.nq, self.nv, self.nu = self.original.nq, self.original.nv, self.original.nu
        self._models = [self.original] * num_envs
        if own_models:
            self._models = [copy.copy(self.original) for _ in range(num_envs)]
        self._scratch = mujoco.MjData(self.original)
        self._steps = frame_skip
        self._pool = mujoco.rollout.Rollout(nthread=threads if threads > 1 else 0)
        self._datas = [mujoco.MjData(self.original) for _ in range(threads)]
        self._kind = _CONTROLS_AND_FORCES if forces else _CONTROLS
        self._allocate(num_envs, frame_skip, self.nu + (self.nv if forces else 0))

    def _allocate(self, n: int, steps: int, controls: int) -> None:
        size = mujoco.mj_stateSize(self.original, _PHYSICS)
        first = np.empty(size)
        mujoco.mj_resetData(self.original, self._scratch)
        mujoco.mj_getState(self.original, self._scratch, first, _PHYSICS)
        self._first = first
        self.states = np.tile(first, (n, 1))
        self._path = np.empty((n, steps, size))
        self._controls = np.zeros((n, steps, controls))

    def step(self, controls: Array, forces: Array | None = None) -> NDArray[np.bool_]:
        """Move every row; return which rows [N] became unstable. Those keep the state they had.

        MuJoCo puts a state with NaN, infinite or huge entries back to the start, clock and all: so
        a clock that is not where it should be tells of it, as it does of any other warning.

        Args:
            controls: [N, nu].
            forces: [N, nv] generalised forces, if the engine was made for them.
        """
        self._controls[:, :, : self.nu] = controls[:, None]
        if forces is not None:
            self._controls[:, :, self.nu :] = forces[:, None]
        with quiet():
            self._pool.rollout(
                self._models,
                self._datas,
                self.states,
                self._controls,
                control_spec=self._kind,
                skip_checks=True,
                nstep=self._steps,
                state=self._path,
            )
        new = self._path[:, -1]
        late = np.abs(new[:, 0] - self.states[:, 0] - self.dt) > 0.1 * self.dt / self._steps
        unstable = late | ~np.isfinite(new).all(1)
        np.copyto(self.states, new, where=~unstable[:, None])
        return unstable

    def place(self, rows: NDArray[np.int64], qpos: Array, qvel: Array) -> None:
        """Put `rows` [R] at qpos [R, nq] with qvel [R, nv], at time 0."""
        self.states[rows] = self._first
        self.states[rows, 1 : 1 + self.nq] = qpos
        self.states[rows, 1 + self.nq : 1 + self.nq + self.nv] = qvel

    def qpos(self) -> Array:
        """Return the positions [N, nq], an array of its own."""
        return self.states[:, 1 : 1 + self.nq].copy()

    def qvel(self) -> Array:
        """Return the velocities [N, nv], an array of its own."""
        return self.states[:, 1 + self.nq : 1 + self.nq + self.nv].copy()

    def change(self, row: int, write: Callable[[Any], None]) -> None:
        """Let `write(model)` alter the model of `row`; its physical state stays as it is."""
        change_model(self._models[row], self._scratch, write)

    def sense(self, row: int, function: Callable[[Any, Any], Array], controls: Array) -> Array:
        """Return what `function(model, data)` tells of `row` in its present state, [K]."""
        model, data = self._models[row], self._scratch
        mujoco.mj_resetData(model, data)
        mujoco.mj_setState(model, data, self.states[row], _PHYSICS)
        data.ctrl[:] = controls
        return np.array(function(model, data), np.float64)  # a copy: it may be a view

    def model_of(self, row: int) -> Any:
        """Return the model that `row` follows."""
        return self._models[row]

    def __getstate__(self) -> dict[str, Any]:
        return {"arguments": self._arguments, "states": self.states}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Models are reloaded in their original state: changes to them have to be made again.
        self.__init__(*state["arguments"])  # type: ignore[misc]
        self.states[:] = state["states"]


def load(path: str) -> Any:
    """Return the model of an MJCF file."""
    with quiet():
        return mujoco.MjModel.from_xml_path(path)


def change_model(model: Any, scratch: Any, write: Callable[[Any], None]) -> None:
    """Let `write(model)` alter a model, and bring up to date what MuJoCo derives from masses.

    Args:
        model: an MjModel.
        scratch: an MjData of such a model, whose content is lost. No other MjData is touched.
        write: changes parameters in place.
    """
    write(model)
    mujoco.mj_setConst(model, scratch)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep MuJoCo from writing its warnings into a file in the working directory."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(_ignore)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


def _ignore(message: str) -> None:
    """Do nothing: `Engine.step` sees for itself what the warning is about."""
