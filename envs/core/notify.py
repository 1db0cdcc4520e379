"""Notification levels: what an agent is told of the hidden context while it acts.

``none`` is the DLCMDP itself. With ``switched`` the observation o_t ends with the label `switched`
(1 if a session ended before the coming transition), with ``context`` with the context m_t that
holds in it. After the levels of NS-Gym (Keplinger et al. 2025), which notifies one step later.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from .checks import did_you_mean

LEVELS = ("none", "switched", "context")


def check_level(where: str, level: Any) -> str:
    """Return a notification level.

    Raises:
        ValueError: if `level` is none.
    """
    if not isinstance(level, str) or level not in LEVELS:
        hint = did_you_mean(str(level), LEVELS)
        raise ValueError(
            f"{where}: notify is {level!r}, but must be one of {', '.join(LEVELS)}{hint}."
        )
    return level


class Notices:
    """The observations of a simulator with what `level` tells at their end.

    Args:
        where: the environment, for messages.
        simulator: its observations are [N, D], its labels `switched` [N] and `context` [N, C].
        level: one of `LEVELS`.

    Attributes:
        space: of one observation, a Box of shape (D,), (D + 1,) or (D + C,).

    Raises:
        ValueError: there is no such level, or the simulator labels a posterior, which would be that
            of an agent that is told nothing.
    """

    def __init__(self, where: str, simulator: Any, level: str):
        self.level, self._simulator = check_level(where, level), simulator
        self.space = simulator.observation_space
        self.width = int(self.space.shape[0])
        if level == "none":
            return
        labels = simulator.labels()
        if "posterior" in labels:
            raise ValueError(
                f"{where}: show_posterior is set, whose filter is told nothing, and notify is "
                f"{level!r}; use one of them."
            )
        width = labels[level].reshape(simulator.num_envs, -1).shape[1]
        low, high = (0.0, 1.0) if level == "switched" else (-np.inf, np.inf)
        least = np.append(self.space.low, np.full(width, low)).astype(np.float32)
        most = np.append(self.space.high, np.full(width, high)).astype(np.float32)
        self.space = gym.spaces.Box(least, most, dtype=np.float32)

    def observe(self) -> NDArray[np.float32]:
        """Return the observations [N, D], [N, D + 1] or [N, D + C]."""
        observations: NDArray[np.float32] = self._simulator.observe()
        if self.level == "none":
            return observations
        notice = self._simulator.labels()[self.level].reshape(len(observations), -1)
        return np.concatenate([observations, notice.astype(np.float32)], 1)

    def without(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Return observations `[..., D]` without what was told."""
        return observations[..., : self.width]


class Unnotified:
    """A played meta-episode as an agent would have seen it that is told nothing."""

    def __init__(self, episode: Any, notices: Notices):
        self.observations, self._episode = notices.without(episode.observations), episode

    def __getattr__(self, name: str) -> Any:
        return getattr(self._episode, name)


class Notified(gym.Wrapper):
    """Shows beside an environment's observation what `level` tells: a Tuple of the two.

    For environments that give the labels in `info`, as `Sessions` does. Those with the ids of this
    project have an argument `notify` instead.

    Args:
        env: the environment.
        level: "switched" or "context".
        size: C, how many numbers the context has.

    Raises:
        ValueError: if there is no such level.
    """

    def __init__(self, env: gym.Env, level: str, size: int = 1):
        super().__init__(env)
        self._level, space = check_level("Notified", level), env.observation_space
        notices: dict[str, gym.Space] = {
            "switched": gym.spaces.Discrete(2),
            "context": gym.spaces.Box(-np.inf, np.inf, (size,), np.float32),
        }
        if level in notices:
            self.observation_space = gym.spaces.Tuple((space, notices[level]))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._shown(observation, info), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Act."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._shown(observation, info), reward, terminated, truncated, info

    def _shown(self, observation: Any, info: dict[str, Any]) -> Any:
        if self._level == "none":
            return observation
        if self._level not in info:
            raise ValueError(
                f"Notified: {self.env} gives no info[{self._level!r}]; put it outside of Sessions."
            )
        notice = info[self._level]
        shown = np.int64(notice) if self._level == "switched" else np.float32(notice).reshape(-1)
        return observation, shown
