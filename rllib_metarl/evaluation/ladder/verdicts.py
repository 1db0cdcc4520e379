"""The debug ladder: what agents that know less and less, on the same tasks, say about an env.

Blind, oracle, memory, belief, belief by sessions. Each rung answers one question, and an answer
only means something when the rung below it stood. Pure functions of returns; `rungs` plays them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_metarl.algorithms import RUNGS

RUNG_LABELS = {name: rung.label for name, rung in RUNGS.items()}
ACTING_ON = {rung.acts_on: name for name, rung in RUNGS.items()}
MEMORY, BELIEF, SESSIONS = (ACTING_ON[what] for what in ("memory", "belief", "sessions"))
Z = 2.0  # standard errors that a difference must have to count


@dataclass(frozen=True)
class Outcome:
    """What came of a rung.

    returns: `[N]`, of the held-out meta-episodes, the same tasks in the same order for every rung;
        empty where the rung was left out. absent: why it was. env_steps, seconds: what it took.
    """

    returns: NDArray[np.float64]
    absent: str = ""
    env_steps: int = 0
    seconds: float = 0.0

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean over meta-episodes; nan for a single one."""
        n = len(self.returns)
        return float(self.returns.std(ddof=1) / n**0.5) if n > 1 else float("nan")


def left_out(why: str) -> Outcome:
    """A rung that was not climbed."""
    return Outcome(np.zeros(0), why)


def difference(one: Outcome, other: Outcome) -> tuple[float, float]:
    """Mean and standard error of `one` - `other`, task by task.

    Raises:
        ValueError: if they were not played on equally many tasks, or on fewer than 2.
    """
    if len(one.returns) != len(other.returns) or len(one.returns) < 2:
        raise ValueError(
            f"difference: {len(one.returns)} and {len(other.returns)} returns; rungs are compared "
            "task by task, on at least 2."
        )
    gaps = one.returns - other.returns
    return float(gaps.mean()), float(gaps.std(ddof=1) / len(gaps) ** 0.5)


def above(one: Outcome, other: Outcome) -> bool:
    """Whether `one` is better by more than `Z` standard errors."""
    mean, error = difference(one, other)
    return mean > Z * error and mean > 1e-9 * (1.0 + abs(other.mean))


def must_stop(outcomes: dict[str, Outcome]) -> bool:
    """Whether the rungs so far show that climbing on is pointless."""
    return _both(outcomes, "oracle", "blind") and not above(outcomes["oracle"], outcomes["blind"])


def verdicts(
    outcomes: dict[str, Outcome], references: dict[str, float] | None = None
) -> dict[str, str]:
    """What each rung says, a sentence or two for each.

    The uncertainty is that over held-out tasks: one training is one draw, which it does not hold.

    Args:
        outcomes: rung -> outcome, as far as one has come.
        references: the env's exact returns (``blind``, ``bayes``, ``oracle``), where it has some.
    """
    says = {
        "blind": _blind,
        "oracle": _oracle,
        MEMORY: _memory,
        BELIEF: _belief,
        SESSIONS: _sessions,
    }
    speak = {rung: says.get(rung, partial(_other, rung=rung)) for rung in outcomes}
    return {
        rung: outcome.absent or speak[rung](outcomes, references or {})
        for rung, outcome in outcomes.items()
    }


def _blind(outcomes: dict[str, Outcome], references: dict[str, float]) -> str:
    best = references.get("blind")
    if best is None:
        return "what one behaviour for all tasks earns; the others must beat it"
    if _exceeds(outcomes["blind"], best):
        return (
            f"above the best blind policy's {best:.2f}, which nobody can be: the env leaks the "
            "context into the observation, or its reference is wrong"
        )
    if _short_of(outcomes["blind"], best, references):
        return (
            f"the best blind policy earns {best:.2f}: PPO has not found it yet. More --steps, or "
            "other PPO settings, before anything else"
        )
    return f"about as good as a blind policy gets ({best:.2f}); the others must beat it"


def _oracle(outcomes: dict[str, Outcome], references: dict[str, float]) -> str:
    if not _both(outcomes, "oracle", "blind"):
        return "the return of a policy given the context"
    if must_stop(outcomes):
        return f"the oracle does not beat blind: {_why_no_use(references)}. Stop here"
    worth, _ = difference(outcomes["oracle"], outcomes["blind"])
    best = references.get("oracle")
    if best is not None and _exceeds(outcomes["oracle"], best):
        return f"above the best oracle's {best:.2f}, which nobody can be: the reference is wrong"
    if best is not None and _short_of(outcomes["oracle"], best, references):
        return (
            f"knowing the context is worth {worth:.2f}, and {best:.2f} could be earned with it: "
            "PPO is not done yet. More --steps"
        )
    return f"knowing the context is worth {worth:.2f}: that is what there is to gain"


def _why_no_use(references: dict[str, float]) -> str:
    """What it can mean that knowing the context earns nothing."""
    if references.get("oracle", 0.0) - references.get("blind", 0.0) > 1e-6:
        return (
            f"it could earn {references['oracle']:.2f}, so PPO's settings are wrong or --steps too "
            "few"
        )
    return "the context does not matter to the return, or PPO's settings are wrong"


