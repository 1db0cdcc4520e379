"""Exact filters: the posterior that the best possible belief would be, along recorded histories.

An env's filter is found by its id with `exact_filter_of`. All but that of bandits with continuous
arms are one hidden Markov model, whose state is the context (and what else is hidden).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_metarl.evaluation.calibration import SMALLEST
from rllib_metarl.evaluation.recording import Recording

Array = NDArray[np.float64]
Params = dict[str, Any]


class NoExactFilterError(Exception):
    """Says why an env has no exact filter."""


@dataclass(frozen=True)
class Posterior:
    """The exact posterior over K classes of the context, along B meta-episodes.

    Attributes:
        probabilities: `[B, T + 1, K]`; entry t: of the class of m_t, given o_0 .. o_t.
        switch: `[B, T + 1]`; entry t: P(transition t - 1 opened a new session | o_0 .. o_t); 0 at
            t = 0 and 1, where nothing can have.
        surprise: `[B, T]` nats, -log P(what r_t told | o_0 .. o_t, a_t).
    """

    probabilities: Array
    switch: Array
    surprise: Array


@dataclass(frozen=True)
class Density:
    """The exact posterior over contexts that are C numbers, at the true ones.

    Attributes:
        mean: `[B, T + 1, C]`; cdf: the marginal CDF at the truth; nll: minus the marginals' log
            density there; crps: their continuous ranked probability score, None where not known.
        switch, surprise: as in `Posterior`.
    """

    mean: Array
    cdf: Array
    nll: Array
    crps: Array | None
    switch: Array
    surprise: Array


@dataclass(frozen=True)
class FiniteFilter:
    """Exact filter of a context with finitely many values.

    Attributes:
        classes: their names.
        class_of: contexts `[..., C]` -> class numbers `[...]`.
        run: the posterior along a recording.
    """

    classes: tuple[str, ...]
    class_of: Callable[[NDArray[Any]], NDArray[np.int64]]
    run: Callable[[Recording], Posterior]


@dataclass(frozen=True)
class NumberFilter:
    """Exact filter of a context that is a vector of numbers; `run` needs its true values."""

    run: Callable[[Recording], Density]


ExactFilter = FiniteFilter | NumberFilter


def exact_filter_of(env: Any, env_config: Params | None = None) -> ExactFilter:
    """The exact filter of an env with these arguments.

    Raises:
        NoExactFilterError: with the reason, if there is none.
    """
    from rllib_metarl.evaluation import exact_bandits, exact_worlds

    makers: dict[str, Callable[[Params], ExactFilter]] = {
        "Bandit/Bernoulli-v0": exact_bandits.bandit,
        "DLCMDP/GridWorld-v0": exact_worlds.grid_world,
        "DLCMDP/GridWorldFamily-v0": exact_worlds.grid_world_family,
        "TwoStep-v0": exact_worlds.two_step,
        "VariBAD/GridWorld-v0": exact_worlds.static_grid_world,
    }
    name = str(env).rpartition(":")[2]
    if name not in makers:
        raise NoExactFilterError(
            f"no exact filter is known for {name}; there is one for {', '.join(makers)}"
        )
    ignored = ("show_posterior", "render_mode", "max_episode_steps")
    arguments = {k: v for k, v in (env_config or {}).items() if k not in ignored}
    return makers[name](arguments)


def hidden_markov(prior: Array, stay: Array, change: Array, likelihood: Array) -> Posterior:
    """Filters a hidden state that may change after each transition, by Bayes' rule.

    f_t = b_t l_t / sum_s b_t(s) l_t(s), b_{t+1} = f_t (A_t + D_t): A_t is the part of the state's
    law without a switch, D_t that with one, so that the rows of their sum sum to 1. The transition
    t > 0 opened a session with probability sum_s (f_{t-1} D_{t-1})(s) l_t(s) / sum_s b_t(s) l_t(s).
    What is impossible under b_t leaves it as it is and counts as `SMALLEST`.

    Args:
        prior: b_0 `[S]`.
        stay, change: A and D, `[T, S, S]`.
        likelihood: l_t(s) = P(what transition t told | state s), `[B, T, S]`.

    Source: the forward algorithm, Rabiner 1989, section III.A.
    """
    batch, steps, _ = likelihood.shape
    belief = np.empty((batch, steps + 1, len(prior)))
    switch, surprise = np.zeros((batch, steps + 1)), np.empty((batch, steps))
    belief[:, 0], changed = prior, np.zeros((batch, len(prior)))
    for t in range(steps):
        joint = belief[:, t] * likelihood[:, t]
        chance = joint.sum(1)
        possible = chance > SMALLEST
        total = np.where(possible, chance, 1.0)
        surprise[:, t] = -np.log(np.where(possible, chance, SMALLEST))
        seen = (changed * likelihood[:, t]).sum(1) / total
        switch[:, t + 1] = np.where(possible, seen, changed.sum(1))
        known = np.where(possible[:, None], joint / total[:, None], belief[:, t])
        changed = known @ change[t]
        belief[:, t + 1] = known @ stay[t] + changed
    return Posterior(belief, switch, surprise)
