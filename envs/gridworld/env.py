"""``DLCMDP/GridWorld-v0``: two goals in plain sight, one of them pays, and which one changes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ..core.arguments import ParametrisedEnv, ParametrisedVectorEnv
from ..core.bayes import FiniteFilter
from ..core.contexts import Markov
from ..core.dlcmdp import LatentPath, draw_latent
from ..core.vector import Simulator
from . import drawing
from .filter import GOALS, exact_filter, filter_step
from .parameters import GridWorldParameters, cell_positions, next_cells
from .references import reference_returns, references_of

__all__ = [
    "GridWorldEnv",
    "GridWorldParameters",
    "GridWorldSimulator",
    "GridWorldVectorEnv",
    "reference_returns",
]


class GridWorldSimulator(Simulator):
    """N grid worlds as arrays. `GridWorldEnv` says what they do."""

    def __init__(self, num_envs: int, parameters: GridWorldParameters):
        p = self.parameters = parameters
        self.num_envs = num_envs
        self.observation_space = gym.spaces.Box(0.0, 1.0, (6,), np.float32)
        self.action_space = gym.spaces.Discrete(p.num_actions)
        # start, goal 0, goal 1, first context; then a switch and a change for each transition
        self.uniforms_per_episode = 4 + 2 * p.horizon
        self._dynamics = Markov(p.prior, p.transition)
        self._next = next_cells(p.size, p.stay).ravel()
        self._xy = (cell_positions(p.size) / (p.size - 1)).astype(np.float32)
        # indexed by (on the paying goal) + 2 * (on the other goal)
        self._rewards = np.array([p.step_reward, p.active_reward, p.inactive_reward])
        self._allocate(num_envs, p.horizon)
        self._posterior: NDArray[np.float64] | None = None
        if p.show_posterior:
            self._posterior = np.full(num_envs, p.prior[1])
            self._hazard = p.process.schedule(p.horizon)

    def _allocate(self, n: int, horizon: int) -> None:
        self._t = np.zeros(n, np.int64)
        self._cell = np.zeros(n, np.int64)
        self._goals = np.zeros((n, 2), np.int64)
        self._observation = np.zeros((n, 6), np.float32)
        self._row = np.arange(n) * (horizon + 1)  # where a row's path begins in the flat paths
        self._context = np.zeros((n * (horizon + 1), 1), np.float32)
        self._session = np.zeros(n * (horizon + 1), np.int64)
        self._switched = np.zeros(n * (horizon + 1), np.int8)
        self._paying = np.zeros(n * (horizon + 1), np.int64)
        self._other = np.zeros(n * (horizon + 1), np.int64)

    @property
    def task_columns(self) -> NDArray[np.int64]:
        return np.array([3])  # the first context

    def begin(self, rows: NDArray[np.int64], uniforms: NDArray[np.float64]) -> None:
        p = self.parameters
        goals = self._place_goals(uniforms)
        self._goals[rows] = goals
        self._cell[rows] = self._place_agent(uniforms[:, 0])
        self._t[rows] = 0
        self._observation[rows, 2:4] = self._xy[goals[:, 0]]
        self._observation[rows, 4:6] = self._xy[goals[:, 1]]
        self._observation[rows, 0:2] = self._xy[self._cell[rows]]
        if self._posterior is not None:
            self._posterior[rows] = p.prior[1]
        self._store(rows, self._draw_path(uniforms[:, 3:]), goals)

    def _draw_path(self, uniforms: NDArray[np.float64]) -> LatentPath:
        """Hook: the hidden part of R meta-episodes from uniforms [R, 1 + 2 T]."""
        return draw_latent(self.parameters.process, self._dynamics, uniforms)

    def _place_agent(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        p = self.parameters
        if p.start is not None:
            return np.full(len(uniforms), p.index(p.start))
        return (uniforms * p.size**2).astype(np.int64)

    def _place_goals(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """Two distinct cells [R, 2], each ordered pair equally likely, unless they are fixed."""
        p = self.parameters
        if p.goals is not None:
            fixed = np.array([p.index(goal) for goal in p.goals])
            return np.broadcast_to(fixed, (len(uniforms), 2))
        first = (uniforms[:, 1] * p.size**2).astype(np.int64)
        second = (uniforms[:, 2] * (p.size**2 - 1)).astype(np.int64)
        return np.stack([first, second + (second >= first)], 1)

    def _store(self, rows: NDArray[np.int64], path: LatentPath, goals: NDArray[np.int64]) -> None:
        where = self._row[rows, None] + np.arange(self.parameters.horizon + 1)
        active = path.context[..., 0].astype(np.int64)
        self._context[where] = path.context
        self._session[where] = path.session
        self._switched[where] = path.switched
        self._paying[where] = np.take_along_axis(goals, active, 1)
        self._other[where] = np.take_along_axis(goals, 1 - active, 1)

    def advance(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        cell = self._next[self._cell * self.parameters.num_actions + actions]
        now = self._row + self._t
        kind = (cell == self._paying[now]) + 2 * (cell == self._other[now])
        self._cell = cell
        self._observation[:, :2] = self._xy[cell]
        if self._posterior is not None:
            self._filter(kind)
        self._t += 1
        truncated = self._t >= self.parameters.horizon
        return self._rewards[kind], np.zeros(self.num_envs, np.bool_), truncated

    def _filter(self, kind: NDArray[np.int64]) -> None:
        """Update the exact posterior with each row's reward."""
        assert self._posterior is not None and self._hazard is not None
        evidence, hazard = self._evidence(kind), self._hazard[self._t]
        self._posterior = filter_step(self.parameters, self._posterior, evidence, hazard)

    def _evidence(self, kind: NDArray[np.int64]) -> NDArray[np.float64]:
        """What each row's reward says about m: 1 or 0 on a goal, NaN (nothing) elsewhere; [N]."""
        if self.parameters.active_reward == self.parameters.inactive_reward:
            return np.full(self.num_envs, np.nan)
        on_second = self._cell == self._goals[:, 1]
        return np.where(kind == 0, np.nan, on_second == (kind == 1))

    def observe(self) -> NDArray[np.float32]:
        return self._observation.copy()

    def labels(self) -> dict[str, NDArray[Any]]:
        now = self._row + self._t
        labels: dict[str, NDArray[Any]] = {
            "context": self._context[now],
            "session": self._session[now],
            "switched": self._switched[now],
        }
        if self._posterior is not None:
            labels["posterior"] = self._posterior[:, None].astype(np.float32)
        return labels

    def draw(self, row: int, mode: str) -> NDArray[np.uint8] | str:
        active = int(self._context[self._row[row] + self._t[row], 0])
        size, goals = self.parameters.size, self._goals[row].tolist()
        scene = drawing.Scene(size, int(self._cell[row]), goals[active], (goals[1 - active],))
        return drawing.draw(scene, mode)

    def reference_returns(self) -> dict[str, float] | None:
        return references_of(self.parameters)

    def notified_returns(self, level: str) -> dict[str, float] | None:
        return references_of(self.parameters, level)

    def exact_filter(self) -> FiniteFilter:
        return exact_filter(self.parameters)

    def notified_filter(self, level: str) -> FiniteFilter | None:
        return exact_filter(self.parameters, level)

    def variants(self) -> dict[str, dict[str, Any]]:
        swapping = {"p_switch": 1.0, "session": None, "transition": [[0.0, 1.0], [1.0, 0.0]]}
        return self._both_alike() | {"switches_every_step": swapping}

    def _both_alike(self) -> dict[str, dict[str, Any]]:
        p = self.parameters
        return {
            "neither_pays": {"active_reward": p.inactive_reward, "context_matters": False},
            "both_pay": {"inactive_reward": p.active_reward, "context_matters": False},
        }

    def frame(
        self, observations: NDArray[Any], context: NDArray[Any] | None
    ) -> dict[str, Any] | None:
        goals = [observations[0, where] for where in GOALS]
        return drawing.frame(self.parameters.size, observations, goals)


