"""What is unfamiliar, and when to abstain, on numbers that can be counted."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_metarl.evaluation.belief import uncertainty
from rllib_metarl.evaluation.belief.uncertainty import OutOfDistributionScorer


def test_who_never_surprises_is_as_unusual_as_who_always_does() -> None:
    reference = np.arange(1, 101)
    odd = uncertainty.unusualness(reference, [0, 1, 50.5, 100, 101])
    assert odd == pytest.approx([1.0, 0.99, 0.0, 0.99, 1.0])


def test_ties_with_the_reference_count_half() -> None:
    assert uncertainty.unusualness([0, 0, 0, 1], [0.0]) == pytest.approx([0.25])


def _statistics(rng: np.random.Generator, surprise: float, entropy: float) -> dict[str, np.ndarray]:
    return {"surprise": rng.normal(surprise, 1, 200), "entropy": rng.normal(entropy, 1, 200)}


def test_odd_meta_episodes_are_told_in_either_direction() -> None:
    rng = np.random.default_rng(0)
    familiar = OutOfDistributionScorer(_statistics(rng, 0, 0))
    odd = {"dull": _statistics(rng, -4, 0), "wild": _statistics(rng, 4, 4)}
    usual = _statistics(rng, 0, 0)
    table = familiar.aurocs(usual, odd | {"the same": _statistics(rng, 0, 0)})
    for kind in ("dull", "wild"):
        assert table[kind]["surprise"] > 0.95 and table[kind]["all_together"] > 0.9
    assert table["dull"]["entropy"] == pytest.approx(0.5, abs=0.1)
    assert table["the same"]["all_together"] == pytest.approx(0.5, abs=0.1)
    raw = uncertainty.one_sided(usual, odd["dull"])
    assert raw["surprise"] < 0.05  # one-sidedly it would be the most familiar of all


def test_the_least_sure_answers_are_given_up_first() -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    probabilities = np.stack([confidence, 1 - confidence], 1)
    curve = uncertainty.risk_coverage(probabilities, np.array([0, 0, 1, 1]), points=4)
    assert [row["coverage"] for row in curve] == [0.25, 0.5, 0.75, 1.0]
    assert [row["risk"] for row in curve] == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert [row["threshold"] for row in curve] == pytest.approx([0.9, 0.8, 0.7, 0.6])
    by_hand = 0.25 * (0 + 0 + 1 / 6 + (1 / 3 + 1 / 2) / 2)
    assert uncertainty.area_under_risk(curve) == pytest.approx(by_hand)


def test_equally_sure_answers_are_given_together() -> None:
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.7, 0.3]])
    curve = uncertainty.risk_coverage(probabilities, np.array([0, 0, 1]))
    assert [row["coverage"] for row in curve] == pytest.approx([1 / 3, 1.0])


def test_a_threshold_keeps_the_share_of_wrong_answers() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1.0, 40_000)
    truth = np.where(rng.random(40_000) < p, 0, 1)
    probabilities = np.stack([p, 1 - p], 1)
    first, second = slice(0, 20_000), slice(20_000, None)
    threshold = uncertainty.abstain_threshold(probabilities[first], truth[first], 0.1)
    assert threshold == pytest.approx(0.8, abs=0.02)  # above 0.8 it is right in 0.9 of all cases
    tried = uncertainty.abstaining(probabilities[second], truth[second], threshold)
    assert tried["risk"] == pytest.approx(0.1, abs=0.01)
    assert tried["coverage"] == pytest.approx(0.4, abs=0.04)


def test_where_even_the_surest_answers_are_wrong_there_is_no_threshold() -> None:
    probabilities = np.tile([0.9, 0.1], (100, 1))
    assert uncertainty.abstain_threshold(probabilities, np.ones(100, np.int64), 0.05) is None
    never = uncertainty.abstaining(probabilities, np.ones(100, np.int64), 0.95)
    assert never == {"coverage": 0.0, "risk": None}


def test_one_lucky_answer_sets_no_threshold() -> None:
    probabilities = np.tile([0.9, 0.1], (1000, 1))
    probabilities[0] = [0.99, 0.01]
    truth = np.ones(1000, np.int64)
    truth[0] = 0
    assert uncertainty.abstain_threshold(probabilities, truth, 0.05) is None


def test_means_leave_out_what_was_not_played() -> None:
    values = np.array([[1.0, 2.0], [3.0, 99.0]])
    valid = np.array([[True, True], [True, False]])
    assert uncertainty.mean_by_step(values, valid) == [2.0, 2.0]
    assert uncertainty.mean_by_episode(values, valid).tolist() == [1.5, 3.0]
