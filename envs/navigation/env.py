"""``Navigation2D-v0``: a point is to go to a place that it is not shown, as in MAML's paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.arguments import ParametrisedEnv, ParametrisedVectorEnv
from ..core.checks import check_flags, check_number
from ..core.sessions import Never, SessionProcess
from ..mujoco.point_goal import STEP, PointSimulator
from ..mujoco.priors import Uniform
from ..mujoco.trial import Array, Moved, Trial
from . import drawing

AT_GOAL = 0.01
"""An inner episode ends within so many m of the goal, in x and in y."""


@dataclass(frozen=True)
class Navigation2DParameters:
    """Everything that defines a navigation task; `Navigation2DEnv` explains each."""

    trial: Trial
    goal_range: float
    ends_at_goal: bool

    @classmethod
    def make(
        cls,
        horizon: int = 100,
        inner_episodes: int = 1,
        p_switch: float = 0.0,
        session: SessionProcess | dict[str, Any] | None = None,
        goal_range: float = 0.5,
        ends_at_goal: bool = True,
    ) -> Navigation2DParameters:
        """Check the arguments of `Navigation2DEnv`; ValueError names the one out of range."""
        check_number("Navigation2D", "goal_range", goal_range, low=1e-3, high=1e3)
        check_flags("Navigation2D", ends_at_goal=ends_at_goal)
        trial = Trial.make("Navigation2D", horizon, inner_episodes, p_switch, session)
        return cls(trial, float(goal_range), bool(ends_at_goal))


class Navigation2DSimulator(PointSimulator):
    """N points as arrays. `Navigation2DEnv` says what they do."""

    def __init__(self, num_envs: int, parameters: Navigation2DParameters):
        self.parameters = parameters
        reach = (-parameters.goal_range, parameters.goal_range)
        super().__init__(num_envs, parameters.trial, Uniform([reach, reach]))

    def _move(self, actions: Array) -> Moved:
        away = self._advance(actions)
        never = np.zeros(self.num_envs, np.bool_)
        near: NDArray[np.bool_] = np.all(np.abs(away) < AT_GOAL, axis=1)
        there = near if self.parameters.ends_at_goal else never
        return -np.sqrt((away**2).sum(1)), there, never

    def reference_returns(self) -> dict[str, float] | None:
        p = self.parameters
        if not isinstance(p.trial.process, Never):
            return None  # where the goal moves, standing on it is not all that counts
        per_inner = oracle_return(p.goal_range, p.trial.horizon)
        return {"oracle": p.trial.inner_episodes * per_inner}

    def frame(
        self, observations: NDArray[Any], context: NDArray[Any] | None
    ) -> dict[str, Any] | None:
        if context is None or not isinstance(self.parameters.trial.process, Never):
            return None
        return drawing.frame(observations[:, :2], context[0], 2.0 * self.parameters.goal_range)

    def _picture(self, at: Array, goal: Array) -> NDArray[np.uint8]:
        return drawing.picture(at, goal, self.parameters.goal_range)


def oracle_return(goal_range: float, horizon: int, points: int = 200) -> float:
    """Return the expected return of the best policy that sees the goal, by midpoint quadrature.

    Each coordinate's distance is as small as it can be at every step if it falls by `STEP` a step;
    as the coordinates do not hinder each other, nothing is better.
    """
    away = (np.arange(points) + 0.5) / points * goal_range  # by symmetry, one quadrant is enough
    total = 0.0
    for t in range(1, min(horizon, int(np.ceil(goal_range / STEP))) + 1):
        left = np.maximum(away - STEP * t, 0.0)
        total -= float(np.sqrt(left[:, None] ** 2 + left[None, :] ** 2).mean())
    return total


class Navigation2DEnv(
    ParametrisedEnv, parameters=Navigation2DParameters.make, simulator=Navigation2DSimulator
):
    """A point in the plane that is to go to a goal it does not see; each step shows how far it is.

    ## Description

    The point starts in the middle; the goal is anywhere in a square around it. The observation
    is the point's place alone, so that only rewards tell of the goal. This is the task of MAML's
    paper (Finn et al. 2017), where a policy adapts to a goal by gradient steps on a few of its own
    trajectories. With ``p_switch`` above 0 the goal moves every now and then without notice; use
    ``ends_at_goal=False`` then, or reaching the first goal ends it all.

    ## Action space

    ``Box(-1, 1, (2,), float32)``: a step of 0.1 m times the action, in x and y. What lies outside
    the box is cut to it.

    ## Observation space

    ``Box(-0.1 horizon, 0.1 horizon, (2,), float32)``: x, y of the point, in m. With more than one
    inner episode there is a third entry, the inner-done flag.

    ## Rewards

    -‖p - m‖, the distance from the goal after the step, in m.

    ## Starting state

    The point at (0, 0), at the start of each inner episode.

    ## Episode end

    An inner episode ends after `horizon` (100) steps or, with `ends_at_goal`, where x and y are
    both less than 0.01 m from the goal's. The meta-episode ends with its last inner episode:
    terminated if that ended at the goal, else truncated.

    ## Latent

    | | |
    |---|---|
    | context m | the goal's (x, y) in m |
    | prior | uniform on the square [-`goal_range`, `goal_range`]² (0.5 m) |
    | change | drawn afresh from the prior |
    | sessions | none; with `p_switch`, one ends after each step with that probability |
    | what tells m | each reward is a distance: three places tell it all |
    | reference | oracle: straight to the goal, exact, where the goal stays |

    `info` carries `context` (float32 [2]), `session`, `switched` and `unstable` (always 0 here),
    and `inner_done` where there are inner episodes.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `horizon` | 100 | steps in an inner episode |
    | `inner_episodes` | 1 | inner episodes in a meta-episode |
    | `p_switch` | 0 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `goal_range` | 0.5 | see Latent, in m |
    | `ends_at_goal` | True | see Episode end |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    ## Version history

    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 10}


class Navigation2DVectorEnv(ParametrisedVectorEnv, of=Navigation2DEnv):
    """N points moved as arrays; arguments and meaning as in `Navigation2DEnv`."""
