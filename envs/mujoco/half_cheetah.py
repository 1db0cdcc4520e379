"""Half-cheetahs that are asked for a direction, a velocity, or a velocity in the wind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import check_number
from ..core.contexts import Markov
from .priors import Uniform, beyond
from .rewards import Direction, TargetVelocity
from .simulator import MujocoTaskEnv, MujocoTaskVectorEnv
from .task import Array, Camera, GaussianStart, Marker, State, Task

__all__ = [
    "HalfCheetahDirEnv",
    "HalfCheetahDirVectorEnv",
    "HalfCheetahVelEnv",
    "HalfCheetahVelVectorEnv",
    "HalfCheetahWindVelEnv",
    "HalfCheetahWindVelVectorEnv",
    "half_cheetah_dir",
    "half_cheetah_vel",
    "half_cheetah_wind_vel",
]

_FLIP = ((0.0, 1.0), (1.0, 0.0))
_WIND = (0.14, 0.34, 0.66, 1.0)


def observe(state: State) -> Array:
    """Return all positions but x, and all velocities, [N, 17]: gymnasium's observation."""
    return np.concatenate([state.qpos[:, 1:], state.qvel], 1)


@dataclass(frozen=True)
class HeadWind:
    """A force of m N against the direction of x on the whole robot, m the context's `entry`."""

    entry: int
    nv: int = 9

    def __call__(self, contexts: Array) -> Array:
        forces = np.zeros((len(contexts), self.nv))
        forces[:, 0] = -contexts[:, self.entry]
        return forces


@dataclass(frozen=True)
class Arrows:
    """An arrow above the robot as long as the velocity asked for, and one for the wind."""

    scale: float = 0.4
    wind: bool = False

    def __call__(self, qpos: Array, context: Array) -> list[Marker]:
        x, z = float(qpos[0]), 0.7 + float(qpos[1])
        way = (self.scale * float(context[0]), 0.0, 0.0)
        arrows = [Marker((x, 0.0, z + 0.6), 0.03, direction=way)]
        if self.wind:
            blow = (-0.06 * float(context[1]), 0.0, 0.0)
            arrows.append(Marker((x + 1.2, 0.0, z + 0.8), 0.03, _WIND, direction=blow))
        return arrows


def _half_cheetah(name: str, **parts: Any) -> Task:
    return Task(
        name=name,
        model="half_cheetah.xml",
        frame_skip=5,
        observation=observe,
        start=GaussianStart(position=0.1, velocity=0.1),
        camera=Camera(fixed="track"),
        **parts,
    )


def half_cheetah_dir(
    transition: ArrayLike = _FLIP, prior: ArrayLike = (0.5, 0.5), control_cost: float = 0.05
) -> Task:
    """Return the task of `HalfCheetahDirEnv`."""
    check_number("HalfCheetahDir", "control_cost", control_cost, low=0.0)
    return _half_cheetah(
        "HalfCheetahDir",
        reward=Direction(control_cost),
        contexts=Markov(prior, transition, values=[[1.0], [-1.0]]),
        markers=Arrows(scale=0.8),
    )


def half_cheetah_vel(velocities: Sequence[float] = (0.0, 3.0), control_cost: float = 0.05) -> Task:
    """Return the task of `HalfCheetahVelEnv`."""
    check_number("HalfCheetahVel", "control_cost", control_cost, low=0.0)
    return _half_cheetah(
        "HalfCheetahVel",
        reward=TargetVelocity(control_cost),
        contexts=Uniform([velocities]),
        markers=Arrows(),
        variants={"faster": {"velocities": beyond(velocities)}},
    )


def half_cheetah_wind_vel(
    velocities: Sequence[float] = (0.0, 3.0),
    winds: Sequence[float] = (0.0, 20.0),
    control_cost: float = 0.05,
) -> Task:
    """Return the task of `HalfCheetahWindVelEnv`."""
    check_number("HalfCheetahWindVel", "control_cost", control_cost, low=0.0)
    return _half_cheetah(
        "HalfCheetahWindVel",
        reward=TargetVelocity(control_cost),
        contexts=Uniform([velocities, winds]),
        force=HeadWind(entry=1),
        markers=Arrows(wind=True),
        variants={
            "faster": {"velocities": beyond(velocities)},
            "more_wind": {"winds": beyond(winds)},
        },
    )


