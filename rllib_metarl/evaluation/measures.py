"""What else than the return says how well an agent did, on environments where something does.

A measure reads played meta-episodes. `MEASURES` says which env id has which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rllib_metarl.evaluation.stay import plain_interaction, regress_stays, rounds_of

Numbers = dict[str, float]


def bandit_regret(episodes: Sequence[Any]) -> Numbers:
    """Regret of a trial: the sum over pulls of (the best arm's chance - the pulled arm's).

    Far less noisy than the return, since it leaves out what chance paid.

    Args:
        episodes: meta-episodes with actions `[T]` and the label context `[T, arms]`.

    Returns:
        ``regret_mean`` over trials and ``regret_standard_error``.
    """
    regrets = np.array([_regret(e.labels["context"], e.actions) for e in episodes])
    error = regrets.std(ddof=1) / len(regrets) ** 0.5 if len(regrets) > 1 else float("nan")
    return {"regret_mean": float(regrets.mean()), "regret_standard_error": float(error)}


def _regret(chances: np.ndarray, actions: np.ndarray) -> float:
    pulled = np.take_along_axis(chances, np.asarray(actions)[:, None], axis=1)[:, 0]
    return float((chances.max(axis=1) - pulled).sum())


def two_step_stays(episodes: Sequence[Any]) -> Numbers:
    """The two-step task's stay analysis (see `stay`), estimates with the ends of their intervals.

    Returns:
        ``interaction`` (reward x transition of the last round, given earlier rounds) and
        ``reward_effect``, each with ``_low`` and ``_high``; ``plain_interaction`` likewise, the
        figure that the literature shows, which is above 0 for habit too.
    """
    rounds = rounds_of(episodes)
    stays = regress_stays(*rounds)
    effects = {
        "interaction": stays.interaction,
        "reward_effect": stays.reward,
        "plain_interaction": plain_interaction(*rounds),
    }
    return {
        name + end: float(value)
        for name, effect in effects.items()
        for end, value in zip(("", "_low", "_high"), effect, strict=True)
    }


def inner_returns(episodes: Sequence[Any]) -> Numbers:
    """Mean return of each inner episode of a trial: how fast what was found is made use of.

    Args:
        episodes: meta-episodes with rewards `[T]` and the label inner_done `[T]`, 1 at the first
            step of every inner episode but the first.

    Returns:
        ``inner_return_1`` .. ``inner_return_K`` and ``last_inner_return``, the last of them; none
        where the label is missing, for then there is one inner episode.
    """
    if not all("inner_done" in e.labels for e in episodes):
        return {}
    numbers_of = [np.cumsum(np.ravel(e.labels["inner_done"])).astype(int) for e in episodes]
    count = 1 + max(int(numbers[-1]) for numbers in numbers_of)
    sums = np.array(
        [np.bincount(n, e.rewards, count) for n, e in zip(numbers_of, episodes, strict=True)]
    )
    means = [float(x) for x in sums.mean(axis=0)]
    numbers = {f"inner_return_{k}": mean for k, mean in enumerate(means, 1)}
    return numbers | {"last_inner_return": means[-1]}


def striker_distance(episodes: Sequence[Any]) -> Numbers:
    """How far from the goal the ball is at the end of a meta-episode, in m: Striker's score.

    Args:
        episodes: meta-episodes with observations `[T + 1, 23 or more]` of ``DLCMDP/Striker-v0``.

    Returns:
        ``final_distance_mean``, ``final_distance_median`` and ``final_distance_standard_error``.
    """
    last = np.array([e.observations[-1] for e in episodes], np.float64)
    far = np.linalg.norm(last[:, 17:20] - last[:, 20:23], axis=1)
    error = far.std(ddof=1) / len(far) ** 0.5 if len(far) > 1 else float("nan")
    return {
        "final_distance_mean": float(far.mean()),
        "final_distance_median": float(np.median(far)),
        "final_distance_standard_error": float(error),
    }


MEASURES: dict[str, Callable[[Sequence[Any]], Numbers]] = {
    "Bandit/Bernoulli-v0": bandit_regret,
    "DLCMDP/HalfCheetahDir-v0": inner_returns,
    "DLCMDP/HalfCheetahVel-v0": inner_returns,
    "DLCMDP/PointGoal-v0": inner_returns,
    "DLCMDP/Striker-v0": striker_distance,
    "TwoStep-v0": two_step_stays,
    "VariBAD/GridWorld-v0": inner_returns,
}
