"""Scores of probabilities, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from rllib_metarl.envs.bandit.filter import beta_crps
from rllib_metarl.evaluation.belief import calibration
from rllib_metarl.evaluation.belief.termination import termination_scores

P = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.9, 0.1]])
Y = np.array([0, 1, 1, 1])


def test_class_scores() -> None:
    scores = calibration.class_scores(P, Y)
    told = [0.8, 0.4, 0.7, 0.1]
    assert scores["log_loss"] == pytest.approx(-np.mean(np.log(told)))
    assert scores["accuracy"] == 0.5
    assert scores["brier"] == pytest.approx((0.08 + 0.72 + 0.18 + 1.62) / 4)


def test_an_impossible_truth_costs_much_and_is_no_infinity() -> None:
    scores = calibration.class_scores([[1.0, 0.0]], np.array([1]))
    assert scores["log_loss"] == pytest.approx(-math.log(calibration.SMALLEST))


def test_divergence_from_the_exact_posterior() -> None:
    exact, decoded = [[0.5, 0.5], [1.0, 0.0]], [[0.25, 0.75], [0.5, 0.5]]
    by_hand = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert calibration.kl_divergence(exact, decoded) == pytest.approx((by_hand + math.log(2)) / 2)
    assert calibration.kl_divergence(exact, exact) == 0.0


def test_reliability_and_its_error() -> None:
    curve = calibration.reliability(P, Y, bins=2)  # all confidences are above a half
    assert curve == [{"confidence": pytest.approx(0.75), "accuracy": 0.5, "count": 4}]
    assert calibration.ece(curve) == pytest.approx(0.25)
    fine = calibration.reliability(P, Y, bins=10)
    assert [row["count"] for row in fine] == [1, 1, 1, 1]
    # 0.6 wrong, 0.7 right, 0.8 right, 0.9 wrong
    assert calibration.ece(fine) == pytest.approx((0.6 + 0.3 + 0.2 + 0.9) / 4)


def test_the_error_of_one_who_is_too_sure() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1.0, 20_000)
    right = rng.random(20_000) < p
    truth = np.where(right, 0, 1)

    def ece_of(confidence: np.ndarray) -> float:
        probabilities = np.stack([confidence, 1 - confidence], 1)
        return calibration.ece(calibration.reliability(probabilities, truth))

    assert ece_of(p) < 0.01
    sharpened = p**3 / (p**3 + (1 - p) ** 3)
    assert ece_of(sharpened) == pytest.approx((sharpened - p).mean(), abs=0.01)


def test_an_event_happens_as_often_as_foretold() -> None:
    curve = calibration.event_reliability([0.1, 0.1, 0.9, 1.0], [0, 1, 1, 1], bins=5)
    assert curve == [
        {"confidence": pytest.approx(0.1), "accuracy": 0.5, "count": 2},
        {"confidence": pytest.approx(0.95), "accuracy": 1.0, "count": 2},
    ]


def test_coverage_of_gaussians() -> None:
    x = np.random.default_rng(0).normal(size=(20_000, 2))
    for std, half, most in ((1.0, 0.5, 0.9), (0.5, 0.264, 0.589), (2.0, 0.823, 0.999)):
        cdf = calibration.gaussian_cdf(np.zeros_like(x), np.full_like(x, std), x)
        assert calibration.coverage(cdf, 0.5) == pytest.approx(half, abs=0.01)
        assert calibration.coverage(cdf, 0.9) == pytest.approx(most, abs=0.01)


def test_scores_of_a_gaussian() -> None:
    mean, std, truth = np.array(1.0), np.array(2.0), np.array(2.5)
    normal = stats.norm(1.0, 2.0)
    assert calibration.gaussian_nll(mean, std, truth) == pytest.approx(-normal.logpdf(2.5))
    below = integrate.quad(lambda y: normal.cdf(y) ** 2, -20, 2.5)[0]
    above = integrate.quad(lambda y: normal.sf(y) ** 2, 2.5, 25)[0]
    assert calibration.gaussian_crps(mean, std, truth) == pytest.approx(below + above)


@pytest.mark.parametrize(("a", "b", "x"), [(1.0, 1.0, 0.3), (3.0, 2.0, 0.9), (20.0, 7.0, 0.2)])
def test_ranked_probability_score_of_a_beta(a: float, b: float, x: float) -> None:
    cdf = stats.beta(a, b).cdf
    below = integrate.quad(lambda y: cdf(y) ** 2, 0, x)[0]
    above = integrate.quad(lambda y: (1 - cdf(y)) ** 2, x, 1)[0]
    score = beta_crps(np.array(a), np.array(b), np.array(x))
    assert score == pytest.approx(below + above)


def test_switches_that_are_told() -> None:
    scores = termination_scores([0.9, 0.6, 0.2, 0.7, 0.1], [1, 0, 1, 1, 0])
    assert scores["precision"] == scores["recall"] == pytest.approx(2 / 3)
    assert scores["f1"] == pytest.approx(2 / 3)
    assert scores["auroc"] == pytest.approx(5 / 6)  # of 6 pairs one is the wrong way round
    strict = termination_scores([0.9, 0.6, 0.2, 0.7, 0.1], [1, 0, 1, 1, 0], threshold=0.8)
    assert (strict["precision"], strict["recall"]) == (1.0, pytest.approx(1 / 3))


def test_where_nothing_switches_there_is_nothing_to_score() -> None:
    scores = termination_scores([0.9, 0.6], [0, 0])
    assert scores["auroc"] is None and scores["switch_rate"] == 0.0


@pytest.mark.parametrize(
    ("probabilities", "truth", "message"),
    [
        (P[0], Y, r"probabilities \(2,\)"),
        (P, Y[:2], r"truth \(2,\)"),
        (P, Y + 1, "truth holds 2"),
        (P, Y.astype(float), "whole numbers"),
    ],
)
def test_wrong_shapes_are_told(probabilities: object, truth: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibration.class_scores(probabilities, truth)
