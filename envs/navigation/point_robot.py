"""``PointRobot-v0``: the point robots of PEARL's paper, with dense and with sparse rewards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.arguments import ParametrisedEnv, ParametrisedVectorEnv
from ..core.checks import check_number, did_you_mean
from ..core.contexts import ContextDynamics
from ..core.sessions import Never, SessionProcess
from ..mujoco.point_goal import GOALS, REWARDS, STEP, PointSimulator, picture
from ..mujoco.priors import Arc, Uniform
from ..mujoco.trial import Array, Moved, Trial
from . import drawing

SQUARE, SEMI_CIRCLE = "square", "semi_circle"
_POINTS = 400
"""Midpoints in each direction, by which expectations over goals and starts are taken."""


@dataclass(frozen=True)
class PointRobotParameters:
    """Everything that defines a point robot; `PointRobotEnv` explains each. Hashable."""

    trial: Trial
    reward: str
    goals: str
    goal_radius: float
    start_range: float

    @classmethod
    def make(
        cls,
        horizon: int = 20,
        inner_episodes: int = 3,
        p_switch: float = 0.0,
        session: SessionProcess | dict[str, Any] | None = None,
        reward: str = "dense",
        goals: str | None = None,
        goal_radius: float = 0.2,
        start_range: float | None = None,
    ) -> PointRobotParameters:
        """Check the arguments of `PointRobotEnv`; ValueError names the one out of range."""
        if reward not in REWARDS:
            raise ValueError(f"PointRobot: no reward {reward!r}{did_you_mean(reward, REWARDS)}.")
        dense = reward == "dense"
        goals = goals if goals is not None else (SQUARE if dense else SEMI_CIRCLE)
        if goals not in GOALS:
            raise ValueError(f"PointRobot: no goals {goals!r}{did_you_mean(goals, GOALS)}.")
        start_range = start_range if start_range is not None else float(dense)
        check_number("PointRobot", "goal_radius", goal_radius, low=0.0, high=1e3)
        check_number("PointRobot", "start_range", start_range, low=0.0, high=1e3)
        trial = Trial.make("PointRobot", horizon, inner_episodes, p_switch, session)
        return cls(trial, reward, goals, float(goal_radius), float(start_range))

    def contexts(self) -> ContextDynamics:
        """Return the law of goals."""
        if self.goals == SQUARE:
            return Uniform([(-1.0, 1.0), (-1.0, 1.0)])
        return Arc(1.0, 0.0, self.arc)

    @property
    def arc(self) -> float:
        """The angle that goals on a circle are spread over, in radians."""
        return np.pi if self.goals == SEMI_CIRCLE else 2.0 * np.pi

    def rewards(self, away: Array) -> Array:
        """Return the rewards at distances `away` (m) from the goal."""
        if self.reward == "dense":
            return -away
        return np.where(away <= self.goal_radius, 1.0 - away, 0.0)


class PointRobotSimulator(PointSimulator):
    """N points as arrays. `PointRobotEnv` says what they do."""

    def __init__(self, num_envs: int, parameters: PointRobotParameters):
        self.parameters = parameters
        goals, starts = parameters.contexts(), parameters.start_range
        super().__init__(num_envs, parameters.trial, goals, starts)

    def _move(self, actions: Array) -> Moved:
        away = np.linalg.norm(self._advance(actions), axis=1)
        never = np.zeros(self.num_envs, np.bool_)
        return self.parameters.rewards(away), never, never

    def reference_returns(self) -> dict[str, float] | None:
        p = self.parameters
        if not isinstance(p.trial.process, Never):
            return None  # where the goal moves, being there is not all that counts
        return {"oracle": p.trial.inner_episodes * oracle_return(p)}

    def frame(
        self, observations: NDArray[Any], context: NDArray[Any] | None
    ) -> dict[str, Any] | None:
        if context is None or not isinstance(self.parameters.trial.process, Never):
            return None
        return drawing.frame(observations[:, :2], context[0], 1.5)

    def _picture(self, at: Array, goal: Array) -> NDArray[np.uint8]:
        sparse = self.parameters.reward == "sparse"
        return picture(at, goal, self.parameters.goal_radius if sparse else 0.06)


@lru_cache(maxsize=64)
def oracle_return(parameters: PointRobotParameters) -> float:
    """Return what an inner episode is worth to the best policy that sees the goal, by quadrature.

    Both coordinates' distances are as small as they can be at every step if they fall by `STEP` a
    step; as the coordinates do not hinder each other, and rewards fall with the distance, nothing
    is better.
    """
    x, y, weight = _displacements(parameters)
    total = 0.0
    for t in range(1, parameters.trial.horizon + 1):
        left = np.hypot(np.maximum(x - STEP * t, 0.0), np.maximum(y - STEP * t, 0.0))
        total += float((parameters.rewards(left) * weight).sum())
    return total


def _displacements(p: PointRobotParameters) -> tuple[Array, Array, Array]:
    """Distances from start to goal in x and in y, and the probability of each pair."""
    if p.goals == SQUARE:
        away, weight = _distances(p.start_range)
        return away[:, None], away[None, :], weight[:, None] * weight[None, :]
    starts = p.start_range * (_midpoints(60) * 2.0 - 1.0) if p.start_range else np.zeros(1)
    angle = p.arc * _midpoints(90 if p.start_range else 20_000)
    x = np.abs(np.cos(angle)[:, None] - starts)[:, :, None]
    y = np.abs(np.sin(angle)[:, None] - starts)[:, None, :]
    return x, y, np.full((1, 1, 1), 1.0 / (len(angle) * len(starts) ** 2))


def _distances(start_range: float) -> tuple[Array, Array]:
    """|goal - start| of one coordinate where both are uniform, and the probability of each."""
    away = (1.0 + start_range) * _midpoints(_POINTS)
    if not start_range:
        return away, np.full(_POINTS, 1.0 / _POINTS)
    weight = np.minimum(start_range, away + 1.0) - np.maximum(-start_range, away - 1.0)
    return away, weight / weight.sum()


def _midpoints(count: int) -> Array:
    return (np.arange(count) + 0.5) / count


class PointRobotEnv(
    ParametrisedEnv, parameters=PointRobotParameters.make, simulator=PointRobotSimulator
):
    """A point in the plane that is to go to a goal it does not see, several times in a row.

    ## Description

    The two point robots of PEARL's paper (Rakelly et al. 2019). A meta-episode is
    `inner_episodes` walks of `horizon` steps to the same goal; what one of them has shown is of use
    in the next. With dense rewards, the default, the goal is anywhere in a square, each walk begins
    somewhere else in it, and each reward tells how far the goal is. With sparse ones
    (``reward="sparse"``) the goal is on a half circle around the start, and only within
    `goal_radius` of it there is a reward.

    ## Action space

    ``Box(-1, 1, (2,), float32)``: a step of 0.1 m times the action, in x and y. What lies outside
    the box is cut to it.

    ## Observation space

    ``Box(float32)``: x, y of the point in m and, with more than one inner episode, the inner-done
    flag.

    ## Rewards

    | `reward` | formula, d the distance to the goal after the step in m |
    |---|---|
    | `dense` | -d |
    | `sparse` | 1 - d where d <= `goal_radius` (0.2), else 0 |

    ## Starting state

    Each inner episode starts at a place drawn uniformly from [-`start_range`, `start_range`]².

    ## Episode end

    Truncated after `inner_episodes` x `horizon` steps, never terminated.

    ## Latent

    | | |
    |---|---|
    | context m | the goal's (x, y) in m |
    | prior | `goals`: uniform on the square [-1, 1]² ("square"), on the upper half of the unit \
circle ("semi_circle") or on all of it ("circle") |
    | change | drawn afresh from the prior |
    | sessions | none; with `p_switch`, one ends after each step with that probability |
    | what tells m | dense: rewards at three places; sparse: each reward, 0 rules a disc out |
    | reference | oracle: straight to the goal, exact, where the goal stays |

    `info` carries `context` (float32 [2]), `session`, `switched` and `unstable` (always 0 here),
    and `inner_done` where there are inner episodes.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `horizon` | 20 | steps in an inner episode |
    | `inner_episodes` | 3 | inner episodes in a meta-episode |
    | `p_switch` | 0 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `reward` | "dense" | see Rewards |
    | `goals` | None | see Latent; None: "square" if rewards are dense, else "semi_circle" |
    | `goal_radius` | 0.2 | see Rewards, in m |
    | `start_range` | None | see Starting state, in m; None: 1 if rewards are dense, else 0 |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    ## Version history

    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 10}


class PointRobotVectorEnv(ParametrisedVectorEnv, of=PointRobotEnv):
    """N points moved as arrays; arguments and meaning as in `PointRobotEnv`."""
