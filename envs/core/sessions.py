"""Session processes: when the hidden context changes.

A process is described by one function, the hazard: the probability that a session which has lasted
`age` transitions ends now. One uniform number per transition then decides, so that the switches of
any number of environments are a pure function of uniforms drawn beforehand, and a single
environment and a batch of them share this one implementation.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import MOST, check_number, did_you_mean


class SessionProcess(ABC):
    """The law of session lengths. Subclass it with a hazard of your own."""

    @abstractmethod
    def hazard(self, age: ArrayLike) -> NDArray[np.float64]:
        """Return P(the session ends with length `age` | it lasts at least `age`).

        Args:
            age: transitions made in the session, the one just made included; integers >= 1 of any
                shape.

        Returns:
            Probabilities, same shape as `age`.
        """

    def schedule(self, horizon: int) -> NDArray[np.float64] | None:
        """Return P(switch after transition t) for t < horizon, [horizon], if it depends on t alone.

        It does where the switches are independent of each other (Bernoulli, never) or certain (a
        fixed length); None otherwise. Exact references and filters need it.
        """
        return None

    def switches(self, uniforms: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Decide all switches of N meta-episodes.

        Args:
            uniforms: [N, T], in [0, 1), one for each transition.

        Returns:
            [N, T] bool; entry t says whether the context changes after the reward of transition t.
        """
        switched = np.empty(uniforms.shape, np.bool_)
        age = np.ones(len(uniforms), np.int64)
        for t in range(uniforms.shape[1]):
            switched[:, t] = uniforms[:, t] < self.hazard(age)
            age = np.where(switched[:, t], 1, age + 1)
        return switched


@dataclass(frozen=True)
class Bernoulli(SessionProcess):
    """A switch with probability p after every transition: geometric session lengths, mean 1 / p."""

    p: float

    def __post_init__(self) -> None:
        check_number("Bernoulli", "p", self.p, low=0.0, high=1.0)

    def hazard(self, age: ArrayLike) -> NDArray[np.float64]:
        return np.full(np.shape(age), self.p)

    def schedule(self, horizon: int) -> NDArray[np.float64]:
        return np.full(horizon, self.p)

    def switches(self, uniforms: NDArray[np.float64]) -> NDArray[np.bool_]:
        return uniforms < self.p  # no memory, so all at once


@dataclass(frozen=True)
class Never(SessionProcess):
    """No switch, ever: a latent MDP whose hidden context is static over the meta-episode."""

    def hazard(self, age: ArrayLike) -> NDArray[np.float64]:
        return np.zeros(np.shape(age))

    def schedule(self, horizon: int) -> NDArray[np.float64]:
        return np.zeros(horizon)

    def switches(self, uniforms: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.zeros(uniforms.shape, np.bool_)


@dataclass(frozen=True)
class FixedLength(SessionProcess):
    """Every session lasts exactly `n` transitions."""

    n: int

    def __post_init__(self) -> None:
        check_number("FixedLength", "n", self.n, low=1, high=MOST, integer=True)

    def hazard(self, age: ArrayLike) -> NDArray[np.float64]:
        return (np.asarray(age) >= self.n).astype(np.float64)

    def schedule(self, horizon: int) -> NDArray[np.float64]:
        return (np.arange(1, horizon + 1) % self.n == 0).astype(np.float64)


@dataclass(frozen=True)
class NormalLength(SessionProcess):
    """Session lengths max(minimum, round(x)) with x ~ Normal(mean, std), in transitions."""

    mean: float
    std: float
    minimum: int = 1

    def __post_init__(self) -> None:
        check_number("NormalLength", "mean", self.mean, low=0.0, high=100_000)
        check_number("NormalLength", "std", self.std, low=1e-9, high=10_000)
        check_number("NormalLength", "minimum", self.minimum, low=1, high=100_000, integer=True)
        object.__setattr__(self, "_table", self._hazard_table())

    def hazard(self, age: ArrayLike) -> NDArray[np.float64]:
        table: NDArray[np.float64] = self._table  # type: ignore[attr-defined]
        return table[np.minimum(np.asarray(age), len(table) - 1)]

    def _hazard_table(self) -> NDArray[np.float64]:
        """Hazard at ages 0, 1, ... until the session is over for certain (9 std above the mean)."""
        last = max(self.minimum, math.ceil(self.mean + 9 * self.std)) + 1
        ends = [self._survival(age - 0.5) - self._survival(age + 0.5) for age in range(last + 1)]
        table = np.zeros(last + 1)
        for age in range(self.minimum, last):
            alive = self._survival(age - 0.5)
            table[age] = ends[age] / alive if alive > 0.0 else 1.0
        # All lengths the normal law puts at or below the minimum become the minimum.
        table[self.minimum] = 1.0 - self._survival(self.minimum + 0.5)
        table[last] = 1.0
        return table

    def _survival(self, x: float) -> float:
        return 0.5 * math.erfc((x - self.mean) / (self.std * math.sqrt(2.0)))


_KINDS: dict[str, type[SessionProcess]] = {
    "bernoulli": Bernoulli,
    "never": Never,
    "fixed_length": FixedLength,
    "normal_length": NormalLength,
}


def session_process(value: SessionProcess | dict[str, Any]) -> SessionProcess:
    """Return a process from plain data, as an experiment file has it.

    Args:
        value: a process (returned as it is) or a dict such as ``{"kind": "normal_length",
            "mean": 80, "std": 20, "minimum": 10}``; kinds are bernoulli, never, fixed_length and
            normal_length.

    Raises:
        ValueError: if the kind or one of its settings does not exist or is out of range.
    """
    if isinstance(value, SessionProcess):
        return value
    if not isinstance(value, dict) or "kind" not in value:
        raise ValueError(
            f"session process: got {value!r}; give a SessionProcess or a dict with a 'kind' "
            f"({', '.join(_KINDS)})."
        )
    settings = dict(value)
    kind = settings.pop("kind")
    if kind not in _KINDS:
        raise ValueError(f"session process: no kind {kind!r}{did_you_mean(kind, _KINDS)}.")
    try:
        return _KINDS[kind](**settings)
    except TypeError as error:
        name = _KINDS[kind].__name__
        raise ValueError(f"session process {kind!r}: {error}; see {name}.") from None
