"""All that is said of an agent beyond its return: behaviour, belief, what it knows of itself.

`assess` reads recordings and what the agent claims about them, and returns the parts of the
evaluation's JSON that `docs/evaluation.md` defines. Nothing here plays, and nothing needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr

from rllib_metarl.envs.core.bayes import Density, ExactFilter, NoExactFilterError, Posterior
from rllib_metarl.evaluation.belief import behaviour, calibration, uncertainty
from rllib_metarl.evaluation.belief.claims import Claims
from rllib_metarl.evaluation.belief.decoding import Decoded, DecodedClasses, DecodedNumbers, decode
from rllib_metarl.evaluation.belief.probe import CannotDecodeError
from rllib_metarl.evaluation.belief.termination import termination_scores
from rllib_metarl.evaluation.frames import meta_episodes
from rllib_metarl.evaluation.knowledge import exact_filter_of, run_filter
from rllib_metarl.recording import Recording

Array = NDArray[np.float64]
Section = dict[str, Any]
Tell = Callable[[str], None]
FEWEST_EPISODES = 16
NO_DECODERS = "the agent has no reward decoder that could be surprised"
NO_HEAD = "the agent has no termination head that was trained"


@dataclass(frozen=True)
class Plays:
    """What was played: greedily on held-out tasks, and on tasks that are set aside for fitting.

    Attributes:
        held_out: scored. set_aside: other tasks of the same kind, for probes and references.
        stochastic: the held-out tasks under the exploring policy.
        variants: name -> tasks of a world that the agent was not trained on.
    """

    held_out: Recording
    set_aside: Recording
    stochastic: Recording | None = None
    variants: Mapping[str, Recording] = field(default_factory=dict)


@dataclass(frozen=True)
class AssessedAgent:
    """What is to be known of the agent.

    Attributes:
        claims: what it claims about a recording.
        threshold: probability above which its termination head says that a session ended; None
            without a trained head.
        no_belief: why there is no belief to be judged; None if there is one.
        no_variants: why it cannot be judged in a world that it was not trained on; None if it can.
        altered: what stands between the env and the agent, so that recorded observations are not
            the env's; None if nothing does.
    """

    claims: Callable[[Recording], Claims]
    threshold: float | None = 0.5
    no_belief: str | None = None
    no_variants: str | None = None
    altered: str | None = None


def assess(
    plays: Plays,
    agent: AssessedAgent,
    env: Any,
    tell: Tell = lambda stage: None,
) -> Section:
    """The sections of an evaluation.

    Args:
        plays: what was played.
        agent: who played it.
        env: the env that the held-out tasks were played in, for what it says of itself.
        tell: called with what is being done next.

    Returns:
        ``protocol``, ``belief``, ``calibration``, ``uncertainty``, ``termination`` (a section that
        cannot be is None), ``absent`` (row -> why it is not there), ``meta_episodes``.
    """
    absent: dict[str, str] = {}
    if agent.altered is not None:  # neither a filter nor a picture could read what was seen
        absent["exact"] = f"{agent.altered}: recorded observations are not the env's own"
    exact = None if agent.altered is not None else _exact_filter(env, absent)
    tell("decoding the context")
    decoded = _decoded(plays, agent, exact, absent)
    tell("what the agent claims")
    claims = agent.claims(plays.held_out)
    posterior = None
    if exact is not None and _labelled(plays.held_out):
        posterior = run_filter(exact, plays.held_out)
    sections = {
        "protocol": _protocol(plays, decoded, absent),
        "belief": decoded.belief() if decoded is not None else None,
        "calibration": _calibration(decoded, claims, posterior, plays, absent),
        "uncertainty": _uncertainty(plays, agent, claims, decoded, exact, absent, tell),
        "termination": _termination(plays.held_out, agent, claims, posterior, absent),
    }
    seen = None if agent.altered is not None else env
    shown = meta_episodes(plays.held_out, seen, decoded, claims)
    return sections | {"absent": absent, "meta_episodes": shown}


def _labelled(played: Recording) -> bool:
    return played.context is not None


def _exact_filter(env: Any, absent: dict[str, str]) -> ExactFilter | None:
    try:
        return exact_filter_of(env)
    except NoExactFilterError as reason:
        absent["exact"] = str(reason)
        return None


def _decoded(
    plays: Plays, agent: AssessedAgent, exact: ExactFilter | None, absent: dict[str, str]
) -> Decoded | None:
    why = agent.no_belief
    if why is None and len(plays.held_out) < FEWEST_EPISODES:
        why = (
            f"{len(plays.held_out)} meta-episodes are too few to say; evaluate "
            f"{FEWEST_EPISODES} or more"
        )
    if why is None:
        try:
            return decode(plays.set_aside, plays.held_out, exact)
        except CannotDecodeError as reason:
            why = str(reason)
    absent["belief"] = absent["calibration"] = why
    return None


# --- behaviour ----------------------------------------------------------------------------------


def _protocol(plays: Plays, decoded: Decoded | None, absent: dict[str, str]) -> Section:
    played = plays.held_out
    section: Section = {"return_standard_error": behaviour.standard_error(played.returns)}
    if plays.stochastic is not None:
        returns = plays.stochastic.returns
        section["stochastic_return_mean"] = float(returns.mean())
        section["stochastic_return_standard_error"] = behaviour.standard_error(returns)
    section["inner_episode_returns"] = behaviour.inner_episode_returns(played)
    if section["inner_episode_returns"] is None:
        absent["protocol.inner_episode_returns"] = "the env has no inner episodes"
    section["return_by_session"] = behaviour.return_by_session(played)
    section["return_by_context"] = behaviour.return_by_context(played)
    for row in ("session", "context"):
        if section[f"return_by_{row}"] is None:
            absent[f"protocol.return_by_{row}"] = f"the env gives no info[{row!r}]"
    section |= _after_a_switch(played, decoded, absent)
    section["return_by_variant"] = [
        {
            "variant": name,
            "mean": float(odd.returns.mean()),
            "standard_error": behaviour.standard_error(odd.returns),
            "episodes": len(odd),
        }
        for name, odd in plays.variants.items()
    ]
    return section


def _after_a_switch(played: Recording, decoded: Decoded | None, absent: dict[str, str]) -> Section:
    if not _labelled(played) or not behaviour.changes(played).any():
        absent["protocol.reward_since_switch"] = "the context never changes, or is not given"
        return {"reward_since_switch": None, "recovery_steps": None, "detection_delay": None}
    curve = behaviour.reward_since_switch(played)
    before = behaviour.reward_before_switch(played)
    section: Section = {
        "reward_since_switch": curve,
        "reward_before_switch": before,
        "recovery_steps": behaviour.recovery_steps(curve, before),
        "detection_delay": None,
    }
    if not isinstance(decoded, DecodedClasses):
        absent["protocol.detection_delay"] = "no class of the context is decoded"
        return section
    section |= _detection(decoded, decoded.probabilities, "")
    if decoded.exact is not None:
        section |= _detection(decoded, decoded.exact.probabilities, "_exact")
    return section


def _detection(decoded: DecodedClasses, probabilities: Array, suffix: str) -> Section:
    found = behaviour.detection(probabilities, decoded.truth, decoded.valid)
    return {
        f"detection_delay{suffix}": found["delay"],
        f"detected{suffix}": found["detected"],
        f"changes_to_detect{suffix}": found["changes"],
    }


# --- calibration --------------------------------------------------------------------------------


def _calibration(
    decoded: Decoded | None,
    claims: Claims,
    exact: Posterior | Density | None,
    plays: Plays,
    absent: dict[str, str],
) -> Section | None:
    section = decoded.calibration() if decoded is not None else {}
    if isinstance(decoded, DecodedNumbers):
        others = {name: decoded.elsewhere(played) for name, played in plays.variants.items()}
        section["by_variant"] = [{"variant": k} | v for k, v in others.items() if v is not None]
    if claims.positive is None or claims.surprise is None:
        absent["calibration.prediction"] = (
            "the agent claims no probability of a reward; reward_likelihood: bernoulli does"
        )
    else:
        section["prediction"] = _prediction(claims, exact, plays.held_out)
    return section or None


def _prediction(claims: Claims, exact: Posterior | Density | None, played: Recording) -> Section:
    """What the agent predicts of rewards, without a probe that could fix it."""
    assert claims.positive is not None and claims.surprise is not None
    valid = played.valid
    rewarded = played.rewards[valid] > 0
    curve = calibration.event_reliability(claims.positive[valid], rewarded)
    section = {
        "ece": calibration.ece(curve),
        "brier": float(np.square(claims.positive[valid] - rewarded).mean()),
        "log_loss": float(claims.surprise[valid].mean()),
        "reliability": curve,
    }
    if exact is not None:
        section["log_loss_exact"] = float(exact.surprise[valid].mean())
    return section


# --- uncertainty --------------------------------------------------------------------------------


def _uncertainty(
    plays: Plays,
    agent: AssessedAgent,
    claims: Claims,
    decoded: Decoded | None,
    exact: ExactFilter | None,
    absent: dict[str, str],
    tell: Tell,
) -> Section | None:
    if decoded is None:
        absent["uncertainty"] = absent["belief"]
        return None
    section = _entropy(plays.held_out, decoded)
    if isinstance(decoded, DecodedClasses):
        section |= _abstaining(decoded)
    else:
        absent["uncertainty.risk_coverage"] = "the context is not a class"
    if agent.no_variants is not None:
        absent["uncertainty.out_of_distribution"] = agent.no_variants
    elif plays.variants:
        section |= _unfamiliar(plays, agent, claims, decoded, exact, tell)
        if claims.surprise is None:
            absent["uncertainty.out_of_distribution.surprise"] = NO_DECODERS
    else:
        absent["uncertainty.out_of_distribution"] = (
            "no world is known that the agent was not trained on; name some with --variants"
        )
    return section


def _entropy(played: Recording, decoded: Decoded) -> Section:
    valid, entropy = played.valid, decoded.entropy(played)[:, :-1]
    section: Section = {"entropy_by_step": uncertainty.mean_by_step(entropy, valid)}
    gaussian = _gaussian_entropy(played)
    if gaussian is not None:
        section["belief_entropy_by_step"] = uncertainty.mean_by_step(gaussian, valid)
    if decoded.entropy_exact is not None:
        ideal = decoded.entropy_exact[:, :-1]
        section["entropy_by_step_exact"] = uncertainty.mean_by_step(ideal, valid)
        section["entropy_correlation"] = _correlation(pearsonr, entropy[valid], ideal[valid])
        if gaussian is not None:
            ranks = _correlation(spearmanr, gaussian[valid], ideal[valid])
            section["belief_entropy_correlation"] = ranks
    return section


def _gaussian_entropy(played: Recording) -> Array | None:
    """Differential entropy of the belief before each transition, `[B, T]` nats."""
    if played.log_var is None:
        return None
    return np.asarray(0.5 * (played.log_var[:, :-1] + np.log(2 * np.pi * np.e)).sum(-1))


def _correlation(of: Callable[..., Any], x: Array, y: Array) -> float:
    """A correlation by one of scipy's functions; nan where one of the two never varies."""
    if np.ptp(x) < 1e-9 or np.ptp(y) < 1e-9:
        return float("nan")
    return float(of(x, y).statistic)


