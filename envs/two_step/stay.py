"""Does an agent in the two-step task know how it got there? The analysis of its repeated choices.

After each round of `TwoStep-v0` an agent chooses the same first action again, *stays*, or changes.
An agent that merely repeats what paid (model-free) stays after a reward. One that knows the
transitions (model-based) stays after a reward that followed a common transition and after a miss
that followed a rare one: an interaction of reward and transition (Daw et al. 2011).

The plain interaction is misleading here. Because the good state persists, an agent on the good
action both has stayed for a while and is rewarded after common but not after rare transitions:
rounds long past appear as an effect of the last one, and model-free agents seem to plan (Akam,
Costa and Dayan 2015). So `regress_stays` also has regressors for earlier rounds, like Miller,
Brody and Botvinick (2016): what happened some rounds ago, signed by whether the same action was
chosen there. What remains for the last round is its own effect. The plain figures of the
literature are in `stay_probabilities` and `plain_interaction`.

All intervals are 95 % percentile bootstrap intervals over meta-episodes, which are independent;
rounds are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_COLUMNS = ("observations", "actions", "rewards")
_RIDGE = 1.0  # keeps coefficients finite where an agent always does the same


class Recorded(Protocol):
    """A played meta-episode: observations [T + 1, 3], actions [T], rewards [T]."""

    observations: Any
    actions: Any
    rewards: Any


class Rounds(NamedTuple):
    """B meta-episodes of R rounds, each [B, R].

    Attributes:
        first_actions: 0 or 1.
        common: whether the second state was the one that the action commonly leads to.
        rewards: 0 or 1.
    """

    first_actions: NDArray[np.int64]
    common: NDArray[np.bool_]
    rewards: Array


class Effect(NamedTuple):
    """An estimate and its 95 % interval."""

    estimate: float
    low: float
    high: float

    @property
    def positive(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0.0


@dataclass(frozen=True)
class StayProbabilities:
    """How often an agent stays; entry [reward, common] of the last two axes, NaN where never so.

    Attributes:
        by_episode: [B, 2, 2], each meta-episode on its own.
        mean: [2, 2], over all rounds of all meta-episodes.
    """

    by_episode: Array
    mean: Array


@dataclass(frozen=True)
class StayEffects:
    """Effects of the last round on the log-odds to stay, those of earlier rounds apart.

    Attributes:
        bias: log-odds to stay, over all kinds of rounds.
        reward: rewarded against not: what a model-free agent shows.
        transition: common against rare.
        interaction: half of (reward after common - after rare) - (miss after common - after rare):
            what a model-based agent shows.
        lags: how many earlier rounds had regressors.
    """

    bias: Effect
    reward: Effect
    transition: Effect
    interaction: Effect
    lags: int


def measure(episodes: Sequence[Recorded]) -> dict[str, float]:
    """Return the stay analysis of played meta-episodes, estimates with their intervals' ends.

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


def rounds_of(episodes: Sequence[Recorded]) -> Rounds:
    """Read the rounds out of played meta-episodes of `TwoStep-v0`.

    Args:
        episodes: such as `rllib_metarl.sampling.collector.MetaEpisodeData`, all of the same length.

    Raises:
        ValueError: if there are none, or these are not meta-episodes of the two-step task.
    """
    shapes = {
        (np.shape(e.observations), np.shape(e.actions), np.shape(e.rewards)) for e in episodes
    }
    if len(shapes) != 1:
        raise ValueError(
            f"stay analysis: {len(shapes)} different shapes of meta-episodes; give one or more, "
            "all of the same length."
        )
    (observed, acted, paid) = shapes.pop()
    steps = acted[0] if acted else 0
    if steps % 2 or observed != (steps + 1, 3) or acted != (steps,) or paid != (steps,):
        raise ValueError(
            f"stay analysis: observations {observed}, actions {acted}, rewards {paid} are not "
            "those of TwoStep-v0, [T + 1, 3], [T] and [T] with T even; play that env."
        )
    return _rounds(*(np.stack([getattr(e, name) for e in episodes]) for name in _COLUMNS))


