"""``Bandit/Bernoulli-v0``: arms that pay 1 or 0 with hidden probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ..core.arguments import ParametrisedEnv, ParametrisedVectorEnv
from ..core.bayes import ExactFilter
from ..core.vector import Simulator
from . import drawing
from .filter import exact_filter
from .parameters import BanditParameters, draw_arms
from .references import references_of, regret

__all__ = [
    "BernoulliBanditEnv",
    "BernoulliBanditSimulator",
    "BernoulliBanditVectorEnv",
]


class BernoulliBanditSimulator(Simulator):
    """N trials as arrays. `BernoulliBanditEnv` says what they do.

    Uniforms of a trial, in this order: one for the reward of each pull, whichever arm it is of;
    for each session those of its arms; and, if the bandit is restless, the switches.
    """

    def __init__(self, num_envs: int, parameters: BanditParameters):
        p = self.parameters = parameters
        self.num_envs = num_envs
        self.observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(p.arms)
        switches = p.pulls if p.p_switch > 0.0 else 0
        parts = [p.pulls, p.most_sessions * p.uniforms_of_a_draw, switches]
        self._parts = np.cumsum(parts)[:-1]
        self.uniforms_per_episode = sum(parts)
        self._rows = np.arange(num_envs)
        self._t = np.zeros(num_envs, np.int64)
        self._luck = np.zeros((num_envs, p.pulls))
        self._chances = np.zeros((num_envs, p.most_sessions, p.arms))
        self._session = np.zeros((num_envs, p.pulls + 1), np.int64)
        self._pulled, self._paid = np.zeros((2, num_envs, p.arms), np.int64)

    @property
    def task_columns(self) -> NDArray[np.int64]:
        p = self.parameters
        return p.pulls + np.arange(p.uniforms_of_a_draw)  # the first session's arms

    def begin(self, rows: NDArray[np.int64], uniforms: NDArray[np.float64]) -> None:
        p = self.parameters
        luck, arms, switches = np.split(uniforms, self._parts, axis=1)
        self._luck[rows] = luck
        drawn = arms.reshape(len(rows), p.most_sessions, p.uniforms_of_a_draw)
        self._chances[rows] = draw_arms(p, drawn)
        if p.p_switch > 0.0:
            self._session[rows, 1:] = np.cumsum(switches < p.p_switch, 1)
        self._t[rows] = 0
        self._pulled[rows] = self._paid[rows] = 0

    def advance(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        chance = self._chances[self._rows, self._session[self._rows, self._t], actions]
        paid = self._luck[self._rows, self._t] < chance
        self._pulled[self._rows, actions] += 1
        self._paid[self._rows, actions] += paid
        self._t += 1
        over = self._t >= self.parameters.pulls
        return paid.astype(np.float64), over, np.zeros(self.num_envs, np.bool_)

    def observe(self) -> NDArray[np.float32]:
        if not self.parameters.show_time:
            return np.zeros((self.num_envs, 1), np.float32)
        return (self._t[:, None] / self.parameters.pulls).astype(np.float32)

    def labels(self) -> dict[str, NDArray[Any]]:
        session = self._session[self._rows, self._t]
        before = self._session[self._rows, np.maximum(self._t - 1, 0)]
        return {
            "context": self._chances[self._rows, session].astype(np.float32),
            "session": session,
            "switched": (session - before).astype(np.int8),
        }

    def draw(self, row: int, mode: str) -> NDArray[np.uint8] | str:
        chances = self._chances[row, self._session[row, self._t[row]]]
        record = self._pulled[row], self._paid[row]
        return drawing.draw(drawing.Scene(chances, *record, self.parameters.pulls), mode)

    @property
    def stays(self) -> bool:
        return self.parameters.p_switch == 0

    def reference_returns(self) -> dict[str, float] | None:
        return references_of(self.parameters)

    def exact_filter(self) -> ExactFilter:
        return exact_filter(self.parameters)

    def variants(self) -> dict[str, dict[str, Any]]:
        every_pull: dict[str, dict[str, Any]] = {"arms_change_every_pull": {"p_switch": 1.0}}
        if self.parameters.structure == "independent":
            return every_pull
        return every_pull | {"independent_arms": {"structure": "independent"}}

    def measures(self, episodes: Sequence[Any]) -> dict[str, float]:
        return regret(episodes)


class BernoulliBanditEnv(
    ParametrisedEnv, parameters=BanditParameters.make, simulator=BernoulliBanditSimulator
):
    """Arms that pay 1 or 0; how often each pays is hidden, and has to be found out while pulling.

    ## Description

    There are `arms` arms and `pulls` pulls. Each arm pays 1 with a probability of its own, which is
    drawn at random for each trial. A good agent tries arms as long as what it may find is worth
    the pulls that are left, and then keeps to the best. One episode of this environment is one
    trial. Independent arms are the setting of RL² (Duan et al. 2016); the dependent ones, two arms
    with 100 pulls, are those of "Learning to reinforcement learn" (Wang et al. 2016).

    ## Action space

    ``Discrete(arms)`` (5): the arm to pull.

    ## Observation space

    ``Box(0, 1, (1,), float32)``.

    | entry | meaning |
    |---|---|
    | 0 | always 0; with ``show_time=True`` the share of the trial's pulls made so far |

    There is nothing to see but actions and rewards, which the agent has to remember by itself.

    ## Rewards

    1 with the pulled arm's probability, else 0. Whether a pull pays depends on one uniform number
    for each pull, the same for all arms: had another arm been pulled, then the same luck would
    have met its probability.

    ## Starting state

    The arms' probabilities are drawn as `structure` says:

    | structure | arms | probabilities |
    |---|---|---|
    | `independent` | 2 or more | each uniform on [0, 1] |
    | `dependent_uniform` | 2 | p uniform on [0, 1] and 1 - p |
    | `dependent_easy` | 2 | 0.9 and 0.1, in either order |
    | `dependent_medium` | 2 | 0.75 and 0.25, in either order |
    | `dependent_hard` | 2 | 0.6 and 0.4, in either order |

    ## Episode end

    Terminated after `pulls` pulls, never truncated: a trial has n pulls, and no pull after them is
    worth anything.

    ## Latent

    | | |
    |---|---|
    | context m | the arms' probabilities, `arms` numbers |
    | prior | `structure` |
    | change | never by default; with `p_switch` after each pull a session ends with that \
probability, and all arms are redrawn from the prior (a restless bandit) |
    | what tells m | each reward, of the arm that was pulled; with dependent arms of both alike |
    | returns of the default | random 5, blind 5, Bayes-optimal 6.66, oracle 8.33 |

    `info` carries `context` (float32 [arms]), `session` (int64) and `switched` (int8) for the
    coming transition. `reference_returns()` gives the references, and the filter
    `exact_filter()` gives the arms' posterior; `bandit_policies` has
    classical strategies.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `arms` | 5 | number of arms, 2 or more; RL²'s k |
    | `pulls` | 10 | number of pulls in a trial, 1 or more; RL²'s n |
    | `structure` | "independent" | see Starting state |
    | `p_switch` | 0 | probability that all arms are redrawn after a pull |
    | `show_time` | False | see Observation space |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    ## Version history

    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}


class BernoulliBanditVectorEnv(ParametrisedVectorEnv, of=BernoulliBanditEnv):
    """N trials stepped as arrays; arguments and meaning as in `BernoulliBanditEnv`."""
