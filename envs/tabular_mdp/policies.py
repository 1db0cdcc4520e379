"""Classical policies for the random tabular MDPs, played: posterior sampling and greed.

Both plan at the start of each inner episode, for its whole length, with one MDP that agrees with
what has been seen, and know the noise. They differ in which MDP: PSRL draws it from
the posterior (Osband, Russo and Van Roy 2013), greed takes the posterior's mean.

The prior is conjugate. After n visits to (s, a), k(s') of which led to s', with rewards summing to
Z, P(. | s, a) ~ Dirichlet(1 + k), and R(s, a) is normal with precision
1 / reward_std² + n / noise_std² and mean (prior_mean / reward_std² + Z / noise_std²) / precision.

Letters: B trials, S states, A actions, H steps in an inner episode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_number
from ..core.streams import Stream
from .env import TabularMDPVectorEnv
from .models import Models, best_policies
from .parameters import TabularParameters
from .references import Estimate

Array = NDArray[np.float64]


def psrl_returns(
    trials: int, seed: int, prior_mean: float | None = None, **parameters: Any
) -> Estimate:
    """Return what posterior sampling earns in a whole trial, simulated.

    In the default trial that is 133. RL²'s Table 2 has 138.1, which agrees with ``prior_mean=0``:
    an agent that expects rewards of 0 where 1 is true tries less, wrongly but to its advantage.

    Args:
        trials: B, how many trials to play, 2 or more.
        seed: chooses the trials, the same as a held-out evaluation's, and the policy's samples.
        prior_mean: what the policy takes for `reward_mean`; None for the truth.
        **parameters: those of `TabularMDPEnv` that are not at their default.

    Raises:
        ValueError: if a parameter is out of range, or `p_switch` is not 0: the posterior is that of
            an MDP which stays.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    return _play(lambda posterior: posterior.sample(rng), trials, seed, prior_mean, parameters)


def greedy_returns(
    trials: int, seed: int, prior_mean: float | None = None, **parameters: Any
) -> Estimate:
    """Return what planning with the posterior's mean earns; arguments as in `psrl_returns`.

    In the default trial that is 149: so short a trial rewards greed more than exploration.
    """
    return _play(lambda posterior: posterior.mean(), trials, seed, prior_mean, parameters)


class Posterior:
    """What B agents know of their MDPs, if R's prior mean is `prior_mean`.

    Attributes:
        counts: [B, S, A, S'], transitions seen.
        visits: [B, S, A], rewards seen.
        total: [B, S, A], their sum.
    """

    def __init__(self, trials: int, parameters: TabularParameters, prior_mean: float):
        p = self.parameters = parameters
        self.prior_mean = prior_mean
        self.counts = np.zeros((trials, p.states, p.actions, p.states))
        self.visits, self.total = np.zeros((2, trials, p.states, p.actions))
        self._rows = np.arange(trials)

    def see_reward(
        self, state: NDArray[np.int64], action: NDArray[np.int64], reward: Array
    ) -> None:
        """Learn from one reward in each trial; all [B]."""
        self.visits[self._rows, state, action] += 1.0
        self.total[self._rows, state, action] += reward

    def see_transition(
        self, state: NDArray[np.int64], action: NDArray[np.int64], next_state: NDArray[np.int64]
    ) -> None:
        """Learn from one transition in each trial; all [B]."""
        self.counts[self._rows, state, action, next_state] += 1.0

    def mean(self) -> Models:
        """The expected MDPs."""
        weights = 1.0 + self.counts
        return Models(self._reward()[0], weights / weights.sum(-1, keepdims=True))

    def sample(self, rng: np.random.Generator) -> Models:
        """One MDP for each trial."""
        mean, deviation = self._reward()
        weights = rng.standard_gamma(1.0 + self.counts)
        return Models(
            mean + deviation * rng.standard_normal(mean.shape),
            weights / weights.sum(-1, keepdims=True),
        )

    def _reward(self) -> tuple[Array, Array]:
        """Mean and standard deviation of the posterior of R, [B, S, A]."""
        p = self.parameters
        # gain = reward_std² n / (noise_std² + reward_std² n), also right if one of them is 0
        prior, noise = p.reward_std**2, p.noise_std**2
        spread = noise + prior * self.visits
        gain = np.divide(prior, spread, out=np.zeros_like(spread), where=spread > 0.0)
        mean = self.prior_mean + gain * (self.total - self.visits * self.prior_mean)
        left = np.where(self.visits > 0.0, gain * noise, prior)
        return mean, np.sqrt(left)


def _play(
    choose: Callable[[Posterior], Models],
    trials: int,
    seed: int,
    prior_mean: float | None,
    parameters: dict[str, Any],
) -> Estimate:
    """Play B trials at once and return the mean return."""
    check_number("TabularMDP/Random policies", "trials", trials, low=2, integer=True)
    p = TabularParameters.make(**parameters)
    if p.p_switch > 0.0:
        raise ValueError(
            f"TabularMDP/Random policies: p_switch is {p.p_switch}, but they take the MDP to stay "
            "the same throughout a trial; leave p_switch at 0."
        )
    env = TabularMDPVectorEnv(trials, **parameters)
    env.set_stream(Stream(seed, evaluation=True))
    prior_mean = p.reward_mean if prior_mean is None else prior_mean
    posterior, returns = Posterior(trials, p, prior_mean), np.zeros(trials)
    observation = env.reset()[0]
    for _ in range(p.inner_episodes):
        policy = best_policies(choose(posterior), p.inner_horizon)[0]
        observation = _inner_episode(env, observation, policy, posterior, returns)
    return Estimate(float(returns.mean()), float(returns.std(ddof=1) / np.sqrt(trials)))


def _inner_episode(
    env: TabularMDPVectorEnv,
    observation: NDArray[np.float32],
    policy: NDArray[np.int64],
    posterior: Posterior,
    returns: Array,
) -> NDArray[np.float32]:
    """Follow `policy` [H, B, S] for an inner episode; add what is earned to `returns` [B]."""
    rows = np.arange(len(returns))
    for h, actions_of in enumerate(policy):
        state = observation[:, :-1].argmax(1)
        action = actions_of[rows, state]
        observation, reward = env.step(action)[:2]
        returns += reward
        posterior.see_reward(state, action, reward)
        if h + 1 < len(policy):  # the last one's next state cannot be seen: it is reset
            posterior.see_transition(state, action, observation[:, :-1].argmax(1))
    return observation
