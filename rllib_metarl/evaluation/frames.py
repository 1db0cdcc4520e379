"""Recorded meta-episodes as plain lists, to be looked at step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from rllib_metarl.evaluation.belief.claims import Claims
from rllib_metarl.evaluation.belief.decoding import Decoded, DecodedClasses
from rllib_metarl.evaluation.knowledge import frame_of
from rllib_metarl.evaluation.recording import Array, Recording

SHOWN = 6
DIGITS = 4


def meta_episodes(
    played: Recording,
    env: Any,
    decoded: Decoded | None = None,
    claims: Claims | None = None,
) -> list[dict[str, Any]]:
    """The first `SHOWN` meta-episodes; not a choice of the best.

    Entry t of what has T + 1 belongs to o_t. `termination` and `termination_exact` at t concern
    transition t - 1, which has just been seen: they are held against `switched` at t - 1.
    """
    classes = decoded if isinstance(decoded, DecodedClasses) else None
    return [
        _meta_episode(played, row, classes, claims, _frame(played, row, env))
        for row in range(min(SHOWN, len(played)))
    ]


def _meta_episode(
    played: Recording,
    row: int,
    classes: DecodedClasses | None,
    claims: Claims | None,
    frame: dict[str, Any],
) -> dict[str, Any]:
    steps = int(played.valid[row].sum())
    exact = classes.exact if classes is not None else None

    def shown(values: Array | None, extra: int = 1) -> list[Any] | None:
        return None if values is None else _list(values[row, : steps + extra])

    return {
        "return": float(played.returns[row]),
        "horizon": steps,
        "actions": shown(played.actions, 0),
        "rewards": shown(played.rewards, 0),
        "context": shown(played.context),
        "truth": shown(classes.truth if classes is not None else None),
        "session": shown(played.session),
        "switched": shown(played.switched),
        "belief_mean": shown(played.mean),
        "belief_std": shown(None if played.log_var is None else np.exp(0.5 * played.log_var)),
        "decoded": shown(classes.probabilities if classes is not None else None),
        "exact": shown(exact.probabilities if exact is not None else None),
        "classes": list(classes.classes) if classes is not None else None,
        "termination": shown(claims.termination if claims is not None else None),
        "termination_exact": shown(exact.switch if exact is not None else None),
        "frame": frame,
    }


def _frame(played: Recording, row: int, env: Any) -> dict[str, Any]:
    steps = slice(int(played.valid[row].sum()) + 1)
    context = None if played.context is None else played.context[row, steps]
    return frame_of(env, played.observations[row, steps], context)


def _list(values: Array) -> list[Any]:
    if values.dtype.kind in "iub":
        return list(values.tolist())
    return list(np.round(values.astype(np.float64), DIGITS).tolist())
