"""Proper scores and calibration of probabilities, over classes or over numbers.

Classes: probabilities `[N, K]`, each row sums to 1, truth `[N]`, the class that was right.
Numbers: truth `[N]` or `[N, C]`, a prediction by its CDF or as a Gaussian.
All logarithms are natural: scores in nats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
BINS = 15
SMALLEST = 1e-12
"""What a probability of 0 counts as in a logarithm: a score of 27.6 nats at worst."""


# --- classes ------------------------------------------------------------------------------------


def class_scores(probabilities: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """``log_loss``, ``accuracy`` and ``brier`` of N predictions.

    log-loss = mean of -log p_y; accuracy = share of argmax p = y;
    Brier = mean of sum_k (p_k - [k = y])^2, from 0 to 2 (Brier 1950).

    Raises:
        ValueError: if shapes disagree.
    """
    p, y = checked("class_scores", probabilities, truth)
    return {
        "log_loss": float(log_losses(p, y).mean()),
        "accuracy": float((p.argmax(1) == y).mean()),
        "brier": float(np.square(p - np.eye(p.shape[1])[y]).sum(1).mean()),
    }


def log_losses(probabilities: Array, truth: NDArray[np.int64]) -> Array:
    """-log of the probability of what was right, `[N]`."""
    p_truth = np.take_along_axis(probabilities, truth[:, None], 1)[:, 0]
    return np.asarray(-np.log(np.maximum(p_truth, SMALLEST)))


def kl_divergence(exact: ArrayLike, decoded: ArrayLike) -> float:
    """Mean of KL(exact || decoded) = sum_k p_k log(p_k / q_k) over N rows `[N, K]`.

    Raises:
        ValueError: if shapes disagree.
    """
    p, q = np.asarray(exact, np.float64), np.asarray(decoded, np.float64)
    if p.shape != q.shape or p.ndim != 2:
        raise ValueError(f"kl_divergence: exact {p.shape}, decoded {q.shape}; give [N, K] twice.")
    ratio = np.log(np.maximum(p, SMALLEST)) - np.log(np.maximum(q, SMALLEST))
    return float((p * ratio).sum(1).mean())


def entropies(probabilities: ArrayLike) -> Array:
    """-sum_k p_k log p_k along the last axis, `[..., K]` -> `[...]`."""
    p = np.asarray(probabilities, np.float64)
    return np.asarray(-(p * np.log(np.maximum(p, SMALLEST))).sum(-1))


def reliability(
    probabilities: ArrayLike, truth: ArrayLike, bins: int = BINS
) -> list[dict[str, float]]:
    """How often the most probable class is right, against how probable it was said to be.

    Confidences max_k p_k are sorted into `bins` intervals of equal width over [0, 1].

    Returns:
        for each bin that holds something ``confidence`` and ``accuracy``, means, and ``count``.

    Raises:
        ValueError: if shapes disagree.
    """
    p, y = checked("reliability", probabilities, truth)
    return _binned(p.max(1), p.argmax(1) == y, bins)


def ece(curve: list[dict[str, float]]) -> float:
    """Expected calibration error: sum_b n_b / N |accuracy_b - confidence_b| of a `reliability`.

    Source: Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599, eq. 3.
    """
    total = sum(row["count"] for row in curve)
    return float(
        sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in curve) / total
    )


def event_reliability(
    probability: ArrayLike, outcome: ArrayLike, bins: int = BINS
) -> list[dict[str, float]]:
    """`reliability` of an event's probability `[N]`: how often it happened where it was said to.

    Raises:
        ValueError: if shapes disagree.
    """
    p, y = np.asarray(probability, np.float64), np.asarray(outcome, np.float64)
    if p.ndim != 1 or p.shape != y.shape:
        raise ValueError(f"event_reliability: shapes {p.shape} and {y.shape}; give [N] twice.")
    return _binned(p, y, bins)


def _binned(confidence: Array, right: Any, bins: int) -> list[dict[str, float]]:
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(index, minlength=bins)
    sums = [np.bincount(index, weights=x, minlength=bins) for x in (confidence, right)]
    return [
        {
            "confidence": float(sums[0][b] / count[b]),
            "accuracy": float(sums[1][b] / count[b]),
            "count": int(count[b]),
        }
        for b in np.flatnonzero(count)
    ]


# --- numbers ------------------------------------------------------------------------------------


def coverage(cdf: ArrayLike, level: float) -> float:
    """Share of truths inside the central interval of probability `level`.

    Args:
        cdf: the predicted CDF at the truth, of any shape; uniform for a calibrated prediction.
        level: 0.5 and 0.9 are customary.

    Source: Gneiting, Balabdaoui & Raftery 2007, section 3.
    """
    return float((abs(np.asarray(cdf, np.float64) - 0.5) <= level / 2).mean())


def gaussian_cdf(mean: Array, std: Array, truth: Array) -> Array:
    """Phi((x - m) / s), in the shape of the arguments."""
    return np.asarray(ndtr((truth - mean) / std))


def gaussian_nll(mean: Array, std: Array, truth: Array) -> Array:
    """log s + (x - m)^2 / (2 s^2) + log(2 pi) / 2, in the shape of the arguments."""
    return np.log(std) + 0.5 * np.square((truth - mean) / std) + 0.5 * np.log(2 * np.pi)


def gaussian_crps(mean: Array, std: Array, truth: Array) -> Array:
    """s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)), z = (x - m) / s; in units of the truth.

    The continuous ranked probability score, integral of (F(y) - [y >= x])^2 dy, of a Gaussian.

    Source: Gneiting & Raftery 2007, eq. 21.
    """
    z = (truth - mean) / std
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    return std * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))


def checked(
    where: str, probabilities: ArrayLike, truth: ArrayLike
) -> tuple[Array, NDArray[np.int64]]:
    """`[N, K]` probabilities and `[N]` classes, or ValueError."""
    p, y = np.asarray(probabilities, np.float64), np.asarray(truth)
    if p.ndim != 2 or y.shape != p.shape[:1] or y.dtype.kind not in "iu" or not len(y):
        raise ValueError(
            f"{where}: probabilities {p.shape}, truth {y.shape} of type {y.dtype}; give [N, K] and "
            "whole numbers [N]."
        )
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"{where}: truth holds {y.max()}, but there are {p.shape[1]} classes.")
    return p, y.astype(np.int64)
