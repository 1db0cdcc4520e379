"""``TabularMDP/Random-v0``: a finite MDP drawn at random, to be learnt within a few episodes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ..core.arguments import ParametrisedEnv, ParametrisedVectorEnv
from ..core.vector import Simulator
from . import drawing
from .models import draw_models, even, normals, uniforms_of_a_model
from .parameters import TabularParameters
from .references import references_of

__all__ = ["TabularMDPEnv", "TabularMDPSimulator", "TabularMDPVectorEnv"]


class TabularMDPSimulator(Simulator):
    """N trials as arrays. `TabularMDPEnv` says what they do.

    Uniforms of a trial, in this order: those of each MDP, the switches between inner episodes, the
    transitions, the noise of the rewards.
    """

    def __init__(self, num_envs: int, parameters: TabularParameters):
        p = self.parameters = parameters
        self.num_envs = num_envs
        self.observation_space = gym.spaces.Box(0.0, 1.0, (p.states + 1,), np.float32)
        self.action_space = gym.spaces.Discrete(p.actions)
        self._parts = np.cumsum(
            [p.mdps * uniforms_of_a_model(p), p.inner_episodes - 1, p.horizon, even(p.horizon)]
        )
        self.uniforms_per_episode = int(self._parts[-1])
        self._rows = np.arange(num_envs)
        self._allocate(num_envs)

    def _allocate(self, n: int) -> None:
        p = self.parameters
        self._t, self._state, self._model = np.zeros((3, n), np.int64)
        self._observation = np.zeros((n, p.states + 1), np.float32)
        self._switched = np.zeros(n, np.int8)
        self._session_of = np.zeros((n, p.inner_episodes), np.int64)
        self._rewards = np.zeros((n * p.mdps, p.pairs))
        # upper ends of each next state's interval of [0, 1), the last one left out (it is 1)
        self._cumulative = np.zeros((n * p.mdps, p.pairs, p.states - 1))
        self._chance, self._noise = np.zeros((2, n, p.horizon))

    @property
    def task_columns(self) -> NDArray[np.int64]:
        return np.arange(uniforms_of_a_model(self.parameters))  # the first session's MDP

    def begin(self, rows: NDArray[np.int64], uniforms: NDArray[np.float64]) -> None:
        p = self.parameters
        of_models, switches, chance, noise, _ = np.split(uniforms, self._parts, axis=1)
        self._session_of[rows, 1:] = np.cumsum(switches < p.p_switch, 1)
        self._chance[rows] = chance
        self._noise[rows] = p.noise_std * normals(noise)[:, : p.horizon]
        self._draw_models(rows, of_models)
        self._t[rows] = 0
        self._model[rows] = rows * p.mdps
        self._switched[rows] = 0
        self._place(rows, 0)
        self._observation[rows, -1] = 0.0

    def _draw_models(self, rows: NDArray[np.int64], uniforms: NDArray[np.float64]) -> None:
        """Draw the MDPs of all sessions that these rows will come to."""
        p = self.parameters
        number = np.arange(p.mdps)
        needed = number <= self._session_of[rows, -1:]
        models = draw_models(p, uniforms.reshape(len(rows), p.mdps, -1)[needed])
        where = (rows[:, None] * p.mdps + number)[needed]
        self._rewards[where] = models.reward.reshape(-1, p.pairs)
        steps = np.cumsum(models.transition, -1)[..., :-1]
        self._cumulative[where] = steps.reshape(-1, p.pairs, p.states - 1)

    def _place(self, rows: NDArray[np.int64], states: NDArray[np.int64] | int) -> None:
        self._observation[rows, self._state[rows]] = 0.0
        self._state[rows] = states
        self._observation[rows, self._state[rows]] = 1.0

    def advance(
        self, actions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        p = self.parameters
        pair = self._state * p.actions + actions
        rewards = self._rewards[self._model, pair] + self._noise[self._rows, self._t]
        chance = self._chance[self._rows, self._t]
        next_state = (chance[:, None] >= self._cumulative[self._model, pair]).sum(1)
        self._t += 1
        over = self._t >= p.horizon
        ended = self._t % p.inner_horizon == 0
        # There is no reset after the last inner episode: that observation is final.
        self._place(self._rows, np.where(ended & ~over, 0, next_state))
        self._observation[:, -1] = ended
        self._change_models(ended & ~over)
        return rewards, over, np.zeros(self.num_envs, np.bool_)

    def _change_models(self, between: NDArray[np.bool_]) -> None:
        """Go on with the next session's MDP in rows that are between inner episodes, if it ends."""
        self._switched = np.zeros(self.num_envs, np.int8)
        rows = np.flatnonzero(between)
        if self.parameters.p_switch > 0.0 and len(rows):
            episode = self._t[rows] // self.parameters.inner_horizon
            session = self._session_of[rows, episode]
            self._switched[rows] = session - self._session_of[rows, episode - 1]
            self._model[rows] = rows * self.parameters.mdps + session

    def observe(self) -> NDArray[np.float32]:
        return self._observation.copy()

    def labels(self) -> dict[str, NDArray[Any]]:
        return {
            "context": self._rewards[self._model].astype(np.float32),
            "session": self._model - self._rows * self.parameters.mdps,
            "switched": self._switched.copy(),
            "inner_done": self._observation[:, -1].astype(np.int8),
        }

    def draw(self, row: int, mode: str) -> NDArray[np.uint8] | str:
        p = self.parameters
        rewards = self._rewards[self._model[row]].reshape(p.states, p.actions)
        step, episode = self._t[row] % p.inner_horizon, self._t[row] // p.inner_horizon
        scene = drawing.Scene(rewards, int(self._state[row]), int(step), int(episode))
        return drawing.draw(scene, mode)

    def reference_returns(self) -> dict[str, float] | None:
        return references_of(self.parameters)

    def notified_returns(self, level: str) -> dict[str, float] | None:
        return self.reference_returns()  # the context has the mean rewards, the oracle knows more


