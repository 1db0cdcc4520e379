"""Ants that are asked for a direction, a velocity or a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_flags, check_number, did_you_mean
from ..core.contexts import ContextDynamics
from .binding import mujoco
from .priors import Arc, Disc, Uniform, other_way
from .rewards import Direction, Goal, TargetVelocity
from .simulator import MujocoTaskEnv, MujocoTaskVectorEnv
from .task import Array, Camera, GaussianStart, Marker, State, Task

__all__ = [
    "AntDirEnv",
    "AntDirVectorEnv",
    "AntGoalEnv",
    "AntGoalVectorEnv",
    "AntVelEnv",
    "AntVelVectorEnv",
    "ant_dir",
    "ant_goal",
    "ant_vel",
]

CONTACT_COST = 5e-4


def observe_without_place(state: State) -> Array:
    """Return all positions but x and y, and all velocities, [N, 27]."""
    return np.concatenate([state.qpos[:, 2:], state.qvel], 1)


def observe_with_place(state: State) -> Array:
    """Return all positions and velocities, [N, 29]."""
    return np.concatenate([state.qpos, state.qvel], 1)


def sense_contacts(model: Any, data: Any) -> Array:
    """Return [1]: the sum of squares of all contact forces and torques on bodies, each within ±1.

    Forces in N, torques in N m, as MuJoCo's ``cfrc_ext`` has them.
    """
    mujoco.mj_forward(model, data)
    mujoco.mj_rnePostConstraint(model, data)
    return np.array([np.square(np.clip(data.cfrc_ext, -1.0, 1.0)).sum()])


def fallen(state: State) -> NDArray[np.bool_]:
    """Return whether the torso's height is outside [0.2, 1.0] m, [N]."""
    height = state.qpos[:, 2]
    return ~((height >= 0.2) & (height <= 1.0))


@dataclass(frozen=True)
class WithContacts:
    """A reward less CONTACT_COST times what `sense_contacts` tells of the state after."""

    reward: Direction | Goal | TargetVelocity

    def __call__(self, before: State, after: State, actions: Array, contexts: Array) -> Array:
        contacts = CONTACT_COST * after.sensed[:, 0]
        return self.reward(before, after, actions, contexts) - contacts


def direction_arrow(qpos: Array, context: Array) -> list[Marker]:
    """An arrow above the ant that points where it ought to run."""
    place = (float(qpos[0]), float(qpos[1]), float(qpos[2]) + 0.5)
    way = (1.2 * float(context[0]), 1.2 * float(context[1]), 0.0)
    return [Marker(place, 0.06, direction=way)]


def velocity_arrow(qpos: Array, context: Array) -> list[Marker]:
    """An arrow above the ant along x, as long as it is to run in 0.4 s."""
    place = (float(qpos[0]), float(qpos[1]), float(qpos[2]) + 0.5)
    return [Marker(place, 0.06, direction=(0.4 * float(context[0]), 0.0, 0.0))]


def goal_ball(qpos: Array, context: Array) -> list[Marker]:
    """A ball where the goal is."""
    return [Marker((float(context[0]), float(context[1]), 0.2), 0.2)]


def _ant(name: str, **parts: Any) -> Task:
    return Task(
        name=name,
        model="ant.xml",
        frame_skip=5,
        start=GaussianStart(position=0.1, velocity=0.1),
        sense=sense_contacts,
        **parts,
    )


def ant_dir(
    directions: str = "two", control_cost: float = 0.5, survive: float = 1.0, terminate: bool = True
) -> Task:
    """Return the task of `AntDirEnv`."""
    laws: dict[str, ContextDynamics] = {
        "two": other_way([[1.0, 0.0], [-1.0, 0.0]]),
        "circle": Arc(radius=1.0),
    }
    if directions not in laws:
        raise ValueError(f"AntDir: no directions {directions!r}{did_you_mean(directions, laws)}.")
    check_flags("AntDir", terminate=terminate)
    check_number("AntDir", "control_cost", control_cost, low=0.0)
    check_number("AntDir", "survive", survive)
    return _ant(
        "AntDir",
        observation=observe_without_place,
        reward=WithContacts(Direction(control_cost, survive, size=2)),
        contexts=laws[directions],
        terminated=fallen if terminate else None,
        markers=direction_arrow,
        camera=Camera(body="torso", distance=5.0, elevation=-30.0),
    )


def ant_vel(
    velocities: Sequence[float] = (0.0, 3.0),
    control_cost: float = 0.005,
    survive: float = 1.05,
    terminate: bool = True,
) -> Task:
    """Return the task of `AntVelEnv`."""
    check_flags("AntVel", terminate=terminate)
    check_number("AntVel", "control_cost", control_cost, low=0.0)
    check_number("AntVel", "survive", survive)
    return _ant(
        "AntVel",
        observation=observe_without_place,
        reward=WithContacts(TargetVelocity(control_cost, survive)),
        contexts=Uniform([velocities]),
        terminated=fallen if terminate else None,
        markers=velocity_arrow,
        camera=Camera(body="torso", distance=5.0, elevation=-30.0),
    )


