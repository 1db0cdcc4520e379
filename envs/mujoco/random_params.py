"""Walkers and hoppers whose masses, inertias, damping and friction are hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_flags, check_number, did_you_mean
from .dynamics import Dynamics, names_of
from .engine import load
from .priors import Uniform
from .rewards import Direction
from .simulator import MujocoTaskEnv, MujocoTaskVectorEnv
from .task import Array, Camera, State, Task, UniformStart

__all__ = [
    "HopperParamsEnv",
    "HopperParamsVectorEnv",
    "Walker2dParamsEnv",
    "Walker2dParamsVectorEnv",
    "hopper_params",
    "walker2d_params",
]

VARY = ("mass", "inertia", "damping", "friction")
_BASES = {"mass": 1.5, "inertia": 1.5, "damping": 1.3, "friction": 1.5}
_KINDS = {"mass": "body", "inertia": "body", "damping": "joint", "friction": "geom"}


class Forwards(Direction):
    """r = v - control_cost ‖a‖² + survive: the context decides on the physics alone."""

    def __call__(self, before: State, after: State, actions: Array, contexts: Array) -> Array:
        return super().__call__(before, after, actions, np.ones((len(actions), 1)))


def observe(state: State) -> Array:
    """Return all positions but x, and all velocities within ±10, [N, nq + nv - 1]."""
    return np.concatenate([state.qpos[:, 1:], np.clip(state.qvel, -10.0, 10.0)], 1)


def walker_fallen(state: State) -> NDArray[np.bool_]:
    """Return whether height is outside (0.8, 2.0) m or the trunk leans by 1 rad or more, [N]."""
    height, lean = state.qpos[:, 1], state.qpos[:, 2]
    return ~((height > 0.8) & (height < 2.0) & (np.abs(lean) < 1.0))


def hopper_fallen(state: State) -> NDArray[np.bool_]:
    """Return whether height <= 0.7 m, |lean| >= 0.2 rad or another entry is 100 or more, [N]."""
    height, lean = state.qpos[:, 1], state.qpos[:, 2]
    rest = np.concatenate([state.qpos[:, 2:], state.qvel], 1)
    return ~((height > 0.7) & (np.abs(lean) < 0.2) & (np.abs(rest) < 100.0).all(1))


def varied(task: Task, vary: Sequence[str]) -> list[str]:
    """Return the parameters, one for each body, damped joint or geom that `vary` speaks of."""
    for what in vary:
        if what not in VARY:
            raise ValueError(f"{task.name}: cannot vary {what!r}{did_you_mean(what, VARY)}.")
    model = load(str(task.model_path()))
    has = {
        "mass": model.body_mass > 0.0,
        "inertia": model.body_mass > 0.0,
        "damping": model.dof_damping > 0.0,  # planar robots: one degree of freedom a joint
        "friction": np.ones(model.ngeom, bool),
    }
    names = {what: names_of(model, _KINDS[what]) for what in vary}
    return [f"{w}:{name}" for w in vary for name, ok in zip(names[w], has[w], strict=True) if ok]


def _make(task: Task, vary: Sequence[str], limit: float) -> Task:
    """Return `task` with the context of `vary`, exponents U(-limit, limit)."""
    check_number(task.name, "limit", limit, low=0.0, high=100.0)
    if isinstance(vary, str) or not len(vary):
        raise ValueError(f"{task.name}: vary is {vary!r}; give a list of some of {list(VARY)}.")
    parameters = varied(task, vary)
    dynamics = Dynamics(parameters, [_BASES[p.partition(":")[0]] for p in parameters])
    contexts = Uniform([(-limit, limit)] * dynamics.size)
    wider = {"half_as_far_again": {"limit": 1.5 * float(limit)}}
    return replace(task, contexts=contexts, apply=dynamics, bind=dynamics.bind, variants=wider)


def _legged(name: str, model: str, fallen: Any, control_cost: float, survive: float) -> Task:
    check_number(name, "control_cost", control_cost, low=0.0)
    check_number(name, "survive", survive)
    return Task(
        name=name,
        model=model,
        frame_skip=4,
        observation=observe,
        reward=Forwards(control_cost, survive),
        contexts=Uniform([(0.0, 0.0)]),
        start=UniformStart(position=0.005, velocity=0.005),
        terminated=fallen,
        camera=Camera(fixed="track"),
    )


def walker2d_params(
    vary: Sequence[str] = VARY,
    limit: float = 3.0,
    control_cost: float = 1e-3,
    survive: float = 1.0,
    terminate: bool = True,
) -> Task:
    """Return the task of `Walker2dParamsEnv`."""
    check_flags("Walker2dParams", terminate=terminate)
    fallen = walker_fallen if terminate else None
    task = _legged("Walker2dParams", "walker2d_v5.xml", fallen, control_cost, survive)
    return _make(task, vary, limit)


def hopper_params(
    vary: Sequence[str] = VARY,
    limit: float = 3.0,
    control_cost: float = 1e-3,
    survive: float = 1.0,
    terminate: bool = True,
) -> Task:
    """Return the task of `HopperParamsEnv`."""
    check_flags("HopperParams", terminate=terminate)
    fallen = hopper_fallen if terminate else None
    task = _legged("HopperParams", "hopper.xml", fallen, control_cost, survive)
    return _make(task, vary, limit)


class Walker2dParamsEnv(MujocoTaskEnv, task=walker2d_params):
    """A two-legged planar robot whose masses, inertias, damping and friction are hidden.

    ## Description

    The robot of gymnasium's ``Walker2d-v5`` is paid for walking forwards. In each session its
    bodies are heavier or lighter, its joints stiffer or looser and the floor smoother or rougher
    than the model's, each by a factor of its own, always reckoned from the original model. A change
    leaves positions and velocities as they are. With ``p_switch=0`` the physics stays: the setting
    of PEARL and VariBAD.

    ## Action space

    ``Box(-1, 1, (6,), float32)``: torques at the six joints, as shares of 100 N m. Held for 4
    physics steps, 0.008 s.

    ## Observation space

    ``Box(-inf, inf, (17,), float32)``: height and angles (8 entries; m, rad) and all velocities (9;
    m/s, rad/s), these within ±10. With more than one inner episode there is an 18th entry, the
    inner-done flag.

    ## Rewards

    r = v - `control_cost` ‖a‖² + `survive`, v = (x after - x before) / 0.008 s in m/s,
    `control_cost` 0.001, `survive` 1.

    ## Starting state

    Positions U(-0.005, 0.005) around the model's own, velocities U(-0.005, 0.005) in each entry, at
    the start of each inner episode.

    ## Episode end

    An inner episode is terminated when the trunk's height leaves (0.8, 2.0) m or its lean (-1, 1)
    rad (unless ``terminate=False``) and else ends after `horizon` steps (200). The meta-episode
    ends with the last inner episode, or is truncated at once if the physics becomes unstable
    (`unstable` 1 in `info`).

    ## Latent

    | | |
    |---|---|
    | context m | exponents x: mass and inertia of each of 7 bodies and friction of each of 8 \