def _abstaining(decoded: DecodedClasses) -> Section:
    truth, predicted = decoded.flat(decoded.truth), decoded.flat(decoded.probabilities)
    curve = uncertainty.risk_coverage(predicted, truth)
    section: Section = {
        "risk_coverage": curve,
        "area_under_risk": uncertainty.area_under_risk(curve),
        "abstain": [_threshold(decoded, target) for target in uncertainty.TARGET_RISKS],
    }
    if decoded.exact is not None:
        curve = uncertainty.risk_coverage(decoded.flat(decoded.exact.probabilities), truth)
        section |= {
            "risk_coverage_exact": curve,
            "area_under_risk_exact": uncertainty.area_under_risk(curve),
        }
    return section


def _threshold(decoded: DecodedClasses, target: float) -> Section:
    """Chosen on the first half of the meta-episodes, tried on the second."""
    half = np.arange(len(decoded.valid)) < len(decoded.valid) // 2
    first, second = (decoded.valid & rows[:, None] for rows in (half, ~half))
    probabilities, truth = decoded.probabilities[:, :-1], decoded.truth[:, :-1]
    at = uncertainty.abstain_threshold(probabilities[first], truth[first], target)
    tried = (
        {"coverage": 0.0, "risk": None}
        if at is None
        else uncertainty.abstaining(probabilities[second], truth[second], at)
    )
    return {"target_risk": target, "threshold": at, **tried}