class HalfCheetahDirEnv(MujocoTaskEnv, task=half_cheetah_dir):
    """A half-cheetah that is paid for running forwards or backwards; which way is hidden.

    ## Description

    The planar robot of gymnasium's ``HalfCheetah-v5`` runs on a floor. In each session one of the
    two directions pays. A good agent finds out by the sign of its rewards and turns round.
    With ``p_switch=0`` the direction stays: the setting of MAML, PEARL and VariBAD (which has
    ``inner_episodes=2``).

    ## Action space

    ``Box(-1, 1, (6,), float32)``: torques at the six joints, as shares of each motor's gear
    (120, 90, 60, 120, 60, 30 N m). Held for 5 physics steps, 0.05 s.

    ## Observation space

    ``Box(-inf, inf, (17,), float32)``, gymnasium's: heights and angles (8 entries; m, rad) and all
    velocities (9; m/s, rad/s). The position along x is not part of it. With more than one inner
    episode there is an 18th entry, the inner-done flag.

    ## Rewards

    r = m v - `control_cost` ‖a‖², v = (x after - x before) / 0.05 s in m/s, `control_cost` 0.05.

    ## Starting state

    Positions U(-0.1, 0.1), velocities N(0, 0.1²) in each entry, at the start of each inner episode.

    ## Episode end

    Truncated after `inner_episodes` x `horizon` steps (200), or at once if the physics becomes
    unstable (`unstable` 1 in `info`); never terminated.

    ## Latent

    | | |
    |---|---|
    | context m | +1 (forwards) or -1 (backwards) |
    | prior | `prior`, uniform by default |
    | change | T(m' given m) by `transition`, rows and columns (+1, -1); by default the other |
    | sessions | after each step a session ends with probability `p_switch` (0.01: three in 200 \
steps on average, our choice) |
    | what tells m | each reward at which |v| is not 0 |

    `info` carries `context` (float32 [1]), `session`, `switched` and `unstable`, and `inner_done`
    where there are inner episodes.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `horizon` | 200 | steps in an inner episode |
    | `inner_episodes` | 1 | inner episodes in a meta-episode |
    | `p_switch` | 0.01 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `transition` | [[0, 1], [1, 0]] | row m: distribution of the next context |
    | `prior` | [0.5, 0.5] | distribution of the first context |
    | `control_cost` | 0.05 | see Rewards |
    | `threads` | 1 | threads that share the rows of a vector environment |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    Differs from VariBAD's: its observation has the torso's position as well (20 entries), which
    tells how far the robot has run but nothing of m.

    ## Version history

    * v0: first version.
    """


class HalfCheetahDirVectorEnv(MujocoTaskVectorEnv, of=HalfCheetahDirEnv):
    """N half-cheetahs moved at once; arguments and meaning as in `HalfCheetahDirEnv`."""


class HalfCheetahVelEnv(MujocoTaskEnv, task=half_cheetah_vel):
    """A half-cheetah that is to run at a hidden velocity.

    ## Description

    The planar robot of gymnasium's ``HalfCheetah-v5`` runs on a floor. In each session there is a
    velocity at which it ought to run; the reward tells how far off it is, but not on which side.
    With ``p_switch=0`` the velocity stays: the setting of MAML, PEARL and VariBAD (which has
    ``inner_episodes=2``).

    ## Action space

    ``Box(-1, 1, (6,), float32)``: torques at the six joints, as shares of each motor's gear
    (120, 90, 60, 120, 60, 30 N m). Held for 5 physics steps, 0.05 s.

    ## Observation space

    ``Box(-inf, inf, (17,), float32)``, gymnasium's: heights and angles (8 entries; m, rad) and all
    velocities (9; m/s, rad/s). The position along x is not part of it. With more than one inner
    episode there is an 18th entry, the inner-done flag.

    ## Rewards

    r = -|v - m| - `control_cost` ‖a‖², v = (x after - x before) / 0.05 s in m/s, `control_cost`
    0.05. At most 0.

    ## Starting state

    Positions U(-0.1, 0.1), velocities N(0, 0.1²) in each entry, at the start of each inner episode.

    ## Episode end

    Truncated after `inner_episodes` x `horizon` steps (200), or at once if the physics becomes
    unstable (`unstable` 1 in `info`); never terminated.

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
    | `control_cost` | 0.05 | see Rewards |
    | `threads` | 1 | threads that share the rows of a vector environment |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    Differs from VariBAD's: its observation has the torso's position as well (20 entries), which
    tells how far the robot has run but nothing of m. MAML's paper has v* in [0, 2].

    ## Version history

    * v0: first version.
    """


