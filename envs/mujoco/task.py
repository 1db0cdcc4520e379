"""What a MuJoCo task is: one frozen description, from which every form of the task is derived.

A `Task` names a model (MJCF) and holds pure functions on arrays with one row for each environment.
`simulator.MujocoSimulator` makes the single and the vector environment from it, and
`wrappers.TaskContext` puts the same task on a gymnasium environment of the same model. To add one:

1. write observation and reward (and what else is needed) as module-level functions or frozen
   dataclasses with ``__call__``: a task is pickled with its environment, which lambdas are not;
2. put them into a `Task` that a function of the task's own settings returns;
3. give it a class with a specification, see ``half_cheetah.py``, and a line in ``envs/__init__``.

N rows, nq positions, nv velocities, nu actuators, A = nu actions, C context entries. SI units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.contexts import ContextDynamics

Array = NDArray[np.float64]


@dataclass(frozen=True)
class State:
    """The physical state of N environments at one moment. Do not write into the arrays.

    Attributes:
        qpos: [N, nq] generalised positions.
        qvel: [N, nv] generalised velocities.
        sensed: [N, K] what `Task.sense` returned for this state; K = 0 without it.
        memory: [N, M] what `Task.remember` keeps of the inner episode; M = 0 without it.
        dt: seconds between one action and the next.
    """

    qpos: Array
    qvel: Array
    sensed: Array
    memory: Array
    dt: float


@dataclass(frozen=True)
class Marker:
    """Something to draw that the physics does not have: a sphere, or an arrow along `direction`.

    Attributes:
        position: (x, y, z) in m.
        size: radius of the sphere, or width of the arrow, in m.
        rgba: colour, each from 0 to 1.
        direction: (x, y, z) of an arrow in m, whose length is its own; None draws a sphere.
    """

    position: tuple[float, float, float]
    size: float = 0.1
    rgba: tuple[float, float, float, float] = (0.18, 0.55, 0.34, 1.0)
    direction: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Camera:
    """Where a picture is taken from: a camera of the model, or a free one.

    Attributes:
        fixed: name of a camera in the MJCF; None for a free one.
        body: name of the body that a free camera keeps in its middle; None looks at `lookat`.
        distance, azimuth, elevation: of a free camera, in m and degrees.
        lookat: (x, y, z) in m, where no body is followed.
    """

    fixed: str | None = None
    body: str | None = None
    distance: float = 4.0
    azimuth: float = 90.0
    elevation: float = -20.0
    lookat: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Start(ABC):
    """The law of an inner episode's first state, as a pure function of uniforms."""

    @abstractmethod
    def count(self, nq: int, nv: int) -> int:
        """Return how many uniforms one start uses."""

    @abstractmethod
    def draw(self, uniforms: Array, qpos0: Array, nv: int) -> tuple[Array, Array]:
        """Return qpos [R, nq] and qvel [R, nv] for uniforms [R, count] in [0, 1).

        Args:
            uniforms: [R, count].
            qpos0: [nq], the model's reference positions, or `Task.qpos0` where that is given.
            nv: number of velocities.
        """


@dataclass(frozen=True)
class UniformStart(Start):
    """qpos0 + U(-position, position), and velocities U(-velocity, velocity), in each entry."""

    position: float = 0.0
    velocity: float = 0.0

    def count(self, nq: int, nv: int) -> int:
        return nq + nv

    def draw(self, uniforms: Array, qpos0: Array, nv: int) -> tuple[Array, Array]:
        noise = 2.0 * uniforms - 1.0
        nq = len(qpos0)
        return qpos0 + self.position * noise[:, :nq], self.velocity * noise[:, nq : nq + nv]


@dataclass(frozen=True)
class GaussianStart(Start):
    """qpos0 + U(-position, position) and velocities N(0, velocity²), in each entry."""

    position: float = 0.1
    velocity: float = 0.1

    def count(self, nq: int, nv: int) -> int:
        return nq + 2 * nv

    def draw(self, uniforms: Array, qpos0: Array, nv: int) -> tuple[Array, Array]:
        nq = len(qpos0)
        positions = qpos0 + self.position * (2.0 * uniforms[:, :nq] - 1.0)
        radius = np.sqrt(-2.0 * np.log1p(-uniforms[:, nq : nq + nv]))  # Box and Muller's way
        angle = 2.0 * np.pi * uniforms[:, nq + nv : nq + 2 * nv]
        return positions, self.velocity * radius * np.cos(angle)


