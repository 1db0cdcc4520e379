"""``ScratchItch-v0``: a robot arm presses an itch on a person's arm, whose place is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..core.checks import check_number, did_you_mean
from ..core.contexts import IID
from .binding import mujoco
from .measures import MeasuredSimulator
from .rewards import effort
from .simulator import MujocoTaskEnv, MujocoTaskVectorEnv
from .task import Array, Camera, Marker, State, Task, UniformStart

__all__ = ["LIMBS", "ScratchItchEnv", "ScratchItchVectorEnv", "Skin", "scratch_itch"]

MODEL = Path(__file__).parent / "assets" / "scratch_itch.xml"
POSE = (0.0, -1.0, 0.0, 1.9, 0.0, -0.9, 0.0)
REACH = 0.025
"""A contact closer than this to the itch (m) is at the itch."""
FULL = 3.0
"""Force at the itch (N) that earns the whole pressing reward."""
SAFE = 10.0
"""Force (N) beyond which pressing hurts."""


@dataclass(frozen=True)
class Limb:
    """A limb of the model: a capsule from `start` to `end` (m) with a radius (m)."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float

    def place(self, along: float, angle: float) -> Array:
        """Return the point [3] of the skin at a share of the length and an angle from +y (rad)."""
        start, end = np.array(self.start), np.array(self.end)
        axis = (end - start) / np.linalg.norm(end - start)
        outward = np.array([0.0, 1.0, 0.0])  # at right angles to both limbs, towards the robot
        normal = np.cos(angle) * outward + np.sin(angle) * np.cross(axis, outward)
        return start + along * (end - start) + self.radius * normal


LIMBS = {
    "upper_arm": Limb((0.8, 0.2, 0.5), (0.6605, 0.2, 0.2584), 0.043),
    "forearm": Limb((0.6605, 0.2, 0.2584), (0.4379, 0.2, 0.3869), 0.033),
}


class Skin(IID):
    """A place (x, y, z) in m on the right arm's skin, on the side that faces the robot.

    The limb is drawn first, each equally likely; then the place along it, uniform on the share
    `along` of its length; then the angle around it, uniform within `angle` of the outward side.

    Args:
        limb: "both", "upper_arm" or "forearm".
        along: (low, high), shares of the length from the body outwards.
        angle: half the width of the strip, in rad.

    Raises:
        ValueError: if there is no such limb or a number is out of its range.
    """

    def __init__(
        self,
        limb: str = "both",
        along: tuple[float, float] = (0.2, 0.8),
        angle: float = 0.8,
    ):
        if limb not in ("both", *LIMBS):
            raise ValueError(f"Skin: no limb {limb!r}{did_you_mean(limb, ('both', *LIMBS))}.")
        check_number("Skin", "angle", angle, low=0.0, high=1.2)
        self.limbs = tuple(LIMBS.values()) if limb == "both" else (LIMBS[limb],)
        self.along, self.angle = along, float(angle)
        super().__init__(self._sample)

    def _sample(self, rng: np.random.Generator) -> ArrayLike:
        limb = self.limbs[int(rng.integers(len(self.limbs)))]
        return limb.place(rng.uniform(*self.along), rng.uniform(-self.angle, self.angle))


def touch(model: Any, data: Any) -> Array:
    """Return [7]: the tip of the tool (m), its force on the person (N), where that acts (m).

    The force is the sum of the normal forces of all contacts; where it acts is the place of the
    strongest one, or the tip if there is none.
    """
    mujoco.mj_forward(model, data)
    tip = data.site("tip").xpos
    total, strongest, place, force = 0.0, 0.0, tip, np.zeros(6)
    for i in range(data.ncon):
        mujoco.mj_contactForce(model, data, i, force)
        total += force[0]
        if force[0] > strongest:
            strongest, place = force[0], data.contact[i].pos
    return np.concatenate([tip, [total], place])


def observe(state: State) -> Array:
    """Return joint positions and velocities, the tip, and the tool's force in 10 N, [N, 18]."""
    tip, force = state.sensed[:, :3], state.sensed[:, 3:4]
    return np.concatenate([state.qpos, state.qvel, tip, force / SAFE], 1)


def distance(state: State, contexts: Array) -> Array:
    """Return how far the tip is from the itch, [N] in m."""
    return np.linalg.norm(state.sensed[:, :3] - contexts, axis=1)


def force_at_itch(state: State, contexts: Array) -> Array:
    """Return the tool's force if it acts at the itch, else 0, [N] in N."""
    away = np.linalg.norm(state.sensed[:, 4:] - contexts, axis=1)
    return np.where(away < REACH, state.sensed[:, 3], 0.0)


def reward(before: State, after: State, actions: Array, contexts: Array) -> Array:
    """Return the rewards [N] of `ScratchItchEnv`, of the state that the action led to."""
    force, wanted = after.sensed[:, 3], force_at_itch(after, contexts)
    pressing = np.minimum(wanted / FULL, 1.0)
    hurting = 0.01 * (force - wanted) + 0.05 * np.maximum(force - SAFE, 0.0)
    return pressing - distance(after, contexts) - 0.01 * effort(actions) - hurting


def measure(state: State, contexts: Array) -> dict[str, Array]:
    """Return how far the tip is from the itch (m) and the force at the itch (N)."""
    return {
        "itch_distance": distance(state, contexts),
        "itch_force": force_at_itch(state, contexts),
    }