def _rounds(observations: NDArray[Any], actions: NDArray[Any], rewards: NDArray[Any]) -> Rounds:
    second = observations[:, 1::2]
    if not (observations[:, 0:-1:2, 0] == 1).all() or not (second[..., 1:].sum(-1) == 1).all():
        raise ValueError(
            "stay analysis: observations do not alternate between the first step and the states A "
            "and B; give whole meta-episodes of TwoStep-v0, as the env observes."
        )
    first = actions[:, 0::2].astype(np.int64)
    return Rounds(first, second[..., 2] == first, rewards[:, 1::2].astype(np.float64))


def stay_probabilities(
    first_actions: ArrayLike, common: ArrayLike, rewards: ArrayLike
) -> StayProbabilities:
    """Return how often the next round's first action is the same, after each kind of round.

    Args:
        first_actions: [B, R], 0 or 1.
        common: [B, R], whether the transition was the common one.
        rewards: [B, R], 0 or 1.

    Raises:
        ValueError: if shapes disagree, there are fewer than two rounds, or values are not 0 or 1.
    """
    stays, counts = _cells(_checked(first_actions, common, rewards))
    return StayProbabilities(_ratio(stays, counts), _ratio(stays.sum(0), counts.sum(0)))


def plain_interaction(
    first_actions: ArrayLike,
    common: ArrayLike,
    rewards: ArrayLike,
    resamples: int = 2000,
    seed: int = 0,
) -> Effect:
    """Return the interaction in the stay probabilities, with no regard to earlier rounds.

    (P(stay | reward, common) - P(stay | reward, rare)) - (the same without reward), each over all
    rounds of all meta-episodes. It is positive for model-free agents too, see the module.

    Args:
        first_actions, common, rewards: as in `stay_probabilities`.
        resamples: bootstrap resamples.
        seed: of the resampling.
    """
    stays, counts = _cells(_checked(first_actions, common, rewards))
    weights = _weights(len(stays), resamples, seed)
    contrast = np.array([[1.0, -1.0], [-1.0, 1.0]])

    def interaction(w: Array) -> Array:
        cells = _ratio(np.tensordot(w, stays, 1), np.tensordot(w, counts, 1))
        result: Array = (cells * contrast).sum((-2, -1))
        return result

    return _effect(float(interaction(np.ones(len(stays)))), interaction(weights))


def regress_stays(
    first_actions: ArrayLike,
    common: ArrayLike,
    rewards: ArrayLike,
    lags: int = 5,
    resamples: int = 2000,
    seed: int = 0,
) -> StayEffects:
    """Regress staying on what happened in the last round and in `lags` rounds before it.

    Logistic regression over all rounds that have `lags` predecessors. Regressors of the last round:
    1, reward (+1/2, miss -1/2), transition (common +1/2, rare -1/2), and their interaction (+1/2 if
    the signs agree, else -1/2). Those of a round before are the same four, times +1 if the action
    chosen there is the one chosen in the last round and -1 if it is the other. So a TD(1) agent
    with forgetting is in the model, and has no interaction. A slight ridge penalty keeps
    coefficients finite. The bootstrap makes one Newton step from the estimate for each resample.

    Args:
        first_actions, common, rewards: as in `stay_probabilities`.
        lags: how many rounds before the last one have regressors; 0 for none, the usual analysis.
        resamples: bootstrap resamples.
        seed: of the resampling.

    Raises:
        ValueError: if shapes disagree or the meta-episodes are not longer than `lags` + 1 rounds.
    """
    rounds = _checked(first_actions, common, rewards)
    if not 0 <= lags <= rounds.rewards.shape[1] - 2:
        raise ValueError(
            f"regress_stays: lags is {lags}, but for {rounds.rewards.shape[1]} rounds it must be "
            f"from 0 to {rounds.rewards.shape[1] - 2}."
        )
    design, stay = _design(rounds, lags)
    fitted = _fit(design, stay)
    chance = _logistic(design @ fitted)
    scores = np.einsum("brk,br->bk", design, stay - chance)
    spread = (chance * (1.0 - chance))[..., None]
    curvatures = np.matmul((design * spread).transpose(0, 2, 1), design)
    weights = _weights(len(stay), resamples, seed)
    penalty = _RIDGE * np.eye(len(fitted))
    slope = weights @ scores - _RIDGE * fitted
    bend = np.tensordot(weights, curvatures, 1) + penalty
    resampled = fitted + np.linalg.solve(bend, slope[..., None])[..., 0]
    bias, reward, transition, interaction = (
        _effect(float(fitted[k]), resampled[:, k]) for k in range(4)
    )
    return StayEffects(bias, reward, transition, interaction, lags)


