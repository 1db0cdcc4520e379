"""Trials: several inner episodes of one task, joined into one meta-episode."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from .checks import check_number
from .dlcmdp import KEEP_TASK


class MetaEpisode(gym.Wrapper):
    """Join `k` inner episodes of one task into one episode.

    The end of an inner episode, by termination or by a time limit, is data: the environment is
    reset in the same step, the observation is the first one of the next inner episode, and its last
    entry, the inner-done flag, is 1. It is 0 otherwise. Only the k-th end is returned as the end of
    the episode, `terminated` or `truncated` as the inner environment said; its observation is the
    inner episode's last one, with the flag at 1.

    Inner resets pass ``options={"keep_task": True}``: `Sessions` then goes on with its context, and
    an environment that draws a task of its own in reset must keep it. A time limit of inner
    episodes belongs inside this wrapper.

    `info` gains `inner_done` (int8, the flag), `inner_episode` (int64, 0 .. k - 1, that of the
    coming transition) and, where an inner episode ended, ``inner_final_obs``, its last observation
    without flag.

    Args:
        env: an environment with a one-dimensional Box observation.
        k: number of inner episodes, 1 or more.

    Raises:
        ValueError: if `k` is below 1 or the observation is not a one-dimensional Box.
    """

    def __init__(self, env: gym.Env, k: int):
        super().__init__(env)
        check_number("MetaEpisode", "k", k, low=1, integer=True)
        space = env.observation_space
        if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
            raise ValueError(
                f"MetaEpisode: {env} observes {space}, but the flag can be appended to a "
                "one-dimensional Box only; flatten the observation first."
            )
        self.k = int(k)
        dtype: Any = space.dtype
        low, high = np.append(space.low, 0), np.append(space.high, 1)
        self.observation_space = gym.spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype)
        self._inner = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Begin a trial with a new task; the observation [O + 1] ends with the flag, 0."""
        self._inner = 0
        observation, info = self.env.reset(seed=seed, options=options)
        return self._flagged(observation, 0), {**info, **self._inner_labels(0)}

    def step(self, action: Any) -> tuple[NDArray[Any], Any, bool, bool, dict[str, Any]]:
        """Act; if an inner episode ends and is not the last, begin the next one at once.

        The observation [O + 1] is then the first of the next inner episode, its flag is 1, and
        ``info["inner_final_obs"]`` [O] is the last one of the old.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        if not (terminated or truncated):
            labels = self._inner_labels(0)
            return self._flagged(observation, 0), reward, False, False, {**info, **labels}
        info = {**info, "inner_final_obs": observation}
        if self._inner + 1 < self.k:
            self._inner += 1
            terminated = truncated = False
            observation, reset_info = self.env.reset(options=dict(KEEP_TASK))
            info = {**info, **reset_info}
        info.update(self._inner_labels(1))
        return self._flagged(observation, 1), reward, terminated, truncated, info

    # What is known of one inner episode does not hold for a trial.
    exact_filter = frame = None

    def reference_returns(self) -> None:
        """Return None: references of one inner episode are not those of a trial."""

    def _flagged(self, observation: NDArray[Any], flag: int) -> NDArray[Any]:
        return np.append(observation, flag).astype(self.observation_space.dtype, copy=False)

    def _inner_labels(self, done: int) -> dict[str, Any]:
        return {"inner_done": np.int8(done), "inner_episode": np.int64(self._inner)}