def show_itch(qpos: Array, context: Array) -> list[Marker]:
    """Return a red spot where it itches."""
    x, y, z = (float(v) for v in context)
    return [Marker((x, y, z), 0.018, (0.85, 0.10, 0.10, 1.0))]


def scratch_itch(limb: str = "both") -> Task:
    """Return the task of `ScratchItchEnv`."""
    return Task(
        name="ScratchItch",
        model=str(MODEL),
        frame_skip=5,
        observation=observe,
        reward=reward,
        contexts=Skin(limb),
        start=UniformStart(position=0.05),
        qpos0=POSE,
        sense=touch,
        markers=show_itch,
        camera=Camera(fixed="view"),
    )


class ScratchItchEnv(
    MujocoTaskEnv,
    task=scratch_itch,
    simulator=partial(MeasuredSimulator, measure=measure),
    p_switch=0.02,
):
    """A robot arm that has to find an itch on a person's arm and press it, gently.

    ## Description

    A seven-joint arm (pan, lift, roll, elbow, forearm roll, wrist, wrist roll) holds a scratcher
    and stands to the right of a seated person. Somewhere on the right arm it itches. The robot sees
    itself and feels the scratcher's force, but not the place; the reward tells how far the tip is
    from it, and after a while it itches elsewhere. A good agent finds the place from a few rewards,
    presses it, and notices when the reward drops. There is no gravity, the person does not move,
    and nothing but the scratcher touches the person.

    ## Action space

    ``Box(-1, 1, (7,), float32)``: velocities in rad/s asked of the seven joints, in the order
    above, held for 5 physics steps of 0.01 s. Each motor's torque is 10 N m s/rad times the missing
    velocity, at most 20 N m (first three), 10 N m (next two) and 5 N m (wrist). So an arm that
    rests against the skin presses the harder, the faster it is asked to move on.

    ## Observation space

    ``Box(-inf, inf, (18,), float32)``. With more than one inner episode there is a 19th entry, the
    inner-done flag.

    | entry | meaning | unit |
    |---|---|---|
    | 0-6 | joint positions | rad |
    | 7-13 | joint velocities | rad/s |
    | 14-16 | x, y, z of the scratcher's tip (the centre of a ball of 12 mm) | m |
    | 17 | F, the scratcher's force on the person | 10 N |

    ## Rewards

    r = min(F_itch / 3 N, 1) - ‖tip - m‖ - 0.01 ‖a‖² - 0.01 (F - F_itch) - 0.05 max(F - 10 N, 0),
    of the state that the action led to. F is the sum of the normal forces of all contacts between
    scratcher and person at that moment, in N; F_itch is F if its strongest contact is within 0.025
    m of the itch, else 0. At most 1 a step. An arm at rest gets about -0.22 a step.

    ## Starting state

    Joints at (0, -1, 0, 1.9, 0, -0.9, 0) + U(-0.05, 0.05) rad at rest, the tip some 0.2 m beside
    the person's arm. So at each start of an inner episode.

    ## Episode end

    Truncated after `inner_episodes` x `horizon` steps (200, that is 10 s), or at once if the
    physics becomes unstable (`unstable` 1 in `info`); never terminated.

    ## Latent

    | | |
    |---|---|
    | context m | place of the itch, (x, y, z) in m, in the frame of the tip |
    | prior | upper arm or forearm; 0.2 to 0.8 of its length; within 0.8 rad (46 degrees) of the \
side that faces the robot; each uniform |
    | change | drawn afresh from the prior; the arm stays where it is |
    | sessions | after each step a session ends with probability `p_switch` (0.02: four in 200 \
steps on average) |
    | what tells m | the rewards, with the force that is felt, tell the distance: four of them at \
places not in one plane tell m |

    `info` carries `context` (float32 [3]), `session`, `switched` and `unstable`, `inner_done` where
    there are inner episodes, and of the step just made, under its own context, `itch_distance`
    (float64, m) and `itch_force` (float64, N): ‖tip - m‖ and F_itch.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `limb` | "both" | where it may itch: "both", "upper_arm" or "forearm" |
    | `horizon` | 200 | steps in an inner episode |
    | `inner_episodes` | 1 | inner episodes in a meta-episode |
    | `p_switch` | 0.02 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `threads` | 1 | threads that share the rows of a vector environment |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    In the spirit of the task of the same name in DynaMITE-RL (Liang et al. 2024), whose details
    could not be read, and of its origin in Assistive Gym (Erickson et al. 2020), from which are:
    7 joints, 200 steps, the sizes of the limbs and the 30 and 90 degrees of shoulder and elbow, no
    gravity, the 0.025 m, and the weights of distance (1), action (0.01), force elsewhere (0.01) and
    force beyond 10 N (0.05). Ours are: the robot, velocities as actions, 0.05 s a step (there 0.1),
    the place unseen, the side that faces the robot, `p_switch`, and the reward for pressing. The
    original pays 10 for every centimetre that a contact at the itch moves on; its returns are
    therefore not comparable.

    ## Version history

    * v0: first version.
    """


class ScratchItchVectorEnv(MujocoTaskVectorEnv, of=ScratchItchEnv):
    """N robots moved at once; arguments and meaning as in `ScratchItchEnv`."""
