"""``VariBAD/GridWorld-v0``: one hidden goal, the same for all inner episodes of a trial."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ..core.arguments import ParametrisedEnv, ParametrisedVectorEnv
from ..core.bayes import FiniteFilter
from ..core.vector import Simulator
from . import drawing
from .parameters import cell_positions, next_cells
from .static_filter import exact_filter
from .static_parameters import StaticParameters
from .static_references import references_of

__all__ = ["StaticGridWorldEnv", "StaticGridWorldSimulator", "StaticGridWorldVectorEnv"]


class StaticGridWorldSimulator(Simulator):
    """N trials as arrays. `StaticGridWorldEnv` says what they do."""

    def __init__(self, num_envs: int, parameters: StaticParameters):
        p = self.parameters = parameters
        self.num_envs = num_envs
        self.observation_space = gym.spaces.Box(0.0, 1.0, (3,), np.float32)
        self.action_space = gym.spaces.Discrete(p.num_actions)
        self.uniforms_per_episode = 1  # the goal; nothing else is random
        self._next = next_cells(p.size, p.stay).ravel()
        self._xy = (cell_positions(p.size) / (p.size - 1)).astype(np.float32)
        self._goal_cells = np.array(p.goal_cells)
        self._t, self._cell, self._goal = np.zeros((3, num_envs), np.int64)
        self._inner_done = np.zeros(num_envs, np.int8)

    @property
    def task_columns(self) -> NDArray[np.int64]:
        return np.zeros(1, np.int64)  # the goal

    def begin(self, rows: NDArray[np.int64], uniforms: NDArray[np.float64]) -> None:
        drawn = (uniforms[:, 0] * len(self._goal_cells)).astype(np.int64)
        self._goal[rows] = self._goal_cells[drawn]
        self._cell[rows] = self.parameters.start_index
        self._t[rows] = 0
        self._inner_done[rows] = 0

    def advance(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        p = self.parameters
        cell = self._next[self._cell * p.num_actions + actions]
        rewards = np.where(cell == self._goal, p.goal_reward, p.step_reward)
        self._t += 1
        over = self._t >= p.inner_horizon * p.inner_episodes
        ended = self._t % p.inner_horizon == 0
        self._inner_done = ended.astype(np.int8)
        # There is no reset after the last inner episode: that observation is final.
        self._cell = np.where(ended & ~over, p.start_index, cell)
        return rewards, over, np.zeros(self.num_envs, np.bool_)

    def observe(self) -> NDArray[np.float32]:
        return np.column_stack([self._xy[self._cell], self._inner_done]).astype(np.float32)

    def labels(self) -> dict[str, NDArray[Any]]:
        return {
            "context": self._xy[self._goal],
            "session": np.zeros(self.num_envs, np.int64),
            "switched": np.zeros(self.num_envs, np.int8),
            "inner_done": self._inner_done.copy(),
        }

    def draw(self, row: int, mode: str) -> NDArray[np.uint8] | str:
        scene = drawing.Scene(self.parameters.size, int(self._cell[row]), int(self._goal[row]))
        return drawing.draw(scene, mode)

    @property
    def stays(self) -> bool:
        return True

    def reference_returns(self) -> dict[str, float] | None:
        return references_of(self.parameters)

    def exact_filter(self) -> FiniteFilter:
        return exact_filter(self.parameters)

    def variants(self) -> dict[str, dict[str, Any]]:
        """No goal anywhere, and one where there was none in training: next to the start."""
        p = self.parameters
        x, y = p.start
        beside = (x + 1, y) if x + 1 < p.size else (x - 1, y)
        return {"no_goal": {"goal_reward": p.step_reward}, "goal_beside_start": {"goal": beside}}

    def frame(
        self, observations: NDArray[Any], context: NDArray[Any] | None
    ) -> dict[str, Any] | None:
        if context is None:
            return None
        return drawing.frame(self.parameters.size, observations, [context[0]])


class StaticGridWorldEnv(
    ParametrisedEnv, parameters=StaticParameters.make, simulator=StaticGridWorldSimulator
):
    """A grid with one hidden goal; four short episodes in which to find it and to return to it.

    ## Description

    The agent starts at `start` and looks for a goal that it cannot see. The goal stays where it is
    for all inner episodes of a trial; at the end of each the agent is put back at the start. A good
    agent searches systematically once, and from then on walks straight to the goal. One episode of
    this environment is one trial. The setting is that of VariBAD (Zintgraf et al., ICLR 2020).

    ## Action space

    ``Discrete(5)``: right, down, left, up, stay; ``Discrete(4)`` without the last with
    ``stay=False``. What would leave the grid stays put.

    ## Observation space

    ``Box(0, 1, (3,), float32)``; (0, 0) is the upper left corner.

    | entry | meaning |
    |---|---|
    | 0, 1 | x, y of the agent, divided by (size - 1) |
    | 2 | inner-done flag: 1 iff the last step ended an inner episode |

    ## Rewards

    For the cell entered by the action: `goal_reward` (+1) on the goal, `step_reward` (-0.1)
    elsewhere. An agent that knows the goal gets 11.07 in each inner episode of the default grid.

    ## Starting state

    Agent at `start`, at the beginning of the trial and of each inner episode. The goal is uniform
    over the cells at least two steps from the start in x or y (21 of 25 for a corner), unless
    `goal` fixes it.

    ## Episode end

    Terminated after `inner_episodes` x `inner_horizon` steps (60), never truncated. At the end of
    an inner episode that is not the last, the observation shows the agent back at the start, with
    the flag at 1; at the end of the last it shows where the agent is.

    ## Latent

    | | |
    |---|---|
    | context m | the goal's (x, y), divided by (size - 1) |
    | prior | uniform over the possible goals |
    | change | never within a trial: one session |
    | what tells m | the reward: +1 reveals the goal, -0.1 rules the entered cell out |
    | returns of the default | random -4.66, blind -3.07, Bayes-optimal 37.21, oracle 44.29 |

    `info` carries `context` (float32 [2]), `session` (0), `switched` (0) and `inner_done` (int8).

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `size` | 5 | cells along an edge, 3 or more |
    | `inner_horizon` | 15 | steps in an inner episode, 1 or more |
    | `inner_episodes` | 4 | inner episodes in a trial, 1 or more |
    | `stay` | True | whether there is a fifth action, to stay |
    | `start` | (0, 0) | the agent's first (x, y) cell |
    | `goal` | None | the goal's (x, y) cell, or None for a random one |
    | `goal_reward`, `step_reward` | 1, -0.1 | see Rewards |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    ## Version history

    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}


class StaticGridWorldVectorEnv(ParametrisedVectorEnv, of=StaticGridWorldEnv):
    """N trials stepped as arrays; arguments and meaning as in `StaticGridWorldEnv`."""
