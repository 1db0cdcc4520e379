"""Where each sub-environment's randomness comes from: a private stream per (seed, worker, env)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_WORD = 2**32


@dataclass(frozen=True)
class Stream:
    """The family of random streams of one worker.

    Every (seed, worker_index, evaluation, incarnation, env_index) names its own
    ``numpy.random.SeedSequence``: the seed is the entropy, the rest is the spawn key, and each part
    of the key fits one 32-bit word, so that two different names are never the same sequence. Adding
    numbers up (seed + worker + env) would make worker 1's env 1 equal worker 2's env 0.

    Args:
        seed: the run's seed, 0 <= seed < 2**64.
        worker_index: which worker this is, 0 <= worker_index < 2**32.
        evaluation: True for held-out tasks. Their streams depend on neither training nor
            `incarnation`: evaluation meets the same tasks each time, also after a restart.
        incarnation: how often this worker has been restarted; a new incarnation does not replay
            what an earlier one has seen.

    Raises:
        ValueError: if a number is outside its range.
    """

    seed: int
    worker_index: int = 0
    evaluation: bool = False
    incarnation: int = 0

    def __post_init__(self) -> None:
        _check_range("seed", self.seed, _WORD**2)
        _check_range("worker_index", self.worker_index, _WORD)
        _check_range("incarnation", self.incarnation, _WORD)

    def seed_sequence(self, env_index: int) -> np.random.SeedSequence:
        """Return the seed sequence of sub-environment `env_index` (0 <= env_index < 2**32)."""
        _check_range("env_index", env_index, _WORD)
        incarnation = 0 if self.evaluation else int(self.incarnation)
        key = (int(self.evaluation), int(self.worker_index), incarnation, int(env_index))
        return np.random.SeedSequence(int(self.seed), spawn_key=key)

    def generator(self, env_index: int) -> np.random.Generator:
        """Return a fresh generator at the beginning of sub-environment `env_index`'s stream."""
        return np.random.Generator(np.random.PCG64(self.seed_sequence(env_index)))


def seeds_of(seed: int | Sequence[int], num_envs: int) -> list[int]:
    """Return a seed for each sub-environment: for a number s, s + i, which is gymnasium's rule."""
    if isinstance(seed, (int, np.integer)):
        return [int(seed) + i for i in range(num_envs)]
    check_count("reset", "seeds", seed, num_envs)
    return [int(s) for s in seed]


def check_count(where: str, noun: str, values: Sequence[Any], num_envs: int) -> None:
    """Raise ValueError unless there is one of `values` for each sub-environment."""
    if len(values) != num_envs:
        raise ValueError(
            f"{where}: got {len(values)} {noun} for {num_envs} sub-environments; give one for each."
        )


def _check_range(name: str, value: int, end: int) -> None:
    if not 0 <= value < end:
        raise ValueError(
            f"Stream: {name} is {value}, but must be a whole number from 0 to {end - 1}; "
            f"choose a {name} in that range."
        )


def state_of(generator: Any) -> Any:
    """Return where a generator stands, picklable; None if it is of no kind that numpy has.

    Not every environment draws from a `Generator`, as gymnasium asks: dm_control has the older
    `RandomState`.
    """
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return getattr(getattr(generator, "bit_generator", None), "state", None)


def set_state(generator: Any, state: Any) -> None:
    """Let a generator go on from `state_of` one of its kind."""
    if state is None:
        return
    if isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        generator.bit_generator.state = state
