"""How well switches of the context are detected, by the termination head or anything else."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score


def termination_scores(
    probability: ArrayLike, switched: ArrayLike, threshold: float = 0.5
) -> dict[str, float | None]:
    """Scores of N predictions that the transition just seen opened a new session.

    With TP, FP and FN counted at probability > threshold: precision = TP / (TP + FP), recall =
    TP / (TP + FN), F1 their harmonic mean; 0 where nothing is predicted. AUROC is the probability
    that a switch gets a higher prediction than a step without one, ties counted half.

    Args:
        probability: `[N]`.
        switched: `[N]`, 0 or 1.
        threshold: above which a session counts as ended.

    Returns:
        ``precision``, ``recall``, ``f1``, ``auroc``, ``threshold``, ``switch_rate``; the first four
        are None where there is no switch, or nothing but switches.

    Raises:
        ValueError: if shapes disagree.
    """
    p, d = np.asarray(probability, np.float64), np.asarray(switched) > 0
    if p.ndim != 1 or p.shape != d.shape or not len(p):
        raise ValueError(f"termination_scores: shapes {p.shape} and {d.shape}; give [N] twice.")
    known = {"threshold": threshold, "switch_rate": float(d.mean())}
    if d.all() or not d.any():
        return {"precision": None, "recall": None, "f1": None, "auroc": None, **known}
    precision, recall, f1, _ = precision_recall_fscore_support(
        d, p > threshold, average="binary", zero_division=0.0
    )
    return {
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "auroc": float(roc_auc_score(d, p)),
        **known,
    }
