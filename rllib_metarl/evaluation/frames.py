"""Recorded meta-episodes as plain lists, to be looked at step by step."""

from __future__ import annotations

from typing import Any

from rllib_metarl.evaluation.belief.claims import Claims
from rllib_metarl.evaluation.belief.decoding import Decoded, DecodedClasses
from rllib_metarl.evaluation.knowledge import frame_of
from rllib_metarl.recording import Recording

SHOWN = 6


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
    exact = classes.exact if classes is not None else None
    return {
        **played.shown(
            row,
            truth=None if classes is None else classes.truth,
            decoded=None if classes is None else classes.probabilities,
            exact=None if exact is None else exact.probabilities,
            termination=None if claims is None else claims.termination,
            termination_exact=None if exact is None else exact.switch,
        ),
        "classes": list(classes.classes) if classes is not None else None,
        "frame": frame,
    }


def _frame(played: Recording, row: int, env: Any) -> dict[str, Any]:
    steps = slice(int(played.valid[row].sum()) + 1)
    context = None if played.context is None else played.context[row, steps]
    return frame_of(env, played.observations[row, steps], context)
