"""What can be decoded, from features of which one knows what they tell."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_metarl.evaluation.belief import calibration
from rllib_metarl.evaluation.belief.probe import (
    CannotDecodeError,
    fit_classes,
    fit_numbers,
    number_scores,
)

VALID = np.ones((120, 20), np.bool_)
COINS = np.random.default_rng(0).integers(2, size=(240, 20, 2))


def _halves(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x[:120], x[120:]


def test_what_only_two_things_together_tell_is_decoded() -> None:
    """An exclusive or: the belief says which of two is meant, the observation which is where."""
    features = COINS + np.random.default_rng(1).normal(0, 0.1, COINS.shape)
    truth = COINS[..., 0] ^ COINS[..., 1]
    (x, unseen), (y, y_unseen) = _halves(features), _halves(truth)
    told = fit_classes(x, y, VALID, 2)(unseen)
    assert told.shape == (120, 20, 2)
    scores = calibration.class_scores(told.reshape(-1, 2), y_unseen.ravel())
    assert scores["accuracy"] > 0.99 and scores["log_loss"] < 0.05
    alone = fit_classes(x[..., :1], y, VALID, 2)(unseen[..., :1])
    scores = calibration.class_scores(alone.reshape(-1, 2), y_unseen.ravel())
    assert scores["log_loss"] == pytest.approx(np.log(2), abs=0.01)


def test_a_noisy_truth_is_decoded_as_surely_as_it_can_be() -> None:
    rng = np.random.default_rng(2)
    log_odds = rng.normal(0, 2, (240, 20, 1))
    p = 1 / (1 + np.exp(-log_odds[..., 0]))
    truth = (rng.random(p.shape) < p).astype(np.int64)
    (x, unseen), (y, y_unseen) = _halves(log_odds), _halves(truth)
    told = fit_classes(x, y, VALID, 2)(unseen).reshape(-1, 2)
    ideal = np.stack([1 - p, p], -1)[120:].reshape(-1, 2)
    assert calibration.kl_divergence(ideal, told) < 0.01
    assert calibration.ece(calibration.reliability(told, y_unseen.ravel())) < 0.03


def test_steps_that_were_not_played_are_not_learnt_from() -> None:
    features, truth = COINS[:120].astype(np.float64), COINS[:120, :, 0].copy()
    valid = VALID.copy()
    valid[:, 10:] = False
    truth[:, 10:] = 1 - truth[:, 10:]
    told = fit_classes(features, truth, valid, 2)(features)
    assert (told.argmax(-1)[:, :10] == truth[:, :10]).mean() > 0.99


def test_a_class_that_never_came_is_held_impossible() -> None:
    features, truth = COINS[:120].astype(np.float64), 2 * COINS[:120, :, 0]
    told = fit_classes(features, truth, VALID, 3)(features)
    assert told[..., 1].max() < 1e-6
    np.testing.assert_allclose(told.sum(-1), 1)


def test_why_nothing_can_be_decoded() -> None:
    with pytest.raises(CannotDecodeError, match="the same in all of 120"):
        fit_classes(np.zeros((120, 20, 1)), np.zeros((120, 20), np.int64), VALID, 2)
    with pytest.raises(CannotDecodeError, match="5 meta-episodes or more"):
        fit_numbers(np.zeros((4, 20, 1)), np.zeros((4, 20, 1)), VALID[:4])


def test_numbers_come_with_a_spread_that_fits() -> None:
    """y = sin x with a noise that grows with x, and a number that nothing tells of."""
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 3, (240, 20, 1))
    y = np.sin(2 * x) + rng.normal(size=x.shape) * (0.05 + 0.2 * x)
    numbers = np.concatenate([y, rng.normal(5, 2, x.shape)], -1)
    (x_fit, unseen), (y_fit, y_unseen) = _halves(x), _halves(numbers)
    mean, std = fit_numbers(x_fit, y_fit, VALID)(unseen)
    assert mean.shape == std.shape == (120, 20, 2)
    for level in (0.5, 0.9):
        cdf = calibration.gaussian_cdf(mean, std, y_unseen)
        assert calibration.coverage(cdf, level) == pytest.approx(level, abs=0.04)
    low, high = unseen[..., 0] < 0.5, unseen[..., 0] > 2.5
    assert std[high, 0].mean() > 2.5 * std[low, 0].mean()
    assert std[..., 1].mean() == pytest.approx(2, abs=0.3)


def test_scores_of_numbers() -> None:
    truth = np.array([[1.0], [3.0]])
    scores = number_scores(np.array([[1.0], [2.0]]), np.ones((2, 1)), truth)
    assert scores["rmse"] == pytest.approx(0.5**0.5) and scores["r2"] == pytest.approx(0.5)
    assert scores["nll"] == pytest.approx(0.5 * np.log(2 * np.pi) + 0.25)
