"""A two-link arm that is to reach a hidden goal which moves between sessions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.checks import check_number
from .priors import Disc
from .rewards import effort
from .simulator import MujocoTaskEnv, MujocoTaskVectorEnv
from .task import Array, Camera, Marker, Start, State, Task

__all__ = ["ReacherEnv", "ReacherVectorEnv", "fingertip", "reacher"]

_LINKS = (0.1, 0.11)  # m, from joint to joint and from the second joint to the fingertip


def fingertip(qpos: Array) -> Array:
    """Return the fingertip's (x, y) in m, [N, 2], from the joint angles qpos[:, :2] in rad."""
    first, second = qpos[:, 0], qpos[:, 0] + qpos[:, 1]
    x = _LINKS[0] * np.cos(first) + _LINKS[1] * np.cos(second)
    return np.stack([x, _LINKS[0] * np.sin(first) + _LINKS[1] * np.sin(second)], 1)


def observe(state: State) -> Array:
    """Return cosines and sines of both angles, their velocities and the fingertip, [N, 8]."""
    angles = state.qpos[:, :2]
    parts = [np.cos(angles), np.sin(angles), state.qvel[:, :2], fingertip(state.qpos)]
    return np.concatenate(parts, 1)


@dataclass(frozen=True)
class Reach:
    """r = -‖fingertip - m‖ - control_cost ‖a‖², of the state after the step."""

    control_cost: float

    def __call__(self, before: State, after: State, actions: Array, contexts: Array) -> Array:
        away = np.linalg.norm(fingertip(after.qpos) - contexts, axis=1)
        return -away - self.control_cost * effort(actions)


@dataclass(frozen=True)
class ArmStart(Start):
    """Joint angles U(-0.1, 0.1) rad, velocities U(-0.005, 0.005) rad/s; the model's ball rests."""

    def count(self, nq: int, nv: int) -> int:
        return 4

    def draw(self, uniforms: Array, qpos0: Array, nv: int) -> tuple[Array, Array]:
        noise = 2.0 * uniforms - 1.0
        qpos, qvel = np.tile(qpos0, (len(uniforms), 1)), np.zeros((len(uniforms), nv))
        qpos[:, :2] += 0.1 * noise[:, :2]
        qvel[:, :2] = 0.005 * noise[:, 2:]
        return qpos, qvel


def ball_at_goal(qpos: Array, context: Array) -> Array:
    """The positions with the model's own target, which physics here does without, at the goal."""
    return np.concatenate([qpos[:2], context])


def green_ball(qpos: Array, context: Array) -> list[Marker]:
    """A ball around the goal that is large enough to be seen."""
    return [Marker((float(context[0]), float(context[1]), 0.01), 0.014)]


def reacher(radius: float = 0.2, control_cost: float = 1.0) -> Task:
    """Return the task of `ReacherEnv`."""
    check_number("Reacher", "control_cost", control_cost, low=0.0)
    return Task(
        name="Reacher",
        model="reacher.xml",
        frame_skip=2,
        observation=observe,
        reward=Reach(control_cost),
        contexts=Disc(radius),
        start=ArmStart(),
        markers=green_ball,
        pose=ball_at_goal,
        camera=Camera(distance=0.9, azimuth=90.0, elevation=-90.0),
    )


class ReacherEnv(MujocoTaskEnv, task=reacher):
    """A two-link arm in the plane whose fingertip is to be at a hidden goal that moves.

    ## Description

    The arm of gymnasium's ``Reacher-v5``, whose goal cannot be seen. The reward tells how far away
    it is. At the end of a session the goal jumps, and has to be found again. With ``p_switch=0`` it
    stays.

    ## Action space

    ``Box(-1, 1, (2,), float32)``: torques at the two joints, as shares of the motors' gear (200 N m
    against an armature of 1 kg m²). Held for 2 physics steps, 0.02 s.

    ## Observation space

    ``Box(-inf, inf, (8,), float32)``. With more than one inner episode there is a 9th entry, the
    inner-done flag.

    | entry | meaning |
    |---|---|
    | 0, 1 | cosines of the two joint angles |
    | 2, 3 | their sines |
    | 4, 5 | the joints' velocities, rad/s |
    | 6, 7 | x, y of the fingertip, m |

    ## Rewards

    r = -‖fingertip - m‖ - `control_cost` ‖a‖², in m, `control_cost` 1. At most 0.

    ## Starting state

    Joint angles U(-0.1, 0.1) rad, velocities U(-0.005, 0.005) rad/s, at the start of each inner
    episode.

    ## Episode end

    Truncated after `inner_episodes` x `horizon` steps (200), or at once if the physics becomes
    unstable (`unstable` 1 in `info`); never terminated.

    ## Latent

    | | |
    |---|---|
    | context m | the goal's (x, y) in m |
    | prior | uniform over the disc of `radius` (0.2 m) around the shoulder: gymnasium's law |
    | change | drawn afresh from the prior |
    | sessions | after each step a session ends with probability `p_switch` (0.01: three in 200 \
steps on average, our choice) |
    | what tells m | rewards at three different places |

    `info` carries `context` (float32 [2]), `session`, `switched` and `unstable`, and `inner_done`
    where there are inner episodes.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `horizon` | 200 | steps in an inner episode; gymnasium's has 50 |
    | `inner_episodes` | 1 | inner episodes in a meta-episode |
    | `p_switch` | 0.01 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `radius` | 0.2 | of the disc of goals, in m |
    | `control_cost` | 1 | see Rewards |
    | `threads` | 1 | threads that share the rows of a vector environment |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    Differs from gymnasium's: the observation does not have the goal, the fingertip is where the
    state after the step has it (gymnasium takes it from the last physics step's middle), and the
    ball at the goal is drawn, but no part of the physics. DynaMITE-RL's paper has a Reacher too,
    whose details could not be read.

    ## Version history

    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 50}


class ReacherVectorEnv(MujocoTaskVectorEnv, of=ReacherEnv):
    """N arms moved at once; arguments and meaning as in `ReacherEnv`."""