class TabularMDPEnv(
    ParametrisedEnv, parameters=TabularParameters.make, simulator=TabularMDPSimulator
):
    """A random MDP with few states, the same for all inner episodes of a trial.

    ## Description

    States and actions are mere numbers. What an action pays in a state, and where it leads, is
    drawn at random for each trial and has to be found out: a good agent tries, remembers, and
    plans with what it has learnt. Each inner episode begins in state 0. One episode of this
    environment is one trial. The setting is that of RL² (Duan et al. 2016).

    ## Action space

    ``Discrete(actions)`` (5).

    ## Observation space

    ``Box(0, 1, (states + 1,), float32)`` (11 numbers).

    | entry | meaning |
    |---|---|
    | 0 .. states - 1 | the state, one-hot |
    | states | inner-done flag: 1 iff the last step ended an inner episode |

    ## Rewards

    R(s, a) for the action taken in the state that was left, plus normal noise with standard
    deviation `noise_std` (1). R(s, a) is drawn from a normal distribution with mean `reward_mean`
    (1) and standard deviation `reward_std` (1), each pair on its own. Rewards have no bounds.

    ## Starting state

    State 0, at the beginning of the trial and of each inner episode. P(. | s, a), the distribution
    of the next state, is drawn uniformly from all distributions (Dirichlet with all parameters 1),
    for each pair on its own.

    ## Episode end

    Terminated after `inner_episodes` x `inner_horizon` steps (100), never truncated. At the end of
    an inner episode that is not the last, the observation shows state 0, with the flag at 1; at
    the end of the last it shows the state that was reached.

    ## Latent

    | | |
    |---|---|
    | context m | the mean rewards R(s, a), entry s * actions + a: 50 numbers |
    | prior | as above |
    | change | after each inner episode but the last, with probability `p_switch` (0), a new MDP |
    | what tells m | each reward, through the noise; each transition tells of P |
    | returns of the default | random 100, blind 100, oracle 218.6; Bayes-optimal not known |

    The hidden task has two parts, R and P, but `context` has R alone: P has ten times as many
    entries and matters little. In the default trial the best policy earns 218.6, and who knows R
    and takes in each state what pays most there, with no thought of what follows, 216.5.

    `info` carries `context` (float32 [states * actions]), `session` (int64), `switched` (int8) and
    `inner_done` (int8). The oracle of `reference_returns()` knows R and P; its value is an average
    over 20,000 MDPs (standard error 0.13), random and blind are exact.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `states` | 10 | number of states, 2 or more |
    | `actions` | 5 | number of actions, 2 or more |
    | `inner_horizon` | 10 | steps in an inner episode, 1 or more |
    | `inner_episodes` | 10 | inner episodes in a trial, 1 or more; RL²'s n |
    | `p_switch` | 0 | probability of a new MDP after an inner episode |
    | `reward_mean`, `reward_std`, `noise_std` | 1, 1, 1 | see Rewards |
    | `notify` | "none" | "switched" or "context": what observations tell, `envs/core/notify.py` |

    ## Version history

    * v0: first version.
    """

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}


class TabularMDPVectorEnv(ParametrisedVectorEnv, of=TabularMDPEnv):
    """N trials stepped as arrays; arguments and meaning as in `TabularMDPEnv`."""
