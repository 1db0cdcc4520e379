"""``DLCMDP/PointGoal-v0``: a point in the plane looks for a hidden goal. No MuJoCo in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ..core.arguments import ParametrisedEnv, ParametrisedVectorEnv
from ..core.checks import check_number, did_you_mean
from ..core.contexts import ContextDynamics
from ..core.sessions import SessionProcess
from .priors import Arc, Uniform
from .trial import Array, Moved, Trial, TrialSimulator

__all__ = ["PointGoalEnv", "PointGoalParameters", "PointGoalSimulator", "PointGoalVectorEnv"]

REWARDS = ("sparse", "dense")
GOALS = ("semi_circle", "circle", "square")
STEP = 0.1
"""How far an action of size 1 moves the point in one direction, m."""
PICTURE = 240
_WIDE = 1.5  # a picture shows [-1.5, 1.5] m in x and y
_PAPER, _LINE, _GOAL, _POINT = (250, 250, 247), (205, 205, 200), (46, 139, 87), (35, 86, 168)


@dataclass(frozen=True)
class PointGoalParameters:
    """Everything that defines a navigation task; `PointGoalEnv` explains each."""

    trial: Trial
    reward: str
    goals: str
    goal_radius: float

    @classmethod
    def make(
        cls,
        horizon: int = 100,
        inner_episodes: int = 1,
        p_switch: float = 0.02,
        session: SessionProcess | dict[str, Any] | None = None,
        reward: str = "sparse",
        goals: str = "semi_circle",
        goal_radius: float = 0.2,
    ) -> PointGoalParameters:
        """Check the arguments of `PointGoalEnv`; ValueError names the one out of range."""
        if reward not in REWARDS:
            raise ValueError(f"PointGoal: no reward {reward!r}{did_you_mean(reward, REWARDS)}.")
        if goals not in GOALS:
            raise ValueError(f"PointGoal: no goals {goals!r}{did_you_mean(goals, GOALS)}.")
        check_number("PointGoal", "goal_radius", goal_radius, low=0.0)
        trial = Trial.make("PointGoal", horizon, inner_episodes, p_switch, session)
        return cls(trial, reward, goals, float(goal_radius))

    def contexts(self) -> ContextDynamics:
        """Return the law of goals."""
        if self.goals == "square":
            return Uniform([(-1.0, 1.0), (-1.0, 1.0)])
        return Arc(1.0, 0.0, np.pi if self.goals == "semi_circle" else 2.0 * np.pi)


class PointSimulator(TrialSimulator):
    """N points in the plane that actions in [-1, 1]^2 move by up to `STEP`; contexts are goals.

    They start at (0, 0), or anywhere in the square [-`start_range`, `start_range`]^2.
    """

    def __init__(
        self, num_envs: int, trial: Trial, goals: ContextDynamics, start_range: float = 0.0
    ):
        self._start_range = start_range
        far = STEP * trial.horizon + start_range
        super().__init__(
            num_envs,
            trial,
            goals,
            2 if start_range else 0,
            gym.spaces.Box(-far, far, (2,), np.float32),
            gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
        )
        self._at, self._goal = np.zeros((2, num_envs, 2))

    def _set_contexts(self, rows: NDArray[np.int64], contexts: Array) -> None:
        self._goal[rows] = contexts

    def _start(self, rows: NDArray[np.int64], uniforms: Array) -> None:
        spread = self._start_range
        self._at[rows] = spread * (2.0 * uniforms - 1.0) if spread else 0.0

    def _advance(self, actions: Array) -> Array:
        """Moves the points; how they lie to their goals, `[N, 2]`."""
        self._at = self._at + STEP * np.clip(actions, -1.0, 1.0)
        return self._at - self._goal

    def _observe(self) -> Array:
        return self._at

    def draw(self, row: int, mode: str) -> NDArray[np.uint8] | str:
        at, goal = self._at[row], self.context_of(row)
        if mode == "ansi":
            return f"point: {at[0]:.2f}, {at[1]:.2f}\ngoal: {goal[0]:.2f}, {goal[1]:.2f}\n"
        return self._picture(at, goal)

    def _picture(self, at: Array, goal: Array) -> NDArray[np.uint8]:
        raise NotImplementedError


class PointGoalSimulator(PointSimulator):
    """N points as arrays. `PointGoalEnv` says what they do."""

    def __init__(self, num_envs: int, parameters: PointGoalParameters):
        self.parameters = parameters
        super().__init__(num_envs, parameters.trial, parameters.contexts())

    def _move(self, actions: Array) -> Moved:
        away = np.linalg.norm(self._advance(actions), axis=1)
        rewards = -away
        if self.parameters.reward == "sparse":
            rewards = np.where(away <= self.parameters.goal_radius, 1.0 - away, 0.0)
        never = np.zeros(self.num_envs, np.bool_)
        return rewards, never, never

    def _picture(self, at: Array, goal: Array) -> NDArray[np.uint8]:
        return picture(at, goal, self.parameters.goal_radius)


def picture(at: Array, goal: Array, goal_radius: float) -> NDArray[np.uint8]:
    """Return a picture [PICTURE, PICTURE, 3]: the goal green, the point blue, the start a cross."""
    axis = ((np.arange(PICTURE) + 0.5) / PICTURE * 2.0 - 1.0) * _WIDE
    places = np.stack(np.meshgrid(axis, -axis), -1)
    pixels = np.empty((PICTURE, PICTURE, 3))
    pixels[:] = _PAPER
    on_circle = np.abs(np.linalg.norm(places, axis=-1) - 1.0) - 0.008
    on_cross = np.abs(places).min(-1) + np.maximum(np.abs(places).max(-1) - 0.08, 0.0) - 0.008
    _paint(pixels, np.minimum(on_circle, on_cross), _LINE)
    _paint(pixels, np.linalg.norm(places - goal, axis=-1) - goal_radius, _GOAL)
    _paint(pixels, np.linalg.norm(places - at, axis=-1) - 0.06, _POINT)
    return pixels.round().astype(np.uint8)


def _paint(pixels: Array, distance: Array, colour: tuple[int, int, int]) -> None:
    """Colour where `distance` (m) is negative; half a pixel on either side is blended."""
    cover = np.clip(0.5 - distance * PICTURE / (2.0 * _WIDE), 0.0, 1.0)[..., None]
    pixels[:] = cover * np.array(colour) + (1.0 - cover) * pixels


class PointGoalEnv(
    ParametrisedEnv, parameters=PointGoalParameters.make, simulator=PointGoalSimulator
):
    """A point in the plane that is to find a hidden goal and to stay there.

    ## Description

    The point starts in the middle. Somewhere, by default on the upper half of the circle of radius
    1 around it, is a goal that cannot be seen. With sparse rewards nothing but being there tells of
    it: a good agent walks along the semi-circle until it is paid, stays, and searches again when it
    is paid no longer. With ``p_switch=0`` the goal stays: the setting of PEARL and VariBAD (which
    has several inner episodes).

    ## Action space

    ``Box(-1, 1, (2,), float32)``: a step of 0.1 m times the action, in x and y. What lies outside
    the box is cut to it.

    ## Observation space

    ``Box(-0.1 horizon, 0.1 horizon, (2,), float32)``: x, y of the point, in m. With more than one
    inner episode there is a third entry, the inner-done flag.

    ## Rewards

    | `reward` | formula, d the distance to the goal after the step in m |
    |---|---|
    | `sparse` | 1 - d where d <= `goal_radius` (0.2), else 0 |
    | `dense` | -d |

    ## Starting state

    The point at (0, 0), at the start of each inner episode.

    ## Episode end

    Truncated after `inner_episodes` x `horizon` steps (100), never terminated.

    ## Latent

    | | |
    |---|---|
    | context m | the goal's (x, y) in m |
    | prior | `goals`: uniform on the upper half of the unit circle ("semi_circle"), on all of it \
("circle"), or on the square [-1, 1]² ("square") |
    | change | drawn afresh from the prior |
    | sessions | after each step a session ends with probability `p_switch` (0.02: three in 100 \
steps on average, our choice) |
    | what tells m | sparse: each reward, 0 rules a disc out; dense: rewards at three places |

    `info` carries `context` (float32 [2]), `session`, `switched` and `unstable` (always 0 here),
    and `inner_done` where there are inner episodes.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `horizon` | 100 | steps in an inner episode |
    | `inner_episodes` | 1 | inner episodes in a meta-episode |
    | `p_switch` | 0.02 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `reward` | "sparse" | see Rewards |
    | `goals` | "semi_circle" | see Latent |
    | `goal_radius` | 0.2 | see Rewards, in m |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    VariBAD's sparse point has 100 steps and these rewards; PEARL's has 20 steps.

    ## Version history

    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 10}


class PointGoalVectorEnv(ParametrisedVectorEnv, of=PointGoalEnv):
    """N points moved as arrays; arguments and meaning as in `PointGoalEnv`."""
