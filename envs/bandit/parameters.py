"""The parameters of Bernoulli bandits, checked once, and how arms are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_flags, check_number, check_size, did_you_mean

Array = NDArray[np.float64]

GOOD = {"dependent_easy": 0.9, "dependent_medium": 0.75, "dependent_hard": 0.6}
"""Structures with one good arm: its probability; the other arm has the rest to 1."""

STRUCTURES = ("independent", "dependent_uniform", *GOOD)


@dataclass(frozen=True)
class BanditParameters:
    """Everything that defines a bandit; `BernoulliBanditEnv` explains each. Hashable."""

    arms: int
    pulls: int
    structure: str
    p_switch: float
    show_time: bool

    @classmethod
    def make(
        cls,
        arms: int = 5,
        pulls: int = 10,
        structure: str = "independent",
        p_switch: float = 0.0,
        show_time: bool = False,
    ) -> BanditParameters:
        """Check the arguments of `BernoulliBanditEnv`; ValueError names the one out of range."""
        where = "Bandit/Bernoulli"
        check_size(where, "arms", arms, low=2, high=100_000)
        check_size(where, "pulls", pulls)
        check_flags(where, show_time=show_time)
        check_number(where, "p_switch", p_switch, low=0.0, high=1.0)
        if structure not in STRUCTURES:
            raise ValueError(
                f"{where}: no structure {structure!r}{did_you_mean(structure, STRUCTURES)}."
            )
        if structure != "independent" and arms != 2:
            raise ValueError(
                f"{where}: structure {structure!r} is for two arms, but arms is {arms}; set arms "
                "to 2, or structure to 'independent'."
            )
        return cls(int(arms), int(pulls), structure, float(p_switch), bool(show_time))

    @property
    def uniforms_of_a_draw(self) -> int:
        """How many uniforms one drawing of all arms uses: one decides two dependent arms."""
        return self.arms if self.structure == "independent" else 1

    @property
    def most_sessions(self) -> int:
        """The most sessions that one trial can have, the one after the last pull included."""
        return self.pulls + 1 if self.p_switch > 0.0 else 1


def draw_arms(p: BanditParameters, uniforms: Array) -> Array:
    """Return the arms' probabilities [..., k] for `uniforms` [..., uniforms_of_a_draw]."""
    if p.structure == "independent":
        return uniforms
    first = uniforms[..., 0]
    if p.structure in GOOD:
        good = GOOD[p.structure]
        first = np.where(first < 0.5, good, 1.0 - good)
    return np.stack([first, 1.0 - first], -1)


def posterior_means(p: BanditParameters, wins: Array, losses: Array) -> Array:
    """Return the arms' expected probabilities [..., k], given what pulls within a session paid.

    Independent arms have Beta(1 + wins, 1 + losses) posteriors. Of two dependent arms each pull
    tells the same about both: a win of arm 0 and a loss of arm 1 speak for arm 0.

    Args:
        p: the bandit.
        wins: [..., k], how often each arm has paid.
        losses: [..., k], how often it has not.
    """
    if p.structure == "independent":
        return (wins + 1.0) / (wins + losses + 2.0)
    speak_for, against = wins[..., 0] + losses[..., 1], wins[..., 1] + losses[..., 0]
    if p.structure == "dependent_uniform":
        first = (speak_for + 1.0) / (speak_for + against + 2.0)
    else:
        good = GOOD[p.structure]
        # Each pull multiplies the odds of the arm it speaks for by good / (1 - good). Powers of the
        # inverse may underflow, which is the right limit; those of the ratio would overflow.
        lead = np.abs(speak_for - against)
        leader = 1.0 / (1.0 + ((1.0 - good) / good) ** lead)
        chance = np.where(speak_for >= against, leader, 1.0 - leader)
        first = good * chance + (1.0 - good) * (1.0 - chance)
    return np.stack([first, 1.0 - first], -1)