Observe = Callable[[State], Array]
Reward = Callable[[State, State, Array, Array], Array]
Apply = Callable[[Any, Any, Array], None]


@dataclass(frozen=True)
class Task:
    """A MuJoCo task with a hidden context.

    Attributes:
        name: for messages, such as "HalfCheetahVel".
        model: path of an MJCF file, or the name of one of gymnasium's own (``half_cheetah.xml``).
        frame_skip: physics steps in one action, during which the controls stay.
        observation: state -> [N, D]. It must not tell the context.
        reward: (state before, state after, actions [N, A], contexts [N, C]) -> [N].
        contexts: the prior over contexts and what they change to (see `core.contexts`, `priors`).
        start: the law of first states.
        qpos0: [nq] reference positions of the start; the model's own if None.
        terminated: state -> [N] bool, whether an inner episode ends for good there; None: never.
        apply: (model, original model, context [C]) -> None. Writes what the context changes into
            `model`, always reckoned from `original`, which nobody changes. It is called when a
            session begins, and leaves positions and velocities alone. `dynamics.Dynamics` is one.
        bind: called once with the original model, when the environment is made; it raises
            ValueError if the model lacks what the task names. `Dynamics.bind` is one.
        force: contexts [N, C] -> [N, nv], generalised forces (N, N m) that act all the time.
        sense: (model, data) -> [K] of one environment: what positions and velocities do not show,
            such as where a fingertip is or what a contact presses with. `data` has qpos, qvel and
            ctrl; `sense` itself calls what it needs (``mj_kinematics``, ``mj_forward``). Called for
            each row and step, so keep it short. It must depend on nothing else.
        remember: state -> [N, M], the new memory, from a state whose `memory` is the old one: zeros
            at the start of an inner episode, for whose first state it is called too.
        memory_size: M.
        markers: (qpos [nq], context [C]) -> what to draw beside the model.
        pose: (qpos [nq], context [C]) -> the positions to draw the model in, where a body of it
            shows the context; None: as it is.
        camera: where pictures are taken from.
        variants: name -> settings of worlds that look the same and that no context of this one
            explains (see `core.hooks`); one whose context changes every step is always among them.
        measures: meta-episodes -> name -> number (see `core.hooks`), a module-level function.
    """

    name: str
    model: str
    frame_skip: int
    observation: Observe
    reward: Reward
    contexts: ContextDynamics
    start: Start = field(default_factory=UniformStart)
    qpos0: tuple[float, ...] | None = None
    terminated: Callable[[State], NDArray[np.bool_]] | None = None
    apply: Apply | None = None
    bind: Callable[[Any], None] | None = None
    force: Callable[[Array], Array] | None = None
    sense: Callable[[Any, Any], Array] | None = None
    remember: Callable[[State], Array] | None = None
    memory_size: int = 0
    markers: Callable[[Array, Array], Sequence[Marker]] | None = None
    pose: Callable[[Array, Array], Array] | None = None
    camera: Camera = Camera()
    variants: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    measures: Callable[[Sequence[Any]], dict[str, float]] | None = None

    def model_path(self) -> Path:
        """Return the MJCF file.

        Raises:
            ValueError: if there is none of that name, here or among gymnasium's.
        """
        path = Path(self.model)
        if not path.is_file() and len(path.parts) == 1:
            path = _gymnasium_assets() / self.model
        if not path.is_file():
            raise ValueError(
                f"{self.name}: there is no model {self.model!r}; give the path of an MJCF file, or "
                f"the name of one in {_gymnasium_assets()}."
            )
        return path


def _gymnasium_assets() -> Path:
    # Beside gymnasium.envs: importing gymnasium.envs.mujoco would need what only pictures need.
    from gymnasium import envs

    return Path(envs.__file__).parent / "mujoco" / "assets"