def _unfamiliar(
    plays: Plays,
    agent: AssessedAgent,
    claims: Claims,
    decoded: Decoded,
    exact: ExactFilter | None,
    tell: Tell,
) -> Section:
    tell("out-of-distribution scores: ordinary meta-episodes")
    odd = plays.variants
    own = {name: _agents_statistics(x, agent.claims(x), decoded) for name, x in odd.items()}
    held_out = _agents_statistics(plays.held_out, claims, decoded)
    claimed = agent.claims(plays.set_aside)
    ordinary = _agents_statistics(plays.set_aside, claimed, decoded)
    table = uncertainty.OutOfDistributionScorer(ordinary).aurocs(held_out, own)
    raw = {name: uncertainty.one_sided(held_out, x) for name, x in own.items()}
    if exact is not None:
        tell("out-of-distribution scores: the exact filter")
        ideal = {name: _exact_statistics(x, run_filter(exact, x)) for name, x in odd.items()}
        usual = _exact_statistics(plays.held_out, run_filter(exact, plays.held_out))
        aside = _exact_statistics(plays.set_aside, run_filter(exact, plays.set_aside))
        for name, scores in uncertainty.OutOfDistributionScorer(aside).aurocs(usual, ideal).items():
            table[name] |= {f"{key}_exact": value for key, value in scores.items()}
    return {"out_of_distribution": table, "out_of_distribution_one_sided": raw}


