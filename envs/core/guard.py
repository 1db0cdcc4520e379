"""What is done about a sub-env that raises, hangs or returns nonsense: a new one takes over."""

from __future__ import annotations

import contextlib
import copy
import logging
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from .calling import call_env
from .faults import BrokenEnv, EnvFault, WrongForm, described

MOST_NEWS = 20
ENOUGH = 3  # results of a wrong form and none of a right one: new envs will not do better

logger = logging.getLogger("rllib_metarl")


@dataclass(frozen=True)
class Tolerance:
    """How many faults are tolerated.

    Attributes:
        step_timeout_s: seconds that one reset or step may take; None waits forever. It is measured
            where Python's main thread steps the env, and ends what Python waits for or computes.
        most: faults in a row, with no meta-episode ending well between, that are too many.
    """

    step_timeout_s: float | None = None
    most: int = 20


class Guard:
    """Watches over the sub-envs of a `BatchedEnvs`, counts their faults and makes new ones.

    Args:
        make: makes sub-env i again.
        tolerance: how many faults are tolerated.

    Attributes:
        faults: how many there have been. broken: what was raised when there were too many.
        news: what has been said of them and not been taken away, at most `MOST_NEWS`.
        name: the env's, for messages.
    """

    def __init__(self, make: Callable[[int], gym.Env], tolerance: Tolerance) -> None:
        self._make, self._tolerance = make, tolerance
        self.faults = 0
        self.broken: BrokenEnv | None = None
        self.news: list[str] = []
        self.name = ""
        self._in_a_row = 0
        self._has_worked = self._timed = False

    def look_at_the_clock(self) -> None:
        """Finds out whether calls can be timed here and now."""
        self._timed = self._tolerance.step_timeout_s is not None and _can_be_timed()

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`call_env`, which raises `EnvFault` too where it takes too long."""
        if not self._timed:
            return call_env(function, *args, **kwargs)
        signal.setitimer(signal.ITIMER_REAL, self._tolerance.step_timeout_s or 0.0)
        try:
            return call_env(function, *args, **kwargs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    def count(self, i: int, error: Exception) -> None:
        """Counts a fault of sub-env i, and tells of it.

        Raises:
            BrokenEnv: there were too many in a row, or it is one that every env of its kind has.
        """
        self.faults += 1
        self._in_a_row += 1
        hopeless = isinstance(error, WrongForm) and not self._has_worked
        if hopeless and self._in_a_row >= ENOUGH:
            self.broken = BrokenEnv(f"it {described(error)}")
            raise self.broken from error
        news = f"env {self.name}, sub-env {i} {described(error)}; a new one takes its place"
        logger.warning(news)
        if len(self.news) < MOST_NEWS:
            self.news.append(news)
        if self._in_a_row >= self._tolerance.most:
            self.broken = BrokenEnv(
                f"{self._in_a_row} faults in a row and no meta-episode that ended well; the last: "
                f"{described(error)}"
            )
            raise self.broken from error

    def worked(self) -> None:
        """Called after each step that came out well."""
        self._has_worked = True

    def ended_well(self) -> None:
        """Called at the end of each meta-episode."""
        self._in_a_row = 0

    def renew(self, i: int, old: gym.Env) -> gym.Env:
        """A new sub-env i; whatever closing the old one does, it is not used again."""
        with contextlib.suppress(Exception):
            self.call(old.close)
        new: gym.Env = self.call(self._make, i)
        return new


class Guarded(gym.Wrapper):
    """A sub-env of a vector env that knows no guard.

    Where it fails, its meta-episode is truncated as it was, and the next reset makes a new one.

    Args:
        make: makes sub-env ``index`` again; what it returns is plain, see `returned.Plain`.
        index: of this sub-env.
        guard: counts the faults; several sub-envs may share it.
        spare: seeds of new ones are drawn from it.
    """

    def __init__(
        self,
        make: Callable[[int], gym.Env],
        index: int,
        guard: Guard,
        spare: np.random.Generator,
    ) -> None:
        super().__init__(make(index))
        self._index, self._guard, self._spare = index, guard, spare
        self._broken = False
        self._last: tuple[Any, dict[str, Any]] = (None, {})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the environment, or its successor until one can be reset."""
        while True:
            try:
                if self._broken:
                    self.env = self._guard.renew(self._index, self.env)
                    self._broken, seed = False, int(self._spare.integers(2**32))
                observation, info = self._guard.call(self.env.reset, seed=seed, options=options)
            except Exception as error:  # an env's code can raise anything
                self._blame(error)
                continue
            self._last = copy.deepcopy(observation), info
            return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act; a fault truncates the episode at the last good observation, with reward 0."""
        try:
            observation, reward, terminated, truncated, info = self._guard.call(
                self.env.step, action
            )
        except Exception as error:  # an env's code can raise anything
            self._blame(error)
            before, info = self._last
            return before, 0.0, False, True, info
        self._last = copy.deepcopy(observation), info
        self._guard.worked()
        if terminated or truncated:
            self._guard.ended_well()
        return observation, reward, terminated, truncated, info

    def _blame(self, error: Exception) -> None:
        self._broken = True
        self._guard.count(self._index, error)


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