geoms are the model's times 1.5^x, damping of each of 6 joints times 1.3^x; 28 in all |
    | prior | each uniform on [-`limit`, `limit`], [-3, 3] |
    | change | all drawn afresh from the prior |
    | sessions | after each step a session ends with probability `p_switch` (0.01: three in 200 \
steps on average, our choice) |
    | what tells m | how the robot moves for the torques it was given |

    `info` carries `context` (float32 [28]), `session`, `switched` and `unstable`, and `inner_done`
    where there are inner episodes.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `horizon` | 200 | steps in an inner episode |
    | `inner_episodes` | 1 | inner episodes in a meta-episode |
    | `p_switch` | 0.01 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `vary` | all four | some of "mass", "inertia", "damping", "friction" |
    | `limit` | 3 | the largest exponent |
    | `control_cost`, `survive` | 0.001, 1 | see Rewards |
    | `terminate` | True | whether a fall ends an inner episode |
    | `threads` | 1 | threads that share the rows of a vector environment |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    Differs from PEARL's: that draws three factors for each inertia and each friction, and one for
    each undamped joint; of those a planar robot feels one, one and none.

    ## Version history

    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 125}


class Walker2dParamsVectorEnv(MujocoTaskVectorEnv, of=Walker2dParamsEnv):
    """N walkers, each with a model of its own; arguments and meaning as in `Walker2dParamsEnv`."""


