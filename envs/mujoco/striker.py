"""``Striker-v0``: an arm strikes a ball of unknown mass and damping towards a far goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_number, did_you_mean
from .binding import mujoco
from .dynamics import Dynamics
from .measures import MeasuredSimulator
from .priors import any_of
from .rewards import effort
from .simulator import MujocoTaskEnv, MujocoTaskVectorEnv
from .task import Array, Camera, Start, State, Task

__all__ = ["GRIDS", "StrikerEnv", "StrikerVectorEnv", "striker"]

MODEL = Path(__file__).parent / "assets" / "striker.xml"
JOINTS = 7
ARM = (-0.2, 0.5, -1.7, -1.5, 1.0, 0.0, 0.0)
BALL = (0.5, -0.3)
GOAL = (0.0, 1.0)
HEIGHT = -0.27
"""z of the ball's centre, and of the point of the goal that distances are measured to, in m."""
STRIKE = 0.1
"""At a fingertip closer to the ball's centre than this (m), the ball counts as struck."""

_BETWEEN = [(mass, damping) for mass in (0.6, 1.4, 2.2, 3.0) for damping in (0.2, 0.4, 0.6, 0.8)]
_AROUND = [
    (mass, damping)
    for mass in (0.6, 1.4, 2.2, 3.0, 3.8, 4.6)
    for damping in (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
]
GRIDS: dict[str, list[tuple[float, float]]] = {
    "train": [
        (mass, damping)
        for mass in (0.2, 1.0, 1.8, 2.6, 3.4)
        for damping in (0.1, 0.3, 0.5, 0.7, 0.9)
    ],
    "held_out": _BETWEEN,
    "extrapolate": [pair for pair in _AROUND if pair not in _BETWEEN],
}
"""Pairs (factor on the ball's mass and inertia, damping in N s/m). No pair is in two grids, and no
value of `train` in another one."""


@dataclass(frozen=True)
class ArmStart(Start):
    """Positions as they are; velocities U(-velocity, velocity) in the arm's joints, 0 elsewhere."""

    velocity: float = 0.1

    def count(self, nq: int, nv: int) -> int:
        return JOINTS

    def draw(self, uniforms: Array, qpos0: Array, nv: int) -> tuple[Array, Array]:
        qvel = np.zeros((len(uniforms), nv))
        qvel[:, :JOINTS] = self.velocity * (2.0 * uniforms - 1.0)
        return np.tile(qpos0, (len(uniforms), 1)), qvel


def fingertip(model: Any, data: Any) -> Array:
    """Return where the fingertip is, [3] in m."""
    mujoco.mj_kinematics(model, data)
    place: Array = data.site("fingertip").xpos.copy()
    return place


def ball(state: State) -> Array:
    """Return where the ball's centre is, [N, 3] in m."""
    return np.column_stack([state.qpos[:, JOINTS:], np.full(len(state.qpos), HEIGHT)])


def to_goal(state: State) -> Array:
    """Return the distance from the ball to the goal, [N] in m."""
    return np.linalg.norm(state.qpos[:, JOINTS:] - GOAL, axis=1)


def remember_strike(state: State) -> Array:
    """Return [N, 4]: whether the ball has been struck, and where the fingertip last was at it."""
    tip = state.sensed
    touching = np.linalg.norm(ball(state) - tip, axis=1) < STRIKE
    return np.where(touching[:, None], np.insert(tip, 0, 1.0, axis=1), state.memory)


def near(state: State) -> Array:
    """Return the distance [N] from ball to fingertip, or, after the strike, to its place, in m."""
    struck = state.memory[:, :1] > 0.0
    return np.linalg.norm(ball(state) - np.where(struck, state.memory[:, 1:], state.sensed), axis=1)


def observe(state: State) -> Array:
    """Return joint positions and velocities, fingertip, ball and goal, [N, 23]."""
    goal = np.tile([*GOAL, HEIGHT], (len(state.qpos), 1))
    arm = (state.qpos[:, :JOINTS], state.qvel[:, :JOINTS])
    return np.concatenate([*arm, state.sensed, ball(state), goal], 1)


def reward(before: State, after: State, actions: Array, contexts: Array) -> Array:
    """Return -3 ‖ball - goal‖ - 0.1 ‖a‖² - 0.5 near, [N], of the state that the action led to."""
    return -3.0 * to_goal(after) - 0.1 * effort(actions) - 0.5 * near(after)


def measure(state: State, contexts: Array) -> dict[str, Array]:
    """Return the ball's distance to the goal, in m."""
    return {"final_distance": to_goal(state)}


def final_distance(episodes: Sequence[Any]) -> dict[str, float]:
    """Return how far from the goal the ball is at the end of meta-episodes, in m: the task's score.

    Args:
        episodes: with observations `[T + 1, 23 or more]`.

    Returns:
        ``final_distance_mean``, ``final_distance_median`` and ``final_distance_standard_error``.
    """
    last = np.array([e.observations[-1] for e in episodes], np.float64)
    far = np.linalg.norm(last[:, 17:20] - last[:, 20:23], axis=1)
    error = far.std(ddof=1) / len(far) ** 0.5 if len(far) > 1 else float("nan")
    return {
        "final_distance_mean": float(far.mean()),
        "final_distance_median": float(np.median(far)),
        "final_distance_standard_error": float(error),
    }


def striker(grid: str | Sequence[Sequence[float]] = "train") -> Task:
    """Return the task of `StrikerEnv`."""
    dynamics = Dynamics(["mass+inertia:ball", "damping:ball_x,ball_y"])
    return Task(
        name="Striker",
        model=str(MODEL),
        frame_skip=5,
        observation=observe,
        reward=reward,
        contexts=any_of(_pairs(grid)),
        start=ArmStart(),
        qpos0=(*ARM, *BALL),
        apply=dynamics,
        bind=dynamics.bind,
        sense=fingertip,
        remember=remember_strike,
        memory_size=4,
        camera=Camera(fixed="view"),
        variants={
            "dynamics_in_between": {"grid": "held_out"},
            "heavier_or_more_damped": {"grid": "extrapolate"},
        },
        measures=final_distance,
    )


def _pairs(grid: str | Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return the contexts [K, 2] that `grid` names or lists."""
    if isinstance(grid, str):
        if grid not in GRIDS:
            raise ValueError(f"Striker: no grid {grid!r}{did_you_mean(grid, GRIDS)}.")
        return np.array(GRIDS[grid])
    pairs = [tuple(pair) for pair in grid]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"Striker: grid is {grid!r}; name one ({', '.join(GRIDS)}) or list pairs "
            "(factor on the mass, damping in N s/m)."
        )
    for mass, damping in pairs:
        check_number("Striker", "a factor on the mass in grid", mass, low=0.01)
        check_number("Striker", "a damping in grid", damping, low=0.0)
    return np.array(pairs, np.float64)


class StrikerEnv(
    MujocoTaskEnv, task=striker, simulator=partial(MeasuredSimulator, measure=measure), p_switch=0.0
):
    """An arm that has to strike a ball so that it comes to rest at a goal out of the arm's reach.

    ## Description

    A seven-joint arm (shoulder pan, lift and roll, elbow flex, forearm roll, wrist flex and roll)
    stands beside a table. A ball lies in front of its hand; the goal is a disc on the far side. The
    ball slides on without friction but for the damping of its motion, so that how hard to strike
    depends on its mass and damping, which cannot be seen. There is no gravity. Only the hand
    touches the ball (and the table, from above).

    ## Action space

    ``Box(-3, 3, (7,), float32)``: torques at the seven joints in N m, in the order above, held for
    5 physics steps of 0.01 s.

    ## Observation space

    ``Box(-inf, inf, (23,), float32)``. With more than one inner episode there is a 24th entry, the
    inner-done flag.

    | entry | meaning | unit |
    |---|---|---|
    | 0-6 | joint positions | rad |
    | 7-13 | joint velocities | rad/s |
    | 14-16 | x, y, z of the fingertip | m |
    | 17-19 | x, y, z of the ball's centre | m |
    | 20-22 | x, y, z of the goal | m |

    ## Rewards

    r = -3 ‖ball - goal‖ - 0.1 ‖a‖² - 0.5 near, of the state that the action led to. Before the
    strike near = ‖ball - fingertip‖; after it, near = ‖ball - p‖. The ball is struck when the
    fingertip comes within 0.1 m of it, and p is where the fingertip last was so close. In the
    default pose it is (0.085 m), so near says from the start how far the ball has left the hand.
    At most 0; an arm at rest gets -4.2 a step.

    ## Starting state

    Joints at (-0.2, 0.5, -1.7, -1.5, 1, 0, 0) rad with velocities U(-0.1, 0.1) rad/s, the ball at
    rest at (0.5, -0.3) m, the goal at (0, 1) m: 1.39 m away. So at each start of an inner episode.

    ## Episode end

    Truncated after `inner_episodes` x `horizon` steps (200, that is 10 s), or at once if the
    physics becomes unstable (`unstable` 1 in `info`); never terminated.

    ## Latent

    | | |
    |---|---|
    | context m | (factor on the ball's mass and inertia, damping of its motion in N s/m) |
    | prior | uniform over the pairs of `grid` |
    | change | drawn afresh from the prior; the ball moves on as it did |
    | sessions | after each step a session ends with probability `p_switch` (0: static) |
    | what tells m | how the ball moves: its slowing down tells damping/mass, a push the mass |

    | grid | factors on the mass | dampings, N s/m | pairs |
    |---|---|---|---|
    | `train` | 0.2, 1.0, 1.8, 2.6, 3.4 | 0.1, 0.3, 0.5, 0.7, 0.9 | 25, all combinations |
    | `held_out` | 0.6, 1.4, 2.2, 3.0 | 0.2, 0.4, 0.6, 0.8 | 16, all combinations |
    | `extrapolate` | those, 3.8, 4.6 | those, 1.0, 1.2 | 20, those with a 3.8, 4.6, 1.0 or 1.2 |

    At factor 1 the ball weighs 0.157 kg. Its two joints have 0.1 kg of armature besides, as in the
    source, which does not change: a ball struck with speed v comes to rest after
    v (0.1 + 0.157 factor) / damping metres.

    `info` carries `context` (float32 [2]), `session`, `switched` and `unstable`, `inner_done` where
    there are inner episodes, and `final_distance` (float64, m): the ball's distance to the goal in
    the state that the step led to. In the last step of a meta-episode (or of an inner one, whatever
    the observation shows already) it is the score of this task; lower is better.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `grid` | "train" | one of the grids above, or a list of pairs of your own |
    | `horizon` | 200 | steps in an inner episode |
    | `inner_episodes` | 1 | inner episodes in a meta-episode |
    | `p_switch` | 0 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `threads` | 1 | threads that share the rows of a vector environment |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    Pose, ball, goal, ranges of the context, reward, horizon and frame skip are those of the striker
    of EPI (Zhou, Pinto and Gupta 2019), as are the arm's link lengths and joint ranges. Differs
    from it: the MJCF is a new one, for MuJoCo 3; the reward is that of the state after the action,
    not before it; distances to the goal are measured at the ball's height, not 5 cm below it. That
    the pairs of a 6 x 6 grid between and beyond the trained values are held out is known from the
    task's later uses; to keep apart the 16 among them and the 20 beyond is our choice.

    ## Version history

    * v0: first version.
    """


class StrikerVectorEnv(MujocoTaskVectorEnv, of=StrikerEnv):
    """N strikers moved at once; arguments and meaning as in `StrikerEnv`."""