def _memory(outcomes: dict[str, Outcome], references: dict[str, float]) -> str:
    return _too_good(outcomes, MEMORY, references) or _of_the_way(
        outcomes,
        MEMORY,
        "no better than blind: memory alone finds nothing out yet. If "
        f"{RUNG_LABELS[BELIEF]} does not either, --steps are too few, or the "
        "observations do not reveal the context",
    )


def _belief(outcomes: dict[str, Outcome], references: dict[str, float]) -> str:
    return _too_good(outcomes, BELIEF, references) or _of_the_way(
        outcomes, BELIEF, f"no better than blind: {_why_no_belief(outcomes)}"
    )


def _why_no_belief(outcomes: dict[str, Outcome]) -> str:
    """What it can mean that a belief is of no use, given what memory was worth."""
    decode = (
        "Decode what the context changes (reward_decoder_inputs, decode_state) and see in `rllib "
        "train` whether vae/reward_loss falls"
    )
    if not _both(outcomes, MEMORY, "blind"):
        return f"the belief is of no use to the policy yet. {decode}; else more --steps"
    if above(outcomes[MEMORY], outcomes["blind"]):
        memory = RUNG_LABELS[MEMORY]
        return f"{memory} shows that the context can be inferred, so the belief misses it. {decode}"
    return f"neither memory nor belief is of use yet: more --steps. {decode}"


def _sessions(outcomes: dict[str, Outcome], references: dict[str, float]) -> str:
    suspicious = _too_good(outcomes, SESSIONS, references)
    if suspicious or not _both(outcomes, SESSIONS, BELIEF):
        return suspicious or _of_the_way(outcomes, SESSIONS, "the belief is of no use")
    gap, error = difference(outcomes[SESSIONS], outcomes[BELIEF])
    way, belief = _of_the_way(outcomes, SESSIONS, "no better than blind"), RUNG_LABELS[BELIEF]
    if gap > Z * error:
        return f"{way}; telling sessions apart is worth {gap:.2f}"
    if gap < -Z * error:
        return (
            f"{way}; worse than {belief} by {-gap:.2f}: are info['session'] and info['switched'] "
            "those of the coming transition? If so, more --steps"
        )
    if _both(outcomes, "blind") and not above(outcomes[SESSIONS], outcomes["blind"]):
        return f"{way}: what is said of {belief} holds here too"
    return f"{way}; no different from {belief}: sessions are long, or --steps too few to tell"


def _other(outcomes: dict[str, Outcome], references: dict[str, float], rung: str) -> str:
    """Of an algorithm that is not one of the ladder's own."""
    return _too_good(outcomes, rung, references) or _of_the_way(
        outcomes, rung, "no better than blind: other settings, or more --steps"
    )


def _of_the_way(outcomes: dict[str, Outcome], rung: str, nothing: str) -> str:
    """How far from blind to oracle a rung has come, or `nothing` if it is not above blind."""
    if not _both(outcomes, rung, "blind"):
        return f"earns {outcomes[rung].mean:.2f}"
    if not above(outcomes[rung], outcomes["blind"]):
        return nothing
    gain, _ = difference(outcomes[rung], outcomes["blind"])
    if not _both(outcomes, "oracle", "blind") or must_stop(outcomes):
        return f"{gain:.2f} above blind: remembering the past pays"
    worth, _ = difference(outcomes["oracle"], outcomes["blind"])
    return f"{gain / worth:.0%} of the way from blind to oracle"


def _too_good(outcomes: dict[str, Outcome], rung: str, references: dict[str, float]) -> str:
    """What to say of one who earns more than it can; empty if it does not."""
    outcome, best = outcomes[rung], references.get("bayes")
    if best is not None and _exceeds(outcome, best):
        return (
            f"above the Bayes-optimal {best:.2f}, which nobody can be: the env leaks the context "
            "into the observation, or its reference is wrong"
        )
    if _both(outcomes, rung, "oracle") and above(outcome, outcomes["oracle"]):
        gain, _ = difference(outcome, outcomes["oracle"])
        return (
            f"{gain:.2f} better than the oracle, which knows more: the oracle's PPO is not done "
            "(more --steps), or info['context'] is not all that matters"
        )
    return ""


def _exceeds(outcome: Outcome, best: float) -> bool:
    """Beyond what chance makes of an exact value; an accusation, so by more than `Z`."""
    return outcome.mean - best > 3 * outcome.error + 1e-9 * (1.0 + abs(best))


def _short_of(outcome: Outcome, best: float, references: dict[str, float]) -> bool:
    """More than a tenth of what is at stake, and the noise, below an exact value."""
    stake = references.get("oracle", best) - references.get("blind", best)
    return best - outcome.mean > max(Z * outcome.error, 0.1 * abs(stake))


def _both(outcomes: dict[str, Any], *rungs: str) -> bool:
    """Whether all these rungs were climbed."""
    return all(rung in outcomes and not outcomes[rung].absent for rung in rungs)
