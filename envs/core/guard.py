"""What is done about a sub-env that raises, hangs or returns rubbish: a new one takes its place."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

MOST_NEWS = 20

logger = logging.getLogger("rllib_metarl")


class EnvFault(Exception):
    """What a sub-env did instead of what it should."""


class BrokenEnv(RuntimeError):
    """Sub-envs failed too often in a row to go on with them."""


@dataclass(frozen=True)
class Tolerance:
    """How much is borne.

    Attributes:
        step_timeout_s: seconds that one reset or step may take; None waits for ever. It is measured
            where Python's main thread steps the env, and ends what Python waits for or computes.
        most: faults in a row, with no meta-episode ending well between, that are too many.
    """

    step_timeout_s: float | None = None
    most: int = 20


class Guard:
    """Watches over the sub-envs of a `BatchedEnvs`, counts their faults and makes new ones.

    Args:
        make: makes sub-env i anew.
        tolerance: how much is borne.

    Attributes:
        faults: how many there have been.
        news: what has been told of them and not been taken away, at most `MOST_NEWS`.
    """

    def __init__(self, make: Callable[[int], gym.Env], tolerance: Tolerance) -> None:
        self._make, self._tolerance = make, tolerance
        self.faults = 0
        self.news: list[str] = []
        self._in_a_row = 0
        self._timed = False

    def look_at_the_clock(self) -> None:
        """Finds out whether calls can be timed here and now."""
        self._timed = self._tolerance.step_timeout_s is not None and _can_be_timed()

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls an env's function.

        Raises:
            Exception: whatever it raises; `EnvFault` where it takes too long.
        """
        if not self._timed:
            return function(*args, **kwargs)
        signal.setitimer(signal.ITIMER_REAL, self._tolerance.step_timeout_s or 0.0)
        try:
            return function(*args, **kwargs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    def count(self, i: int, error: Exception) -> None:
        """Counts a fault of sub-env i, and tells of it.

        Raises:
            BrokenEnv: there were too many in a row.
        """
        self.faults += 1
        self._in_a_row += 1
        what = str(error) if isinstance(error, EnvFault) else f"{type(error).__name__}: {error}"
        news = f"sub-env {i} {_told(what, error)}; a new one takes its place"
        logger.warning(news)
        if len(self.news) < MOST_NEWS:
            self.news.append(news)
        if self._in_a_row >= self._tolerance.most:
            raise BrokenEnv(
                f"{self._in_a_row} faults in a row and no meta-episode that ended well; the last: "
                f"{_told(what, error)}"
            ) from error

    def ended_well(self) -> None:
        """Is told that a meta-episode came to its end."""
        self._in_a_row = 0

    def renew(self, i: int, old: gym.Env) -> gym.Env:
        """A new sub-env i; whatever closing the old one does, it is not used again."""
        with contextlib.suppress(Exception):
            self.call(old.close)
        new: gym.Env = self.call(self._make, i)
        return new


def check_kinds(space: gym.Space, observation: Any, reward: Any) -> None:
    """Raises EnvFault unless an observation has the space's shape and a reward is one number."""
    usual = isinstance(space, gym.spaces.Box) and isinstance(observation, np.ndarray)
    if not (usual and observation.dtype.kind in "fiub" and observation.shape == space.shape):
        check_observation(space, observation)
    if not isinstance(reward, (float, int)):  # np.float64 is a float
        if np.shape(reward) not in ((), (1,)) or np.asarray(reward).dtype.kind not in "fiub":
            raise EnvFault(f"gave a reward that is not a finite number ({reward!r})")


def check_observation(space: gym.Space, observation: Any) -> None:
    """Raises EnvFault unless an observation has the space's form, is finite, and one of the values
    that a Discrete or MultiDiscrete space has.
    """
    if isinstance(space, (gym.spaces.Dict, gym.spaces.Tuple)):
        for part, value in _parts(space, observation):
            check_observation(part, value)
        return
    if isinstance(space, (gym.spaces.Discrete, gym.spaces.MultiDiscrete)):
        if not _is_among(space, observation):
            raise EnvFault(f"gave an observation that is not in {space} ({observation!r})")
        return
    shape = np.shape(observation)
    if space.shape is not None and shape != space.shape:
        raise EnvFault(f"gave an observation of shape {shape}, where its space has {space.shape}")
    if space.shape is not None and not np.isfinite(observation).all():
        raise EnvFault(f"gave an observation that is NaN or infinite ({observation})")


def _parts(space: gym.Space, observation: Any) -> Iterator[tuple[gym.Space, Any]]:
    """The parts of a Dict or Tuple space, each with its value."""
    if isinstance(space, gym.spaces.Dict):
        if not isinstance(observation, Mapping) or not space.spaces.keys() <= observation.keys():
            raise EnvFault(f"gave an observation that has not all of {list(space.spaces)}")
        yield from ((part, observation[key]) for key, part in space.spaces.items())
        return
    assert isinstance(space, gym.spaces.Tuple)
    if not isinstance(observation, (tuple, list)) or len(observation) != len(space.spaces):
        raise EnvFault(f"gave an observation that is no tuple of {len(space.spaces)}")
    yield from zip(space.spaces, observation, strict=True)


def _is_among(space: gym.spaces.Discrete | gym.spaces.MultiDiscrete, observation: Any) -> bool:
    value: Any = np.asarray(observation)
    if value.shape != space.shape or value.dtype.kind not in "iub":
        return False
    sizes: Any = space.n if isinstance(space, gym.spaces.Discrete) else space.nvec
    index = value - space.start
    return bool(((index >= 0) & (index < sizes)).all())


def not_finite(observations: Any, rewards: NDArray[np.float64]) -> Iterator[tuple[int, EnvFault]]:
    """The rows of `[N, ...]` and `[N]` that hold something NaN or infinite, and what to tell."""
    for i in np.flatnonzero(~np.isfinite(rewards)).tolist():
        yield i, EnvFault(f"gave a reward that is not a finite number ({rewards[i]})")
    if not isinstance(observations, np.ndarray) or np.isfinite(observations).all():
        return
    fine = np.isfinite(observations).reshape(len(observations), -1).all(1) | ~np.isfinite(rewards)
    for i in np.flatnonzero(~fine).tolist():
        yield i, EnvFault(f"gave an observation that is NaN or infinite ({observations[i]})")


def _told(what: str, error: Exception) -> str:
    """The fault and the innermost line of code that it comes from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if isinstance(error, EnvFault) or trace is None:
        return what
    return f"raised {what} ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})"


def _can_be_timed() -> bool:
    """Whether SIGALRM can end a call, and nobody else uses it."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        return False
    handler = signal.getsignal(signal.SIGALRM)
    if handler is signal.SIG_DFL:
        signal.signal(signal.SIGALRM, _too_long)
    return handler in (signal.SIG_DFL, _too_long)


def _too_long(number: int, frame: Any) -> None:
    raise EnvFault("took too long over one step or reset")
