"""Expected returns of reference policies in a family of grid worlds."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .family_bayes import bayes_bounds
from .family_parameters import FamilyParameters, step_matrices
from .references import blind_value, references_of

TOLERANCE = 0.04
"""How far apart the bounds on ``bayes`` may be, as a share of what evidence is worth."""


def reference_returns(**parameters: Any) -> dict[str, float]:
    """Return the expected returns of reference policies; parameters as in `GridWorldFamilyEnv`.

    Returns:
        ``random``: actions uniform; ``blind``: the best policy that knows the family and the goals
        but takes no notice of rewards; ``bayes``: the best policy there is; ``member_known``: the
        best one that is told the member, but not the context; ``oracle``: the best one that is told
        the member and, before each step, the context. All are exact but ``bayes``, which is the
        middle of two proven bounds: it and what lies between it and a bound are at most 2 % of
        (bayes - blind) off. Where the bounds are further apart, ``bayes`` is left out.

    Raises:
        ValueError: if a parameter is out of range, or the grid is too large for exact values.
    """
    references = family_references(FamilyParameters.make(**parameters))
    if references is None:
        raise ValueError("reference_returns: this grid has too many values: use a smaller one.")
    return references


def family_references(parameters: FamilyParameters) -> dict[str, float] | None:
    """Return the references of a family, or None where they are not known; see above."""
    references = _references(parameters)
    return None if references is None else dict(references)


@lru_cache(maxsize=128)
def _references(parameters: FamilyParameters) -> tuple[tuple[str, float], ...] | None:
    members = []
    for world in parameters.worlds():
        known = references_of(world)
        if known is None:
            return None
        members.append(known)
    mean = {key: float(np.mean([m[key] for m in members])) for key in ("random", "bayes", "oracle")}
    values = {"random": mean["random"], "blind": _blind(parameters)}
    bounds = bayes_bounds(parameters) if len(members) > 1 else (mean["bayes"], mean["bayes"])
    if bounds and bounds[1] - bounds[0] <= TOLERANCE * (bounds[1] - values["blind"]) + 1e-9:
        values["bayes"] = sum(bounds) / 2
    values |= {"member_known": mean["bayes"], "oracle": mean["oracle"]}
    return tuple(values.items())


def _blind(parameters: FamilyParameters) -> float:
    """The best return without regard to rewards: all that counts is P(m_t) of the mixture."""
    step = step_matrices(parameters.members)
    law = np.broadcast_to(np.array(parameters.grid.prior), (len(step), 2))
    marginal = [law.mean(0)]
    for _ in range(parameters.grid.horizon - 1):
        law = np.einsum("na,nab->nb", law, step)
        marginal.append(law.mean(0))
    return blind_value(parameters.grid, np.stack(marginal))