def _agents_statistics(played: Recording, claims: Claims, decoded: Decoded) -> dict[str, Array]:
    """Means over the steps of each meta-episode, `[B]` each."""
    gaussian = _gaussian_entropy(played)
    values = {
        "belief_entropy": gaussian,
        "decoded_entropy": decoded.entropy(played)[:, :-1] if gaussian is None else None,
        "surprise": claims.surprise,
        "negative_elbo": claims.negative_elbo,
        "disagreement": claims.disagreement,
    }
    return {
        name: uncertainty.mean_by_episode(x, played.valid)
        for name, x in values.items()
        if x is not None
    }


def _exact_statistics(played: Recording, exact: Posterior | Density) -> dict[str, Array]:
    values = {"surprise": exact.surprise}
    if isinstance(exact, Posterior):
        values["entropy"] = calibration.entropies(exact.probabilities)[:, :-1]
    return {name: uncertainty.mean_by_episode(x, played.valid) for name, x in values.items()}


# --- termination --------------------------------------------------------------------------------


def _termination(
    played: Recording,
    agent: AssessedAgent,
    claims: Claims,
    exact: Posterior | Density | None,
    absent: dict[str, str],
) -> Section | None:
    if agent.threshold is None or claims.termination is None:
        absent["termination"] = NO_HEAD
        return None
    if played.switched is None:
        absent["termination"] = "the env gives no info['switched']; rllib_metarl.envs.Sessions does"
        return None
    # What is said with o_{t+1} concerns transition t; the first one opens no session.
    scored = played.valid[:, 1:]
    switched = played.switched[:, 1:-1][scored]
    section: Section = termination_scores(
        claims.termination[:, 2:][scored], switched, agent.threshold
    )
    if exact is not None:
        ideal = termination_scores(exact.switch[:, 2:][scored], switched)
        section |= {f"{key}_exact": ideal[key] for key in ("auroc", "precision", "recall", "f1")}
    if section["auroc"] is None:
        absent["termination"] = "no session ends in what was played"
    return section
