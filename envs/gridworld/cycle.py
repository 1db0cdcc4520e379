"""``DLCMDP/GridWorldCycle-v0``: goals that pay in a cycle, so that each session tells the next."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ..core.arguments import ParametrisedEnv, ParametrisedVectorEnv
from ..core.bayes import FiniteFilter
from ..core.contexts import Markov
from ..core.dlcmdp import draw_latent
from ..core.vector import Simulator
from . import drawing
from .cycle_filter import exact_filter
from .cycle_parameters import CycleParameters
from .cycle_references import cycle_references, reference_returns
from .parameters import cell_positions

__all__ = [
    "CycleParameters",
    "GridWorldCycleEnv",
    "GridWorldCycleSimulator",
    "GridWorldCycleVectorEnv",
    "reference_returns",
]


class GridWorldCycleSimulator(Simulator):
    """N grid worlds as arrays. `GridWorldCycleEnv` says what they do."""

    def __init__(self, num_envs: int, parameters: CycleParameters):
        p = self.parameters = parameters
        self.num_envs = num_envs
        self._width = 2 + 2 * p.goals + p.announce
        self.observation_space = gym.spaces.Box(0.0, 1.0, (self._width,), np.float32)
        self.action_space = gym.spaces.Discrete(5)
        # start, order, first context, switches, changes (which leave no choice), where it is put
        self.uniforms_per_episode = 3 + 2 * p.horizon + p.announce * p.horizon
        self._dynamics = Markov(np.full(p.goals, 1 / p.goals), p.transition)
        self._next, self._orders = p.next.ravel(), p.numbers[p.orders()]
        self._xy = (cell_positions(p.size) / (p.size - 1)).astype(np.float32)
        # indexed by 0 off the goals, 1 on the paying goal, 2 on another
        self._rewards = np.array([p.step_reward, p.active_reward, p.inactive_reward])
        self._t, self._cell = np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64)
        self._goals = np.zeros((num_envs, p.goals), np.int64)
        times = (num_envs, p.horizon + 1)
        self._context, self._session = np.zeros(times, np.int64), np.zeros(times, np.int64)
        self._switched, self._put = np.zeros(times, np.int8), np.zeros(times, np.int64)

    @property
    def task_columns(self) -> NDArray[np.int64]:
        return np.array([2])  # the first context

    def begin(self, rows: NDArray[np.int64], uniforms: NDArray[np.float64]) -> None:
        p, cells = self.parameters, self.parameters.size**2
        self._t[rows] = 0
        self._cell[rows] = (uniforms[:, 0] * cells).astype(np.int64)
        self._goals[rows] = self._orders[(uniforms[:, 1] * len(self._orders)).astype(np.int64)]
        path = draw_latent(p.process, self._dynamics, uniforms[:, 2 : 3 + 2 * p.horizon])
        self._context[rows] = path.context[..., 0].astype(np.int64)
        self._session[rows], self._switched[rows] = path.session, path.switched
        if p.announce:
            self._put[rows, 1:] = (uniforms[:, 3 + 2 * p.horizon :] * cells).astype(np.int64)

    def advance(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        everyone = np.arange(self.num_envs)
        cell = self._next[self._cell * 5 + actions]
        paying = self._goals[everyone, self._context[everyone, self._t]]
        on_goal = (cell[:, None] == self._goals).any(1)
        kind = np.where(cell == paying, 1, 2 * on_goal)
        self._t += 1
        moved = self.parameters.announce & (self._switched[everyone, self._t] > 0)
        self._cell = np.where(moved, self._put[everyone, self._t], cell)
        truncated = self._t >= self.parameters.horizon
        return self._rewards[kind], np.zeros(self.num_envs, np.bool_), truncated

    def observe(self) -> NDArray[np.float32]:
        places = np.concatenate([self._cell[:, None], self._goals], 1)
        seen = np.zeros((self.num_envs, self._width), np.float32)
        seen[:, : 2 * places.shape[1]] = self._xy[places].reshape(self.num_envs, -1)
        if self.parameters.announce:
            seen[:, -1] = self._switched[np.arange(self.num_envs), self._t]
        return seen

    def labels(self) -> dict[str, NDArray[Any]]:
        now = np.arange(self.num_envs), self._t
        return {
            "context": self._context[now][:, None].astype(np.float32),
            "session": self._session[now],
            "switched": self._switched[now],
        }

    def draw(self, row: int, mode: str) -> NDArray[np.uint8] | str:
        goals = self._goals[row].tolist()
        active = goals.pop(int(self._context[row, self._t[row]]))
        where = self.parameters.size, int(self._cell[row]), active
        return drawing.draw(drawing.Scene(*where, tuple(goals)), mode)

    def reference_returns(self) -> dict[str, float] | None:
        return cycle_references(self.parameters)

    def exact_filter(self) -> FiniteFilter:
        return exact_filter(self.parameters)

    def variants(self) -> dict[str, dict[str, Any]]:
        p = self.parameters
        return {
            "none_pays": {"active_reward": p.inactive_reward},
            "all_pay": {"inactive_reward": p.active_reward},
            "switches_every_step": {"p_switch": 1.0},
        }

    def frame(
        self, observations: NDArray[Any], context: NDArray[Any] | None
    ) -> dict[str, Any] | None:
        goals = [observations[0, 2 + 2 * g : 4 + 2 * g] for g in range(self.parameters.goals)]
        return drawing.frame(self.parameters.size, observations, goals)


class GridWorldCycleEnv(
    ParametrisedEnv, parameters=CycleParameters.make, simulator=GridWorldCycleSimulator
):
    """Goals in plain sight that pay one after the other, in an order that never changes.

    ## Description

    The grid world of ``DLCMDP/GridWorld-v0`` with K goals, of which one pays. When a session ends,
    goal m + 1 pays after goal m and the first after the last. That it ended is not told: the agent
    notices when its goal stops paying. Who has learnt the cycle then goes straight to the next
    goal; who has not must look at all others in turn. So what the last session was is worth
    something in the next one, which two goals cannot show: there the one that does not pay any more
    tells the other by itself.

    ## Action space

    ``Discrete(5)``: right, down, left, up, stay. What would leave the grid stays put.

    ## Observation space

    ``Box(0, 1, (2 + 2 K,), float32)``, one entry more with `announce`: x, y of the agent, of goal
    0, of goal 1, ..., divided by (size - 1); (0, 0) is the upper left corner. The entry more is 1
    for the first step of a new session.

    ## Rewards

    For the cell entered (or stayed on): `active_reward` (+1) on the goal that pays,
    `inactive_reward` (0) on another one, `step_reward` (-0.1) elsewhere.

    ## Starting state

    Agent on a cell uniform over the grid, the goals on `cells` in an order that is drawn anew for
    each meta-episode (unless `shuffle` is off), a first goal that is as likely as any other.

    ## Episode end

    Truncated after `horizon` steps, never terminated. Nothing is reset when the context changes;
    with `announce`, the agent is put on a cell uniform over the grid.

    ## Latent

    | | |
    |---|---|
    | context m | number of the goal that pays, 0 to K - 1, first one uniform |
    | change | goal m + 1 after goal m, goal 0 after goal K - 1 |
    | sessions | after each step's reward a session ends with probability `p_switch` (0.07) |
    | what tells m | a reward on a goal says whether this one pays; other cells tell nothing |

    `info` carries `context` (float32 [1]), `session` (int64, switches so far) and `switched` (int8)
    for the coming transition. `reference_returns()` gives the references for any parameters,
    `exact_filter()` the posterior along what was played.

    `announce` makes another problem: the end of a session is told, at another place than that of
    the goal that has paid. Where ends are hidden, the place where a goal stops paying tells which
    goal has paid, so that nothing need be remembered; here only the session before tells the next.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `size` | 5 | cells along an edge, 2 or more |
    | `horizon` | 60 | steps in a meta-episode, 1 or more |
    | `p_switch` | 0.07 | probability that a session ends after a step |
    | `cells` | the edges' middles | where the goals are: three to six (x, y) cells |
    | `shuffle` | True | goals are on the cells in an order drawn anew; else in the order given |
    | `announce` | False | whether a session's end is told; see Latent |
    | `active_reward`, `inactive_reward`, `step_reward` | 1, 0, -0.1 | see Rewards |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    ## Version history

    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}


class GridWorldCycleVectorEnv(ParametrisedVectorEnv, of=GridWorldCycleEnv):
    """N such grid worlds stepped as arrays; arguments and meaning as in `GridWorldCycleEnv`.

    With equal seeds, sub-env i's trajectory is that of a `GridWorldCycleEnv` with seed i.
    """
