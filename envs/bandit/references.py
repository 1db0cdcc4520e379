"""Exact expected returns of reference policies in Bernoulli bandits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .parameters import GOOD, BanditParameters
from .planning import bayes_return


def references_of(parameters: BanditParameters) -> dict[str, float]:
    """Return the expected returns, undiscounted, of a whole trial for four policies.

    ``random``: arms uniform; ``blind``: the best policy that takes no notice of rewards, no better
    than random, since all arms promise the same; ``bayes``: the best policy there is; ``oracle``:
    the best policy given the probabilities, also after each switch. ``bayes`` is left out
    where it is not known, see `bandit_planning.bayes_return`.
    """
    return dict(_references(parameters))


@lru_cache(maxsize=128)
def _references(p: BanditParameters) -> tuple[tuple[str, float], ...]:
    unseeing = 0.5 * p.pulls
    values: dict[str, float | None] = {
        "random": unseeing,
        "blind": unseeing,
        "bayes": bayes_return(p),
        "oracle": p.pulls * best_arm_mean(p),
    }
    return tuple((name, value) for name, value in values.items() if value is not None)


def best_arm_mean(p: BanditParameters) -> float:
    """Return the expected probability of the best arm.

    The largest of k uniforms has mean k / (k + 1); of u and 1 - u it is 3/4.
    """
    if p.structure in GOOD:
        return GOOD[p.structure]
    return 0.75 if p.structure == "dependent_uniform" else p.arms / (p.arms + 1)


def regret(episodes: Sequence[Any]) -> dict[str, float]:
    """Return the regret of trials: the sum over pulls of (best arm's chance - pulled arm's).

    Far less noisy than the return, since it leaves out what chance paid.

    Args:
        episodes: trials with actions `[T]` and the label context `[T, arms]`.

    Returns:
        ``regret_mean`` over trials and ``regret_standard_error``.
    """
    regrets = np.array([_regret(e.labels["context"], e.actions) for e in episodes])
    error = regrets.std(ddof=1) / len(regrets) ** 0.5 if len(regrets) > 1 else float("nan")
    return {"regret_mean": float(regrets.mean()), "regret_standard_error": float(error)}


def _regret(chances: NDArray[Any], actions: NDArray[Any]) -> float:
    pulled = np.take_along_axis(chances, np.asarray(actions)[:, None], axis=1)[:, 0]
    return float((chances.max(axis=1) - pulled).sum())
