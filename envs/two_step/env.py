"""``TwoStep-v0``: a choice leads to one of two states; which of them pays is hidden and changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ..core.arguments import ParametrisedEnv, ParametrisedVectorEnv
from ..core.bayes import FiniteFilter
from ..core.vector import Simulator
from . import drawing
from .parameters import TwoStepParameters
from .references import exact_filter, references_of, updated
from .stay import measure

__all__ = ["TwoStepEnv", "TwoStepSimulator", "TwoStepVectorEnv"]

START, A, B = range(3)
"""The states, and their places in the observation."""


class TwoStepSimulator(Simulator):
    """N meta-episodes as arrays. `TwoStepEnv` says what they do.

    Uniforms, in this order: the first context; then for each round the second state, the reward
    and the switch.
    """

    def __init__(self, num_envs: int, parameters: TwoStepParameters):
        p = self.parameters = parameters
        self.num_envs = num_envs
        self.observation_space = gym.spaces.Box(0.0, 1.0, (3,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.uniforms_per_episode = 1 + 3 * p.rounds
        self._one_hot = np.eye(3, dtype=np.float32)
        self._rows = np.arange(num_envs)
        self._t, self._state = np.zeros((2, num_envs), np.int64)
        self._last_reward = np.zeros(num_envs)
        self._belief = np.full(num_envs, 0.5)
        # for each round whether its transition is common, and what each state pays: the first
        # step, entry 0 of the last axis, pays nothing
        self._common = np.zeros((num_envs, p.rounds), np.bool_)
        self._pays = np.zeros((num_envs, p.rounds, 3))
        self._context = np.zeros((num_envs, p.rounds + 1), np.int64)
        self._session = np.zeros((num_envs, p.rounds + 1), np.int64)

    @property
    def task_columns(self) -> NDArray[np.int64]:
        return np.zeros(1, np.int64)  # the first context

    def begin(self, rows: NDArray[np.int64], uniforms: NDArray[np.float64]) -> None:
        p = self.parameters
        arrival, reward, switch = np.split(uniforms[:, 1:], 3, axis=1)
        session = np.cumsum(switch < p.p_switch, 1)
        first = (uniforms[:, 0] >= 0.5).astype(np.int64)
        self._session[rows, 1:] = session
        self._context[rows] = (first[:, None] + self._session[rows]) % 2
        self._common[rows] = arrival < p.common
        chance = p.pay.T[self._context[rows, :-1]]  # [R, rounds, state]
        self._pays[rows, :, A:] = reward[..., None] < chance
        self._t[rows] = self._state[rows] = 0
        self._last_reward[rows] = 0.0
        self._belief[rows] = 0.5

    def advance(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        now = self._t // 2
        rewards = self._pays[self._rows, now, self._state]
        if self.parameters.show_posterior:
            self._filter(rewards)
        common = self._common[self._rows, now]
        second = A + np.where(common, actions, 1 - actions)
        self._state = np.where(self._state == START, second, START)
        self._last_reward = rewards.copy()  # `begin` clears it, maybe in this very step
        self._t += 1
        truncated = self._t >= 2 * self.parameters.rounds
        return rewards, np.zeros(self.num_envs, np.bool_), truncated

    def _filter(self, rewards: NDArray[np.float64]) -> None:
        """Update the exact posterior with what the second state's reward tells."""
        at_b = (self._state == B).astype(np.int64)
        after = updated(self.parameters, self._belief, at_b, rewards.astype(np.int64))
        self._belief = np.where(self._state == START, self._belief, after)

    def observe(self) -> NDArray[np.float32]:
        return self._one_hot[self._state]

    def labels(self) -> dict[str, NDArray[Any]]:
        now = self._t // 2
        session = self._session[self._rows, now]
        before = self._session[self._rows, np.maximum(self._t - 1, 0) // 2]
        labels: dict[str, NDArray[Any]] = {
            "context": self._context[self._rows, now, None].astype(np.float32),
            "session": session,
            "switched": (session - before).astype(np.int8),
        }
        if self.parameters.show_posterior:
            labels["posterior"] = self._belief[:, None].astype(np.float32)
        return labels

    def draw(self, row: int, mode: str) -> NDArray[np.uint8] | str:
        now = int(self._t[row]) // 2
        good = A + int(self._context[row, now])
        progress = now / self.parameters.rounds
        paid = bool(self._last_reward[row] > 0)
        return drawing.draw(drawing.Scene(int(self._state[row]), good, now, progress, paid), mode)

    @property
    def stays(self) -> bool:
        return self.parameters.p_switch == 0

    def reference_returns(self) -> dict[str, float] | None:
        return references_of(self.parameters)

    def exact_filter(self) -> FiniteFilter:
        return exact_filter(self.parameters)

    def variants(self) -> dict[str, dict[str, Any]]:
        return {"switches_every_round": {"p_switch": 1.0}}

    def measures(self, episodes: Sequence[Any]) -> dict[str, float]:
        return measure(episodes)


class TwoStepEnv(ParametrisedEnv, parameters=TwoStepParameters.make, simulator=TwoStepSimulator):
    """The two-step task: does an agent that learns from reward know how it got there?

    ## Description

    A meta-episode has `rounds` rounds of two steps. In the first the agent chooses between two
    actions, each of which leads commonly to one of the states A and B and rarely to the other; in
    the second it gets the reward of the state that it is in. One state is good and pays often, the
    other seldom; now and then they swap roles. After a reward that followed a *rare* transition,
    who merely repeats what was rewarded chooses the same again; who knows how states are reached
    chooses the other action. `rllib_metarl.envs.two_step.stay` measures which of the two an agent
    does. The task is that of Daw et al. (2011) in the form of Wang et al. (2016).

    ## Action space

    ``Discrete(2)``. In the first step action 0 leads to A with probability `common` (0.8), else to
    B, and action 1 to B with probability `common`, else to A. In the second step the action has no
    effect.

    ## Observation space

    ``Box(0, 1, (3,), float32)``: the state, one-hot.

    | entry | state |
    |---|---|
    | 0 | the first step of a round |
    | 1 | A |
    | 2 | B |

    ## Rewards

    0 in the first step. In the second, 1 with probability `rich` (0.9) in the good state and with
    probability `poor` (0.1) in the other, else 0.

    ## Starting state

    The first step of a round. A and B are equally likely to be the good state.

    ## Episode end

    Truncated after 2 x `rounds` steps (200), never terminated.

    ## Latent

    | | |
    |---|---|
    | context m | the good state: 0 for A, 1 for B |
    | prior | uniform |
    | change | after each round, with probability `p_switch` (0.025), to the other one |
    | what tells m | the rewards, with noise; where an action led tells nothing |
    | returns of the default | random 50, blind 50, Bayes-optimal 70.59, oracle 74 |

    `info` carries `context` (float32 [1]), `session` (int64), `switched` (int8) and, with
    `show_posterior`, `posterior` (float32 [1]): the exact filter's P(m = 1).

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `rounds` | 100 | rounds in a meta-episode, 1 or more |
    | `common` | 0.8 | probability of an action's common transition, 0.5 to 1 |
    | `rich`, `poor` | 0.9, 0.1 | probability of a reward in the good state and in the other |
    | `p_switch` | 0.025 | probability that the states swap roles after a round |
    | `show_posterior` | False | whether `info` carries the exact filter's posterior |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    ## Version history

    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}


class TwoStepVectorEnv(ParametrisedVectorEnv, of=TwoStepEnv):
    """N meta-episodes stepped as arrays; arguments and meaning as in `TwoStepEnv`."""