class HalfCheetahVelVectorEnv(MujocoTaskVectorEnv, of=HalfCheetahVelEnv):
    """N half-cheetahs moved at once; arguments and meaning as in `HalfCheetahVelEnv`."""


class HalfCheetahWindVelEnv(MujocoTaskEnv, task=half_cheetah_wind_vel):
    """A half-cheetah that is to run at a hidden velocity against a hidden wind.

    ## Description

    As `HalfCheetahVelEnv`, and a head wind pushes the robot with a constant force. So the context
    changes the reward and the dynamics at once. The wind changes with the velocity; where the robot
    is and how it moves stays as it was.

    ## Action space

    ``Box(-1, 1, (6,), float32)``: torques at the six joints, as shares of each motor's gear
    (120, 90, 60, 120, 60, 30 N m). Held for 5 physics steps, 0.05 s.

    ## Observation space

    ``Box(-inf, inf, (17,), float32)``, gymnasium's: heights and angles (8 entries; m, rad) and all
    velocities (9; m/s, rad/s). The position along x is not part of it. With more than one inner
    episode there is an 18th entry, the inner-done flag.

    ## Rewards

    r = -|v - m₁| - `control_cost` ‖a‖², v = (x after - x before) / 0.05 s in m/s, `control_cost`
    0.05. At most 0.

    ## Starting state

    Positions U(-0.1, 0.1), velocities N(0, 0.1²) in each entry, at the start of each inner episode.

    ## Episode end

    Truncated after `inner_episodes` x `horizon` steps (200), or at once if the physics becomes
    unstable (`unstable` 1 in `info`); never terminated.

    ## Latent

    | | |
    |---|---|
    | context m | (v* in m/s, force of the head wind in N) |
    | prior | uniform on `velocities`, [0, 3], and `winds`, [0, 20], independent of each other |
    | change | both drawn afresh from the prior |
    | sessions | after each step a session ends with probability `p_switch` (0.01: three in 200 \
steps on average, our choice) |
    | what tells m | rewards tell v*, the robot's acceleration (20 N are 1.4 m/s²) tells the wind |

    `info` carries `context` (float32 [2]), `session`, `switched` and `unstable`, and `inner_done`
    where there are inner episodes.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `horizon` | 200 | steps in an inner episode |
    | `inner_episodes` | 1 | inner episodes in a meta-episode |
    | `p_switch` | 0.01 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `velocities` | (0, 3) | the range of v*, m/s |
    | `winds` | (0, 20) | the range of the force, N; negative is a wind from behind |
    | `control_cost` | 0.05 | see Rewards |
    | `threads` | 1 | threads that share the rows of a vector environment |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    The task is LILAC's (Xie, Harrison and Finn 2020), whose ranges are v* in [0, 3] and wind in
    [0, 20]. What exactly its wind acts on could not be read. Ours is one horizontal force on the
    robot as a whole.

    ## Version history

    * v0: first version.
    """


class HalfCheetahWindVelVectorEnv(MujocoTaskVectorEnv, of=HalfCheetahWindVelEnv):
    """N half-cheetahs moved at once; arguments and meaning as in `HalfCheetahWindVelEnv`."""
