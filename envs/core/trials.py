"""Trials: several inner episodes of one task, joined into one meta-episode."""

from __future__ import annotations

from typing import Any, TypeGuard

import gymnasium as gym
import numpy as np

from .checks import check_number
from .dlcmdp import KEEP_TASK

FLAG, MASKED = "inner_done", "observations"
_FLAG_SPACE = gym.spaces.Box(0.0, 1.0, (1,), np.float32)


class MetaEpisode(gym.Wrapper):
    """Join `k` inner episodes of one task into one episode.

    The end of an inner episode, by termination or by a time limit, is data: the environment is
    reset in the same step, the observation is the first one of the next inner episode, and the
    inner-done flag in it is 1. It is 0 otherwise. Only the k-th end is returned as the end of
    the episode, `terminated` or `truncated` as the inner environment said; its observation is the
    inner episode's last one, with the flag at 1.

    Inner resets pass ``options={"keep_task": True}``: `Sessions` then goes on with its context, and
    an environment that draws a task of its own in reset must keep it. A time limit of inner
    episodes belongs inside this wrapper.

    The flag is the last entry of a one-dimensional Box and the last part of a Tuple. A Dict gains
    the key `inner_done`; where it is an action mask and ``observations``, these gain the flag. Any
    other observation becomes the `observation` of such a Dict.

    `info` gains `inner_done` (int8, the flag), `inner_episode` (int64, 0 .. k - 1, that of the
    coming transition) and, where an inner episode ended, ``inner_final_obs``, its last observation
    without flag.

    Args:
        env: an environment.
        k: number of inner episodes, 1 or more.

    Raises:
        ValueError: if `k` is below 1, or the observation has a key `inner_done` already.
    """

    def __init__(self, env: gym.Env, k: int):
        super().__init__(env)
        check_number("MetaEpisode", "k", k, low=1, integer=True)
        self.k = int(k)
        self.observation_space = _flagged_space(env.observation_space)
        self._inner = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin a trial with a new task; the flag in the observation is 0."""
        self._inner = 0
        observation, info = self.env.reset(seed=seed, options=options)
        return self._flagged(observation, 0), {**info, **self._inner_labels(0)}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Act; if an inner episode ends and is not the last, begin the next one at once.

        The observation is then the first of the next inner episode, its flag is 1, and
        ``info["inner_final_obs"]`` is the last one of the old, without a flag.
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

    def _flagged(self, observation: Any, flag: int) -> Any:
        return _flagged(self.env.observation_space, observation, flag)

    def _inner_labels(self, done: int) -> dict[str, Any]:
        return {"inner_done": np.int8(done), "inner_episode": np.int64(self._inner)}


def _flagged_space(space: gym.Space) -> gym.Space:
    """A space of observations with the inner-done flag in it; see `MetaEpisode`."""
    if _is_vector(space):
        dtype: Any = space.dtype
        low, high = np.append(space.low, 0), np.append(space.high, 1)
        return gym.spaces.Box(low.astype(dtype), high.astype(dtype), dtype=dtype)
    if isinstance(space, gym.spaces.Tuple):
        return gym.spaces.Tuple((*space.spaces, _FLAG_SPACE))
    if not isinstance(space, gym.spaces.Dict):
        return gym.spaces.Dict({"observation": space, FLAG: _FLAG_SPACE})
    if _is_masked(space):
        return gym.spaces.Dict({**space.spaces, MASKED: _flagged_space(space[MASKED])})
    if FLAG in space.spaces:
        raise ValueError(f"MetaEpisode: observations have a key {FLAG!r} already; rename it.")
    return gym.spaces.Dict({**space.spaces, FLAG: _FLAG_SPACE})


def _flagged(space: gym.Space, observation: Any, flag: int) -> Any:
    """An observation of `space` as one of `_flagged_space(space)`."""
    if _is_vector(space):
        return np.append(observation, flag).astype(space.dtype, copy=False)
    value = np.array([flag], np.float32)
    if isinstance(space, gym.spaces.Tuple):
        return (*observation, value)
    if not isinstance(space, gym.spaces.Dict):
        return {"observation": observation, FLAG: value}
    if _is_masked(space):
        return {**observation, MASKED: _flagged(space[MASKED], observation[MASKED], flag)}
    return {**observation, FLAG: value}


def _is_vector(space: gym.Space) -> TypeGuard[gym.spaces.Box]:
    return isinstance(space, gym.spaces.Box) and len(space.shape) == 1


def _is_masked(space: gym.spaces.Dict) -> bool:
    """Whether it is what RLlib knows: an action mask and what is observed."""
    return MASKED in space.spaces and len(space.spaces) == 2
