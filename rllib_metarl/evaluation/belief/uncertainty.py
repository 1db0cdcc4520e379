"""Does it know what it does not know? Entropy against evidence, the unfamiliar, and abstaining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import trapezoid
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from rllib_metarl.evaluation.belief.calibration import checked

Array = NDArray[np.float64]
POINTS = 50
TARGET_RISKS = (0.01, 0.05, 0.1)
LEAST_COVERAGE = 0.01
"""A threshold must let this share of the answers through, or it is luck that none was wrong."""


def mean_by_step(values: Array, valid: Array) -> list[float]:
    """Mean over meta-episodes of `values [B, T]` at each step, `[T]`."""
    total = np.where(valid, values, 0.0).sum(0)
    return [float(x) for x in total / np.maximum(valid.sum(0), 1)]


def mean_by_episode(values: Array, valid: Array) -> Array:
    """Mean over the steps of each meta-episode, `[B, T]` -> `[B]`."""
    return np.asarray(np.where(valid, values, 0.0).sum(1) / valid.sum(1))


# --- the unfamiliar -----------------------------------------------------------------------------


def auroc(ordinary: ArrayLike, odd: ArrayLike) -> float:
    """P(one of `odd [M]` scores higher than one of `ordinary [N]`), ties counted half."""
    x, y = np.asarray(ordinary, np.float64), np.asarray(odd, np.float64)
    labels = np.concatenate([np.zeros(len(x)), np.ones(len(y))])
    return float(roc_auc_score(labels, np.concatenate([x, y])))


def unusualness(reference: ArrayLike, values: ArrayLike) -> Array:
    """How far in either tail of the reference each value lies: |2 F(x) - 1|, F the empirical CDF.

    What never surprises is as unusual as what surprises all the time: a one-sided score would call
    it most familiar. The two-sided p-value is one minus this.

    Args:
        reference: `[R]`, of meta-episodes that are known to be ordinary.
        values: `[N]`.

    Source: the typicality test of Nalisnick et al. 2019, arXiv:1906.02994, by ranks.
    """
    ordered = np.sort(np.asarray(reference, np.float64))
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(abs(below / len(ordered) - 1.0))


class OutOfDistributionScorer:
    """Scores meta-episodes against ordinary ones, by each of several statistics and by all.

    The score of all together is that of an isolation forest (Liu et al. 2008): how few random cuts
    separate a meta-episode's statistics from those of ordinary ones.

    Args:
        reference: name -> `[R]`, statistics of ordinary meta-episodes that are set aside.
    """

    TOGETHER = "all_together"

    def __init__(self, reference: Mapping[str, Array]) -> None:
        self.reference = dict(reference)
        self.forest = IsolationForest(random_state=0).fit(self._columns(reference))

    def aurocs(
        self, held_out: Mapping[str, Array], odd: Mapping[str, Mapping[str, Array]]
    ) -> dict[str, dict[str, float]]:
        """AUROC of each score for telling each kind of odd meta-episodes from held-out ones.

        Args:
            held_out: statistic -> `[N]`, of ordinary meta-episodes.
            odd: kind -> statistic -> `[M]`.

        Returns:
            kind -> score -> AUROC.
        """
        usual = self.scores(held_out)
        by_kind = {kind: self.scores(statistics) for kind, statistics in odd.items()}
        return {
            kind: {name: auroc(usual[name], scores[name]) for name in usual}
            for kind, scores in by_kind.items()
        }

    def scores(self, statistics: Mapping[str, Array]) -> dict[str, Array]:
        """How odd meta-episodes are by each statistic and by all together, `[N]` each."""
        scores = {name: unusualness(r, statistics[name]) for name, r in self.reference.items()}
        if len(self.reference) > 1:
            density = self.forest.score_samples(self._columns(statistics))
            scores[self.TOGETHER] = np.asarray(-density)
        return scores

    def _columns(self, statistics: Mapping[str, Array]) -> Array:
        return np.column_stack([statistics[name] for name in self.reference])


def one_sided(held_out: Mapping[str, Array], odd: Mapping[str, Array]) -> dict[str, float]:
    """AUROC of each statistic, `[N]` and `[M]`, as it is: higher counts as odder."""
    return {name: auroc(values, odd[name]) for name, values in held_out.items()}


# --- abstaining ---------------------------------------------------------------------------------


def risk_coverage(
    probabilities: ArrayLike, truth: ArrayLike, points: int = POINTS
) -> list[dict[str, float]]:
    """Share of wrong answers among the most confident ones, for as many as are answered.

    An answer is the most probable class, its confidence that probability. At threshold h all
    answers with confidence >= h are given: coverage is their share, risk the share of them that is
    wrong.

    Args:
        probabilities: `[N, K]`; truth `[N]`.
        points: at about how many coverages.

    Source: El-Yaniv & Wiener 2010; Geifman & El-Yaniv 2017, arXiv:1705.08500.
    """
    p, y = checked("risk_coverage", probabilities, truth)
    confidence = p.max(1)
    order = np.argsort(-confidence, kind="stable")
    ordered, wrong = confidence[order], np.cumsum(p.argmax(1)[order] != y[order])
    last = np.searchsorted(-ordered, -ordered, "right") - 1  # equals are answered together
    ends = np.unique(last[np.linspace(0, len(y) - 1, points).astype(np.int64)])
    return [
        {
            "coverage": float((end + 1) / len(y)),
            "risk": float(wrong[end] / (end + 1)),
            "threshold": float(ordered[end]),
        }
        for end in ends
    ]


def area_under_risk(curve: list[dict[str, float]]) -> float:
    """Mean risk over coverages from 0 to 1, by the trapezoidal rule; the risk at 0 is the first's.

    0 if no answer is ever wrong.
    """
    coverage = np.array([0.0] + [row["coverage"] for row in curve])
    risk = np.array([curve[0]["risk"]] + [row["risk"] for row in curve])
    return float(trapezoid(risk, coverage))


def abstain_threshold(probabilities: ArrayLike, truth: ArrayLike, target: float) -> float | None:
    """The lowest confidence at which to answer, so that at most a share `target` is wrong.

    To be chosen on other data than it is tried on.

    Args:
        probabilities: `[N, K]`.
        truth: `[N]`, classes.
        target: the share, 0 to 1.

    Returns:
        None if even the most confident `LEAST_COVERAGE` of the answers are wrong more often.
    """
    curve = risk_coverage(probabilities, truth, 1000)
    kept = [r for r in curve if r["risk"] <= target and r["coverage"] >= LEAST_COVERAGE]
    return max(kept, key=lambda row: row["coverage"])["threshold"] if kept else None


def abstaining(probabilities: ArrayLike, truth: ArrayLike, threshold: float) -> dict[str, Any]:
    """``coverage`` and ``risk`` of answering above a threshold; the risk is None without answers.

    Args:
        probabilities: `[N, K]`.
        truth: `[N]`, classes.
        threshold: least confidence, 0 to 1.
    """
    p, y = checked("abstaining", probabilities, truth)
    given = p.max(1) >= threshold
    wrong = (p.argmax(1) != y)[given]
    return {"coverage": float(given.mean()), "risk": float(wrong.mean()) if len(wrong) else None}