def ant_goal(radius: float = 3.0, control_cost: float = 0.1) -> Task:
    """Return the task of `AntGoalEnv`."""
    check_number("AntGoal", "control_cost", control_cost, low=0.0)
    return _ant(
        "AntGoal",
        observation=observe_with_place,
        reward=WithContacts(Goal(control_cost)),
        contexts=Disc(radius),
        markers=goal_ball,
        camera=Camera(distance=3.4 * max(radius, 1.0), elevation=-50.0),
    )


class AntDirEnv(MujocoTaskEnv, task=ant_dir):
    """A four-legged robot that is paid for running in a hidden direction.

    ## Description

    The robot of gymnasium's ``Ant-v5`` runs on a floor. In each session one direction pays. With
    ``p_switch=0`` the direction stays: the setting of PEARL and VariBAD (which has
    ``inner_episodes=2``).

    ## Action space

    ``Box(-1, 1, (8,), float32)``: torques at the eight joints, as shares of 150 N m. Held for 5
    physics steps, 0.05 s.

    ## Observation space

    ``Box(-inf, inf, (27,), float32)``: height, orientation (quaternion) and joint angles (13
    entries; m, 1, rad) and all velocities (14; m/s, rad/s). Where the robot is in the plane is not
    part of it. With more than one inner episode there is a 28th entry, the inner-done flag.

    ## Rewards

    r = v · m - `control_cost` ‖a‖² - 0.0005 c + `survive`, with v the torso's mean velocity over
    the step in m/s, `control_cost` 0.5, `survive` 1, and c the sum of squares of the contact
    forces (N) and torques (N m) on all bodies after the step, each cut to [-1, 1].

    ## Starting state

    Positions U(-0.1, 0.1) around the model's own, velocities N(0, 0.1²) in each entry, at the start
    of each inner episode.

    ## Episode end

    An inner episode is terminated when the torso's height is outside [0.2, 1.0] m (unless
    ``terminate=False``) and else ends after `horizon` steps (200). The meta-episode ends with the
    last inner episode, or is truncated at once if the physics becomes unstable (`unstable` 1).

    ## Latent

    | | |
    |---|---|
    | context m | a unit vector (cos φ, sin φ) |
    | prior | `directions`: "two" is ±x, equally likely; "circle" any angle |
    | change | the other one of the two; any angle, drawn afresh |
    | sessions | after each step a session ends with probability `p_switch` (0.01: three in 200 \
steps on average, our choice) |
    | what tells m | each reward at which the robot moves |

    `info` carries `context` (float32 [2]), `session`, `switched` and `unstable`, and `inner_done`
    where there are inner episodes.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `horizon` | 200 | steps in an inner episode |
    | `inner_episodes` | 1 | inner episodes in a meta-episode |
    | `p_switch` | 0.01 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `directions` | "two" | see Latent |
    | `control_cost`, `survive` | 0.5, 1 | see Rewards |
    | `terminate` | True | whether a fall ends an inner episode |
    | `threads` | 1 | threads that share the rows of a vector environment |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    Differs from VariBAD's code: there the two directions are the angles +1 and -1 rad, 115 degrees
    apart, where PEARL's are 0 and π, as here. Velocities are those of the root joint, contact
    forces those of the state after the step; gymnasium takes both from the middle of the last
    physics step.

    ## Version history

    * v0: first version.
    """


class AntDirVectorEnv(MujocoTaskVectorEnv, of=AntDirEnv):
    """N ants moved at once; arguments and meaning as in `AntDirEnv`."""


