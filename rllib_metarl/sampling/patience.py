"""Meta-episodes that do not end: said early, and no longer waited for before memory is full.

Nothing is learnt from a meta-episode before its end, so that all of its steps are kept until then.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym

from rllib_metarl.errors import UserError

MAX_STEPS = 100_000
LONG = 5_000
"""Steps after which an env without a known time limit is suspected of having no end."""
SHARE = 0.25
"""Of the machine's memory, what the steps of unfinished meta-episodes may take."""

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_OVERHEAD = 4_096  # bytes of Python's own for a step of a vector env

MEND = (
    "Give the env an end: wrap it in gymnasium.wrappers.TimeLimit, or register it with "
    "max_episode_steps."
)

logger = logging.getLogger("rllib_metarl")


class Patience:
    """Looks now and then at the longest meta-episode under way.

    Args:
        name: the env's, for messages.
        limit: the env's own time limit, 0 where none is known.
        max_steps: how many steps a meta-episode may have (`max_meta_episode_steps`).
    """

    def __init__(self, name: str, limit: int = 0, max_steps: int = MAX_STEPS) -> None:
        self._name, self._max = name, max_steps
        self._warn_at = LONG if limit <= LONG else max_steps
        self._most_bytes = SHARE * memory()

    def look(self, steps: int, bytes_of_a_step: int = 0) -> None:
        """To be called after a step of all sub-envs.

        Args:
            steps: of the longest meta-episode that has not ended.
            bytes_of_a_step: what one step of all sub-envs takes.

        Raises:
            UserError: it is longer than it may be, or takes too much memory.
        """
        if steps > self._max:
            raise UserError(
                f"env {self._name}: a meta-episode has not ended in {steps - 1:,} steps "
                f"(max_meta_episode_steps). {MEND} If they are meant to be that long, raise "
                "max_meta_episode_steps."
            )
        if steps * (bytes_of_a_step + _OVERHEAD) > self._most_bytes:
            raise UserError(
                f"env {self._name}: a meta-episode has not ended in {steps:,} steps, and those "
                f"of all sub-envs take {self._most_bytes / 2**30:.1f} GiB, a quarter of the "
                f"memory. {MEND} If they are meant to be that long, lower "
                "num_envs_per_env_runner."
            )
        if steps >= self._warn_at:
            self._warn_at = self._max + 1  # once
            logger.warning(
                "env %s: a meta-episode has not ended in %s steps, and nothing is learnt from it "
                "before it does. If it never will: %s Training stops after %s "
                "(max_meta_episode_steps).",
                *(self._name, f"{steps:,}", MEND, f"{self._max:,}"),
            )


def bytes_of(value: Any) -> int:
    """Bytes of the arrays and tensors in nested dicts."""
    if isinstance(value, dict):
        return sum(map(bytes_of, value.values()))
    return int(getattr(value, "nbytes", 0))


def time_limit(env: gym.vector.VectorEnv) -> int:
    """The time limit of batched single envs, or 0 where none is seen."""
    single = next(iter(getattr(env.unwrapped, "envs", ())), None)
    return max((w._max_episode_steps for w in _limits(single)), default=0)  # its only name


def _limits(single: gym.Env | None) -> Iterator[Any]:
    while isinstance(single, gym.Wrapper):
        if isinstance(single, gym.wrappers.TimeLimit):
            yield single
        single = single.env


def memory() -> float:
    """Bytes of memory that this process may have: the machine's, or its container's."""
    found = []
    if hasattr(os, "sysconf"):
        found.append(float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    for path in _CGROUPS:
        try:
            found.append(float(Path(path).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return min((each for each in found if each > 0), default=float("inf"))
