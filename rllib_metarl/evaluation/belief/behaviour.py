"""How an agent behaves over a meta-episode: by inner episode, session, context, after a switch.

All functions read a `Recording` of held-out play. Standard errors are over meta-episodes, or over
switches where it is these that are counted; nan for a single one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_metarl.recording import Recording

Array = NDArray[np.float64]
Row = dict[str, Any]
RECOVERED = 0.9
LOST = 3.0
"""Standard errors that the reward must fall by for something to have been lost."""
FEWEST = 20
"""Switches that a mean after a switch must rest on."""
BINS = 5
MOST_VALUES = 32


def standard_error(values: Array) -> float:
    """Sample standard deviation of `[N]` / sqrt(N); nan for fewer than 2."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


def inner_episode_returns(played: Recording) -> list[float] | None:
    """Mean return of each inner episode; None where the env tells of none.

    As many as every meta-episode has.
    """
    if played.inner_done is None:
        return None
    number = np.cumsum(played.inner_done[:, :-1], 1)
    count = int((number * played.valid).max(1).min()) + 1
    sums = [(played.rewards * played.valid * (number == k)).sum(1) for k in range(count)]
    return [float(x.mean()) for x in sums]


def return_by_session(played: Recording) -> list[Row] | None:
    """Mean return in each session, over the meta-episodes that have it.

    A session lasts until the next switch or the end, so that later ones are rarer and shorter:
    ``per_step`` is their mean reward per step. Sessions that fewer than `FEWEST` meta-episodes
    have are left out, but for the first. None where the env gives no sessions.
    """
    if played.session is None:
        return None
    session = np.where(played.valid, played.session[:, :-1], -1)
    rows = []
    for k in range(int(session.max()) + 1):
        inside = session == k
        has = inside.any(1)
        if k and has.sum() < FEWEST:
            break
        sums = (played.rewards * inside).sum(1)[has]
        rows.append(
            {
                "session": k,
                "mean": float(sums.mean()),
                "standard_error": standard_error(sums),
                "episodes": int(has.sum()),
                "per_step": float(sums.sum() / inside.sum()),
            }
        )
    return rows


# --- after a switch -----------------------------------------------------------------------------


def changes(played: Recording) -> NDArray[np.bool_]:
    """`[B, T]`: whether the context differs from the one before; a switch may draw the same."""
    assert played.context is not None
    differs = (played.context[:, 1:-1] != played.context[:, :-2]).any(-1)
    return np.pad(differs, ((0, 0), (1, 0))) & played.valid


def steps_since(events: NDArray[np.bool_]) -> NDArray[np.int64]:
    """`[B, T]`: steps since the last event (0 at the event itself); -1 before the first."""
    now = np.arange(events.shape[1])
    last = np.maximum.accumulate(np.where(events, now, -1), 1)
    return np.where(last >= 0, now - last, -1)


def reward_since_switch(played: Recording) -> list[Row]:
    """Mean reward s steps after the context changed, s = 0 the first step under the new one.

    Each stretch counts until the next change; as far as `FEWEST` stretches reach.
    """
    since = np.where(played.valid, steps_since(changes(played)), -1)
    rows = []
    for steps in range(played.horizon):
        rewards = played.rewards[since == steps]
        if len(rewards) < FEWEST:
            break
        rows.append(
            {
                "steps": steps,
                "mean": float(rewards.mean()),
                "standard_error": standard_error(rewards),
                "count": len(rewards),
            }
        )
    return rows


def reward_before_switch(played: Recording) -> float | None:
    """Mean reward of the steps right before the context changes; None where it never does."""
    before = played.rewards[:, :-1][changes(played)[:, 1:]]
    return float(before.mean()) if len(before) else None


def recovery_steps(curve: list[Row], before: float | None) -> int | None:
    """Steps after a change until the mean reward has made up 90 % of what the change took.

    With r_s the curve of `reward_since_switch`, r_- the reward before and s* where r is lowest: the
    first s >= s* with r_s >= r_s* + 0.9 (r_- - r_s*). None if it never gets there, or if nothing
    was lost, that is no more than `LOST` standard errors of r_s*.
    """
    rewards = np.array([row["mean"] for row in curve])
    if before is None or not len(rewards):
        return None
    lowest = int(rewards.argmin())
    if not before - rewards[lowest] > LOST * curve[lowest]["standard_error"]:
        return None
    goal = rewards[lowest] + RECOVERED * (before - rewards[lowest])
    reached = np.flatnonzero(rewards[lowest:] >= goal)
    return lowest + int(reached[0]) if len(reached) else None


def detection(
    probabilities: Array, classes: NDArray[np.int64], valid: NDArray[np.bool_]
) -> dict[str, float | int | None]:
    """How soon a belief follows the context after a change of class.

    A change at transition t counts if the belief held the old class most probable with o_t, so that
    there is something to notice. It is noticed with the first o_{t + n} that holds the new class
    most probable, before the next change; n >= 1, since nothing of the new context is seen before.

    Args:
        probabilities: `[B, T + 1, K]`; classes `[B, T + 1]`; valid `[B, T]`.

    Returns:
        ``delay``: mean n over those noticed, None if none is; ``detected``: their share;
        ``changes``: how many counted.
    """
    predicted = probabilities.argmax(-1)
    delays = []
    for row in range(len(classes)):
        length = int(valid[row].sum())
        truth = classes[row, :length]
        at = np.flatnonzero(truth[1:] != truth[:-1]) + 1
        for start, end in zip(at, np.append(at[1:], length), strict=False):
            if predicted[row, start] == truth[start - 1]:
                noticed = np.flatnonzero(predicted[row, start + 1 : end + 1] == truth[start])
                delays.append(1 + int(noticed[0]) if len(noticed) else 0)
    found = [delay for delay in delays if delay]
    return {
        "delay": float(np.mean(found)) if found else None,
        "detected": len(found) / len(delays) if delays else None,
        "changes": len(delays),
    }


# --- by context ---------------------------------------------------------------------------------


def return_by_context(played: Recording) -> list[Row] | None:
    """Mean return of the meta-episodes that began with each context.

    One row for each value of the context where there are few; where its entries are continuous,
    one for each fifth of each entry, its ``value`` the mean of the entry there. A value is a number
    for a context of one entry, else a list, with None for the entries that a row does not bin.
    None where the env gives no context.
    """
    if played.context is None:
        return None
    first, returns = played.context[:, 0].astype(np.float64), played.returns
    values, number = np.unique(first, axis=0, return_inverse=True)
    if len(values) <= MOST_VALUES:
        own = number.reshape(-1)
        groups = [(value.tolist(), own == k) for k, value in enumerate(values)]
    else:
        groups = [group for entry in range(first.shape[1]) for group in _fifths(first, entry)]
    return [
        {
            "value": value[0] if len(value) == 1 else value,
            "mean": float(returns[rows].mean()),
            "standard_error": standard_error(returns[rows]),
            "episodes": int(rows.sum()),
        }
        for value, rows in groups
    ]


def _fifths(first: Array, entry: int) -> list[tuple[list[float | None], NDArray[np.bool_]]]:
    column = first[:, entry]
    edges = np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1])
    bins = np.searchsorted(edges, column, "right")
    groups = []
    for number in np.unique(bins):
        rows = bins == number
        value: list[float | None] = [None] * first.shape[1]
        value[entry] = float(column[rows].mean())
        groups.append((value, rows))
    return groups