class GridWorldEnv(
    ParametrisedEnv, parameters=GridWorldParameters.make, simulator=GridWorldSimulator
):
    """A grid with two visible goals of which only one pays; which one is hidden and changes.

    ## Description

    The agent walks on a `size` x `size` grid. Two goals lie on distinct cells, and the observation
    shows both. At any moment only the *active* goal pays. Which one that is cannot be seen, only
    found out by standing on a goal, and it changes every now and then without notice. A good agent
    stays on the goal that pays, notices when it stops paying, and goes to the other one.

    ## Action space

    ``Discrete(5)``, or ``Discrete(4)`` with ``stay=False``. What would leave the grid stays put.

    | action | meaning | change of (x, y) |
    |---|---|---|
    | 0 | right | (+1, 0) |
    | 1 | down | (0, +1) |
    | 2 | left | (-1, 0) |
    | 3 | up | (0, -1) |
    | 4 | stay | (0, 0) |

    ## Observation space

    ``Box(0, 1, (6,), float32)``: positions divided by (size - 1), so without unit; (0, 0) is the
    upper left corner.

    | entry | meaning |
    |---|---|
    | 0, 1 | x, y of the agent |
    | 2, 3 | x, y of goal 0 |
    | 4, 5 | x, y of goal 1 |

    ## Rewards

    For the cell entered (or stayed on) by the action: `active_reward` (+1) on the active goal,
    `inactive_reward` (0) on the other one, `step_reward` (-0.1) elsewhere. A meta-episode of the
    default grid returns between -6 and 60.

    ## Starting state

    Agent on a cell uniform over the grid (it may be a goal), goals on a pair of distinct cells
    uniform over all pairs, unless `start` and `goals` fix them.

    ## Episode end

    Truncated after `horizon` steps, never terminated. Nothing is reset when the context changes.

    ## Latent

    | | |
    |---|---|
    | context m | index of the active goal, 0 or 1 |
    | prior | `prior`, uniform by default |
    | change | T(m' given m) = ``transition[m][m']``, [[0.2, 0.8], [0.8, 0.2]] by default |
    | sessions | after each step's reward a session ends with probability `p_switch` (0.07) |
    | what tells m | the reward on a goal cell reveals it exactly; other cells tell nothing |
    | returns of the default | random walk -3.12, blind 29.20, Bayes-optimal 46.15, oracle 50.79 |

    `info` carries `context` (float32 [1]), `session` (int64, switches so far) and `switched` (int8)
    for the coming transition and, with `show_posterior`, `posterior` (float32 [1]): the exact
    filter's P(m = 1) from what was seen so far. `reference_returns()` gives the exact references
    for any parameters, `exact_filter()` the posterior along what was played.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `size` | 5 | cells along an edge, 2 or more |
    | `horizon` | 60 | steps in a meta-episode, 1 or more |
    | `p_switch` | 0.07 | probability that a session ends after a step |
    | `session` | None | another session process (or its dict) in place of `p_switch` |
    | `transition` | [[0.2, 0.8], [0.8, 0.2]] | row m: distribution of the next context |
    | `prior` | [0.5, 0.5] | distribution of the first context |
    | `stay` | True | whether there is a fifth action, to stay |
    | `goals` | None | two distinct (x, y) cells, or None for random ones |
    | `start` | None | the agent's first (x, y) cell, or None for a random one |
    | `active_reward`, `inactive_reward`, `step_reward` | 1, 0, -0.1 | see Rewards |
    | `show_posterior` | False | whether `info` carries the exact filter's posterior |
    | `context_matters` | True | False lets both goals pay the same: worlds unlike any other |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    ## Version history

    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}


class GridWorldVectorEnv(ParametrisedVectorEnv, of=GridWorldEnv):
    """N grid worlds stepped as arrays; arguments and meaning as in `GridWorldEnv`.

    With equal seeds, sub-env i's trajectory is that of a `GridWorldEnv` with seed i.
    """