class AntVelEnv(MujocoTaskEnv, task=ant_vel):
    """A four-legged robot that is to run at a hidden velocity.

    ## Description

    The robot of gymnasium's ``Ant-v5`` runs on a floor. In each session there is a velocity along x
    at which it ought to run; the reward tells how far off it is, but not on which side. With
    ``p_switch=0`` the velocity stays: the setting of MAML.

    ## Action space

    ``Box(-1, 1, (8,), float32)``: torques at the eight joints, as shares of 150 N m. Held for 5
    physics steps, 0.05 s.

    ## Observation space

    ``Box(-inf, inf, (27,), float32)``: height, orientation (quaternion) and joint angles (13
    entries; m, 1, rad) and all velocities (14; m/s, rad/s). Where the robot is in the plane is not
    part of it. With more than one inner episode there is a 28th entry, the inner-done flag.

    ## Rewards

    r = -|v - m| - `control_cost` ‖a‖² - 0.0005 c + `survive`, with v the torso's mean velocity
    along x over the step in m/s, `control_cost` 0.005, `survive` 1.05, and c the sum of squares of
    the contact forces (N) and torques (N m) on all bodies after the step, each cut to [-1, 1].

    ## Starting state

    Positions U(-0.1, 0.1) around the model's own, velocities N(0, 0.1²) in each entry, at the start
    of each inner episode.

    ## Episode end

    An inner episode is terminated when the torso's height is outside [0.2, 1.0] m (unless
    ``terminate=False``) and else ends after `horizon` steps (200). The meta-episode ends with the
    last inner episode, or is truncated at once if the physics becomes unstable (`unstable` 1).

    ## Latent

    | | |
    |---|---|
    | context m | the velocity asked for, v*, in m/s |
    | prior | uniform on `velocities`, [0, 3] |
    | change | drawn afresh from the prior |
    | sessions | after each step a session ends with probability `p_switch` (0.01: three in 200 \
steps on average, our choice) |
    | what tells m | rewards at two different velocities |

    `info` carries `context` (float32 [1]), `session`, `switched` and `unstable`, and `inner_done`
    where there are inner episodes.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `horizon` | 200 | steps in an inner episode |
    | `inner_episodes` | 1 | inner episodes in a meta-episode |
    | `p_switch` | 0.01 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `velocities` | (0, 3) | the range of v*, m/s |
    | `control_cost`, `survive` | 0.005, 1.05 | see Rewards |
    | `terminate` | True | whether a fall ends an inner episode |
    | `threads` | 1 | threads that share the rows of a vector environment |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    Differs from MAML's: the robot is Ant-v5, whose observation here has neither contact forces nor
    the torso's rotation matrix and place. Velocities and contact forces are as in `AntDirEnv`.

    ## Version history

    * v0: first version.
    """


class AntVelVectorEnv(MujocoTaskVectorEnv, of=AntVelEnv):
    """N ants moved at once; arguments and meaning as in `AntVelEnv`."""


class AntGoalEnv(MujocoTaskEnv, task=ant_goal):
    """A four-legged robot that is to find a hidden place and to stay there.

    ## Description

    The robot of gymnasium's ``Ant-v5`` walks on a floor. In each session there is a place it ought
    to be at; the reward tells how far away it is. With ``p_switch=0`` the place stays: the setting
    of PEARL and VariBAD.

    ## Action space

    ``Box(-1, 1, (8,), float32)``: torques at the eight joints, as shares of 150 N m. Held for 5
    physics steps, 0.05 s.

    ## Observation space

    ``Box(-inf, inf, (29,), float32)``: position, orientation (quaternion) and joint angles (15
    entries; m, 1, rad) and all velocities (14; m/s, rad/s). With more than one inner episode there
    is a 30th entry, the inner-done flag.

    ## Rewards

    r = -‖(x, y) - m‖₁ - `control_cost` ‖a‖² - 0.0005 c, in m, with `control_cost` 0.1 and c the sum
    of squares of the contact forces (N) and torques (N m) on all bodies after the step, each cut to
    [-1, 1]. At most 0.

    ## Starting state

    Positions U(-0.1, 0.1) around the model's own, velocities N(0, 0.1²) in each entry, at the start
    of each inner episode.

    ## Episode end

    Truncated after `inner_episodes` x `horizon` steps (200), or at once if the physics becomes
    unstable (`unstable` 1 in `info`); never terminated.

    ## Latent

    | | |
    |---|---|
    | context m | the place (x, y) in m |
    | prior | uniform over the disc of `radius` (3 m) around the start |
    | change | drawn afresh from the prior |
    | sessions | after each step a session ends with probability `p_switch` (0.01: three in 200 \
steps on average, our choice) |
    | what tells m | rewards at three different places |

    `info` carries `context` (float32 [2]), `session`, `switched` and `unstable`, and `inner_done`
    where there are inner episodes.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `horizon` | 200 | steps in an inner episode |
    | `inner_episodes` | 1 | inner episodes in a meta-episode |
    | `p_switch` | 0.01 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `radius` | 3 | of the disc of goals, in m |
    | `control_cost` | 0.1 | see Rewards |
    | `threads` | 1 | threads that share the rows of a vector environment |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    Differs from PEARL's and VariBAD's: their observation has 84 contact forces as well. Contact
    forces are those of the state after the step; gymnasium takes them from the last physics step's
    middle.

    ## Version history

    * v0: first version.
    """


class AntGoalVectorEnv(MujocoTaskVectorEnv, of=AntGoalEnv):
    """N ants moved at once; arguments and meaning as in `AntGoalEnv`."""
