"""Simulated agents for the two-step task: the patterns that an analysis of choices must tell apart.

All choose the first action by soft-max over two values and the second one, which has no effect, as
the first. Arrays are over B meta-episodes: first actions and second states are 0 or 1 (A or B).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_number
from ..core.streams import Stream
from .env import TwoStepVectorEnv
from .parameters import TwoStepParameters
from .references import updated

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Played:
    """B meta-episodes of T steps: observations [B, T + 1, 3], actions [B, T], rewards [B, T]."""

    observations: NDArray[np.float32]
    actions: Ints
    rewards: Array

    def episodes(self) -> list[Played]:
        """Return each meta-episode on its own, without the axis B."""
        rows = zip(self.observations, self.actions, self.rewards, strict=True)
        return [Played(*row) for row in rows]


class TwoStepAgent(ABC):
    """A learner in B meta-episodes at once."""

    @abstractmethod
    def begin(self, meta_episodes: int, parameters: TwoStepParameters) -> None:
        """Forget everything."""

    @abstractmethod
    def values(self) -> Array:
        """Return what the soft-max chooses by, [B, 2]: the actions' values times a steepness."""

    @abstractmethod
    def learn(self, action: Ints, state: Ints, reward: Array) -> None:
        """Learn from a round: first action, second state and reward, each [B]."""


class ModelFree(TwoStepAgent):
    """TD(lambda) on first actions and second states, which knows nothing of transitions.

    With V the values of A and B, and Q those of the actions, after a round with a, s and r:
    Q(a) += learning_rate (V(s) - Q(a) + trace (r - V(s))), then V(s) += learning_rate (r - V(s)).
    With a trace of 1, TD(1), where the action led has no part in its value.
    """

    def __init__(self, learning_rate: float = 0.5, steepness: float = 4.0, trace: float = 1.0):
        check_number("ModelFree", "learning_rate", learning_rate, low=0.0, high=1.0)
        check_number("ModelFree", "steepness", steepness, low=0.0)
        check_number("ModelFree", "trace", trace, low=0.0, high=1.0)
        self.learning_rate, self.steepness, self.trace = learning_rate, steepness, trace

    def begin(self, meta_episodes: int, parameters: TwoStepParameters) -> None:
        self._rows = np.arange(meta_episodes)
        self._of_action, self._of_state = np.full((2, meta_episodes, 2), 0.5)

    def values(self) -> Array:
        return self.steepness * self._of_action

    def learn(self, action: Ints, state: Ints, reward: Array) -> None:
        chosen, reached = (self._rows, action), (self._rows, state)
        error = reward - self._of_state[reached]
        target = self._of_state[reached] + self.trace * error
        self._of_action[chosen] += self.learning_rate * (target - self._of_action[chosen])
        self._of_state[reached] += self.learning_rate * error


class ModelBased(TwoStepAgent):
    """Learns what A and B pay by TD and plans with the true transition probabilities.

    V(s) += learning_rate (r - V(s)), Q(a) = sum_s P(s | a) V(s).
    """

    def __init__(self, learning_rate: float = 0.5, steepness: float = 8.0):
        check_number("ModelBased", "learning_rate", learning_rate, low=0.0, high=1.0)
        check_number("ModelBased", "steepness", steepness, low=0.0)
        self.learning_rate, self.steepness = learning_rate, steepness

    def begin(self, meta_episodes: int, parameters: TwoStepParameters) -> None:
        self._rows = np.arange(meta_episodes)
        self._arrival = parameters.arrival
        self._of_state = np.full((meta_episodes, 2), 0.5)

    def values(self) -> Array:
        return self.steepness * self._of_state @ self._arrival.T

    def learn(self, action: Ints, state: Ints, reward: Array) -> None:
        reached = self._rows, state
        self._of_state[reached] += self.learning_rate * (reward - self._of_state[reached])


class BayesFilter(TwoStepAgent):
    """Knows the whole task: the exact belief about the good state, and each action's reward by it.

    With the steepness infinite (None) it is greedy; where rich + poor is 1 no action tells more
    than the other, so that greedy is then Bayes-optimal.
    """

    def __init__(self, steepness: float | None = 8.0):
        if steepness is not None:
            check_number("BayesFilter", "steepness", steepness, low=0.0)
        self.steepness = 1e9 if steepness is None else steepness

    def begin(self, meta_episodes: int, parameters: TwoStepParameters) -> None:
        self._parameters = parameters
        self._belief = np.full(meta_episodes, 0.5)

    def values(self) -> Array:
        p = self._parameters
        contexts = np.stack([1.0 - self._belief, self._belief], 1)
        return self.steepness * contexts @ (p.arrival @ p.pay).T

    def learn(self, action: Ints, state: Ints, reward: Array) -> None:
        self._belief = updated(self._parameters, self._belief, state, reward.astype(np.int64))


def play(agent: TwoStepAgent, meta_episodes: int, seed: int, **parameters: Any) -> Played:
    """Let `agent` play.

    Args:
        agent: who plays.
        meta_episodes: B, 1 or more.
        seed: chooses the meta-episodes, the same as a held-out evaluation's, and the soft-max's
            draws.
        **parameters: those of `TwoStepEnv` that are not at their default.

    Raises:
        ValueError: if a number is out of range.
    """
    check_number("two-step agents", "meta_episodes", meta_episodes, low=1, integer=True)
    p = TwoStepParameters.make(**parameters)
    env = TwoStepVectorEnv(meta_episodes, **parameters)
    env.set_stream(Stream(seed, evaluation=True))
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    agent.begin(meta_episodes, p)
    observations, actions, rewards = [env.reset()[0]], [], []
    for _ in range(p.rounds):
        action = _soft_max(agent.values(), rng)
        for _ in range(2):
            observation, reward, _, _, infos = env.step(action)
            observations.append(infos.get("final_obs", observation))
            actions.append(action)
            rewards.append(reward)
        agent.learn(action, (observations[-2][:, 2] == 1).astype(np.int64), rewards[-1])
    return Played(np.stack(observations, 1), np.stack(actions, 1), np.stack(rewards, 1))


def _soft_max(values: Array, rng: np.random.Generator) -> Ints:
    """Action 1 with probability 1 / (1 + exp(value 0 - value 1)), [B]."""
    difference = np.clip(values[:, 0] - values[:, 1], -700.0, 700.0)
    return (rng.random(len(values)) * (1.0 + np.exp(difference)) < 1.0).astype(np.int64)