def _checked(first_actions: ArrayLike, common: ArrayLike, rewards: ArrayLike) -> Rounds:
    arrays = [np.asarray(x, np.float64) for x in (first_actions, common, rewards)]
    shapes = [x.shape for x in arrays]
    if len(set(shapes)) != 1 or arrays[0].ndim != 2 or min(shapes[0]) < 1 or shapes[0][1] < 2:
        raise ValueError(
            f"stay analysis: first_actions, common and rewards have shapes {shapes}; give [B, R] "
            "each, with two rounds or more."
        )
    if not all(np.isin(x, (0.0, 1.0)).all() for x in arrays):
        raise ValueError("stay analysis: first_actions, common and rewards must all be 0 or 1.")
    return Rounds(arrays[0].astype(np.int64), arrays[1] == 1.0, arrays[2])


def _cells(rounds: Rounds) -> tuple[Array, Array]:
    """How often an agent stayed and how often it could, each [B, reward, common]."""
    stay = rounds.first_actions[:, 1:] == rounds.first_actions[:, :-1]
    kinds = np.zeros((*stay.shape, 2, 2))
    for reward in (0, 1):
        for common in (0, 1):
            of_kind = (rounds.rewards == reward) & (rounds.common == bool(common))
            kinds[..., reward, common] = of_kind[:, :-1]
    return (kinds * stay[..., None, None]).sum(1), kinds.sum(1)


def _design(rounds: Rounds, lags: int) -> tuple[Array, Array]:
    """Regressors [B, N, 4 (1 + lags)] and whether the agent stayed [B, N]; N = R - 1 - lags."""
    reward, common = rounds.rewards - 0.5, rounds.common - 0.5
    features = np.stack([np.ones_like(reward), reward, common, 2.0 * reward * common], -1)
    side = 2.0 * rounds.first_actions - 1.0
    last = rounds.rewards.shape[1] - 1
    columns = []
    for lag in range(lags + 1):
        then = slice(lags - lag, last - lag)
        columns.append(features[:, then] * (side[:, then] * side[:, lags:last])[..., None])
    stay = side[:, lags + 1 :] == side[:, lags:last]
    return np.concatenate(columns, -1), stay.astype(np.float64)


def _fit(design: Array, stay: Array) -> Array:
    """Coefficients [K] of the penalised logistic regression, by Newton's method."""
    x, y = design.reshape(-1, design.shape[-1]), stay.ravel()
    fitted = np.zeros(x.shape[1])
    for _ in range(100):
        chance = _logistic(x @ fitted)
        slope = x.T @ (y - chance) - _RIDGE * fitted
        bend = (x.T * (chance * (1.0 - chance))) @ x + _RIDGE * np.eye(len(fitted))
        step = np.linalg.solve(bend, slope)
        # far from the optimum a whole step may overshoot
        fitted = fitted + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return fitted


def _logistic(x: Array) -> Array:
    result: Array = 0.5 * (1.0 + np.tanh(0.5 * x))
    return result


def _weights(meta_episodes: int, resamples: int, seed: int) -> Array:
    """How often each resample has each meta-episode, [resamples, B]."""
    rng = np.random.default_rng(seed)
    even = np.full(meta_episodes, 1.0 / meta_episodes)
    return rng.multinomial(meta_episodes, even, resamples).astype(np.float64)


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _effect(estimate: float, resampled: Array) -> Effect:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Effect(estimate, float(low), float(high))