class HopperParamsEnv(MujocoTaskEnv, task=hopper_params):
    """A one-legged planar robot whose masses, inertias, damping and friction are hidden.

    ## Description

    The robot of gymnasium's ``Hopper-v5`` is paid for hopping forwards. In each session its bodies
    are heavier or lighter, its joints stiffer or looser and the floor smoother or rougher than the
    model's, each by a factor of its own, always reckoned from the original model. A change leaves
    positions and velocities as they are. With ``p_switch=0`` the physics stays: the setting of
    PEARL and VariBAD.

    ## Action space

    ``Box(-1, 1, (3,), float32)``: torques at the three joints, as shares of 200 N m. Held for 4
    physics steps, 0.008 s.

    ## Observation space

    ``Box(-inf, inf, (11,), float32)``: height and angles (5 entries; m, rad) and all velocities (6;
    m/s, rad/s), these within ±10. With more than one inner episode there is a 12th entry, the
    inner-done flag.

    ## Rewards

    r = v - `control_cost` ‖a‖² + `survive`, v = (x after - x before) / 0.008 s in m/s,
    `control_cost` 0.001, `survive` 1.

    ## Starting state

    Positions U(-0.005, 0.005) around the model's own, velocities U(-0.005, 0.005) in each entry, at
    the start of each inner episode.

    ## Episode end

    An inner episode is terminated when the trunk's height is 0.7 m or less, its lean 0.2 rad or
    more or another angle or velocity 100 or more (unless ``terminate=False``), and else ends after
    `horizon` steps (200). The meta-episode ends with the last inner episode, or is truncated at
    once if the physics becomes unstable (`unstable` 1 in `info`).

    ## Latent

    | | |
    |---|---|
    | context m | exponents x: mass and inertia of each of 4 bodies and friction of each of 5 \
geoms are the model's times 1.5^x, damping of each of 3 joints times 1.3^x; 16 in all |
    | prior | each uniform on [-`limit`, `limit`], [-3, 3] |
    | change | all drawn afresh from the prior |
    | sessions | after each step a session ends with probability `p_switch` (0.01: three in 200 \
steps on average, our choice) |
    | what tells m | how the robot moves for the torques it was given |

    `info` carries `context` (float32 [16]), `session`, `switched` and `unstable`, and `inner_done`
    where there are inner episodes.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `horizon` | 200 | steps in an inner episode |
    | `inner_episodes` | 1 | inner episodes in a meta-episode |
    | `p_switch` | 0.01 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `vary` | all four | some of "mass", "inertia", "damping", "friction" |
    | `limit` | 3 | the largest exponent |
    | `control_cost`, `survive` | 0.001, 1 | see Rewards |
    | `terminate` | True | whether a fall ends an inner episode |
    | `threads` | 1 | threads that share the rows of a vector environment |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    Differs from PEARL's: that draws three factors for each inertia and each friction, and one for
    each undamped joint; of those a planar robot feels one, one and none.

    ## Version history

    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 125}


class HopperParamsVectorEnv(MujocoTaskVectorEnv, of=HopperParamsEnv):
    """N hoppers, each with a model of its own; arguments and meaning as in `HopperParamsEnv`."""
