"""The parameters of the random tabular MDPs, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.checks import MOST, check_number, check_size


@dataclass(frozen=True)
class TabularParameters:
    """Everything that defines the family of MDPs; `TabularMDPEnv` explains each. Hashable."""

    states: int
    actions: int
    inner_horizon: int
    inner_episodes: int
    p_switch: float
    reward_mean: float
    reward_std: float
    noise_std: float

    @classmethod
    def make(
        cls,
        states: int = 10,
        actions: int = 5,
        inner_horizon: int = 10,
        inner_episodes: int = 10,
        p_switch: float = 0.0,
        reward_mean: float = 1.0,
        reward_std: float = 1.0,
        noise_std: float = 1.0,
    ) -> TabularParameters:
        """Check the arguments of `TabularMDPEnv`; ValueError names the one out of range."""
        where = "TabularMDP/Random"
        check_size(where, "states", states, low=2, high=1000)
        check_size(where, "actions", actions, low=2, high=100)
        check_size(where, "inner_horizon", inner_horizon)
        check_size(where, "inner_episodes", inner_episodes, high=MOST // inner_horizon)
        check_number(where, "p_switch", p_switch, low=0.0, high=1.0)
        check_number(where, "reward_mean", reward_mean)
        check_number(where, "reward_std", reward_std, low=0.0)
        check_number(where, "noise_std", noise_std, low=0.0)
        return cls(
            states=int(states),
            actions=int(actions),
            inner_horizon=int(inner_horizon),
            inner_episodes=int(inner_episodes),
            p_switch=float(p_switch),
            reward_mean=float(reward_mean),
            reward_std=float(reward_std),
            noise_std=float(noise_std),
        )

    @property
    def horizon(self) -> int:
        """Steps in a trial, T."""
        return self.inner_horizon * self.inner_episodes

    @property
    def pairs(self) -> int:
        """How many pairs (state, action) there are."""
        return self.states * self.actions

    @property
    def mdps(self) -> int:
        """The most MDPs that one trial can have, K."""
        return self.inner_episodes if self.p_switch > 0.0 else 1
