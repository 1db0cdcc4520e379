"""Context dynamics: what the hidden context changes to.

The context path of a meta-episode is a pure function of uniforms drawn beforehand: one for the
first context and one for each transition, of which only those at switches are used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import check_distribution

Sampler = Callable[[np.random.Generator], ArrayLike]
Change = Callable[["NDArray[np.float64] | None", np.random.Generator], ArrayLike]


class ContextDynamics(ABC):
    """The prior over contexts m and the law T(m' | m) of a change. A context is a vector [C]."""

    size: int
    """C, the number of entries of a context."""

    @abstractmethod
    def initial(self, uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the first contexts [N, C] for uniforms [N] in [0, 1)."""

    @abstractmethod
    def change(
        self, contexts: NDArray[np.float64], uniforms: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the contexts [N, C] after a change of `contexts` [N, C], for uniforms [N]."""


class Markov(ContextDynamics):
    """Finitely many contexts, a prior and a transition matrix.

    Args:
        prior: [K], the distribution of the first context.
        matrix: [K, K], row m is T(. | m). A row may give m itself a probability: a change that
            draws the same context again still begins a new session.
        values: [K, C], the vector that stands for each context; the index itself (C = 1) by
            default.

    Raises:
        ValueError: if shapes disagree or a row is not a distribution.
    """

    def __init__(self, prior: ArrayLike, matrix: ArrayLike, values: ArrayLike | None = None):
        self.prior = check_distribution("Markov", "prior", prior)
        self.matrix = check_distribution("Markov", "transition matrix", matrix)
        count = self.prior.shape[0]
        if self.prior.ndim != 1 or self.matrix.shape != (count, count):
            raise ValueError(
                f"Markov: prior has shape {self.prior.shape} and the transition matrix "
                f"{self.matrix.shape}; for K contexts give [K] and [K, K]."
            )
        given = np.arange(count)[:, None] if values is None else values
        self.values = np.asarray(given, np.float64)
        if self.values.ndim != 2 or len(self.values) != count:
            raise ValueError(
                f"Markov: values has shape {self.values.shape}; give [K, C] with K = {count}."
            )
        self.size = self.values.shape[1]
        self._prior_steps = _cumulative(self.prior)
        self._matrix_steps = _cumulative(self.matrix)

    def initial(self, uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.values[self.initial_index(uniforms)]

    def change(
        self, contexts: NDArray[np.float64], uniforms: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        distance = np.abs(contexts[:, None, :] - self.values).sum(-1)
        return self.values[self.change_index(distance.argmin(1), uniforms)]

    def initial_index(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the indices [N] of the first contexts."""
        return (uniforms[:, None] >= self._prior_steps).sum(1)

    def change_index(
        self, index: NDArray[np.int64], uniforms: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Return the indices [N] of the contexts after a change."""
        return (uniforms[:, None] >= self._matrix_steps[index]).sum(1)


class Custom(ContextDynamics):
    """Contexts from a function of your own.

    Args:
        function: called as ``function(previous, rng)``; returns a context, a vector [C] or a
            number. `previous` is the context [C] before the change, or None for the first context
            of a meta-episode. All its randomness must come from `rng`, a fresh generator for each
            call: with it, equal uniforms give equal contexts in single and vector environments.
    """

    def __init__(self, function: Change):
        self.function = function
        self.size = len(self._call(None, 0.5))

    def initial(self, uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
        # Rows that hold a task have the same uniform, and a call is slow.
        unlike, where = np.unique(uniforms, return_inverse=True)
        return np.stack([self._call(None, u) for u in unlike])[where]

    def change(
        self, contexts: NDArray[np.float64], uniforms: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return np.stack([self._call(m, u) for m, u in zip(contexts, uniforms, strict=True)])

    def _call(self, previous: NDArray[np.float64] | None, uniform: float) -> NDArray[np.float64]:
        # A uniform has 53 random bits; they become the seed of this one call.
        rng = np.random.default_rng(int(uniform * 2**53))
        context = np.atleast_1d(np.asarray(self.function(previous, rng), np.float64))
        if context.ndim != 1 or not np.isfinite(context).all():
            raise ValueError(
                f"context dynamics: the function returned {context!r}; "
                "a context must be a finite number or a vector of finite numbers."
            )
        return context


class IID(Custom):
    """A context drawn afresh from one prior at each change.

    Args:
        sampler: called as ``sampler(rng)``; returns a context, a vector [C] or a number.
    """

    def __init__(self, sampler: Sampler):
        self.sampler = sampler
        super().__init__(self._draw)

    def _draw(self, previous: NDArray[np.float64] | None, rng: np.random.Generator) -> ArrayLike:
        return self.sampler(rng)


def _cumulative(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upper ends of each outcome's interval of [0, 1), the last one left out (it is 1)."""
    return np.cumsum(rows, -1)[..., :-1]
