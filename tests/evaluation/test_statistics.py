"""Statistics over seeds, against numbers worked out by hand and known tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from rllib_metarl.evaluation.statistics import (
    interval,
    interval_of,
    iqm,
    performance_profile,
    permutation_p,
    probability_of_improvement,
)


def test_the_middle_half_is_averaged() -> None:
    assert iqm([100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -90.0]) == pytest.approx(3.5)
    assert iqm([[1.0, 100.0], [-90.0, 3.0]]) == pytest.approx(2.0)  # of all runs of both tasks
    by_task = iqm([[0.0, 10.0], [1.0, 20.0], [2.0, 30.0], [9.0, 90.0]], axis=0)
    assert by_task.tolist() == [1.5, 25.0]


@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
@pytest.mark.parametrize("heavy", [False, True])
def test_an_interval_of_few_seeds_holds_the_truth_as_often_as_it_says(
    seeds: int, heavy: bool
) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.standard_t(4, (1000, seeds)) if heavy else rng.normal(size=(1000, seeds))
    held = [low <= 0 <= high for low, high in map(interval, drawn)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.025)


def test_an_interval_of_many_seeds_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = [low <= 0 <= high for low, high in (interval(rng.normal(size=12)) for _ in range(60))]
    assert 0.85 < np.mean(held) <= 1.0


def test_a_permutation_test_counts_the_ways_to_divide_the_seeds() -> None:
    assert permutation_p([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == pytest.approx(2 / 20)
    assert permutation_p(range(5), range(5, 10)) == pytest.approx(2 / 252)
    assert permutation_p([1.0, 2.0], [1.0, 2.0]) == 1.0


def test_of_one_seed_no_more_is_known() -> None:
    assert interval([3.0]) == [3.0, 3.0]


def test_each_task_is_redrawn_apart() -> None:
    """Between tasks scores differ by 100, within one by nothing: no redrawing moves the mean."""
    scores = np.array([[0.0, 100.0]] * 5)
    assert interval(scores) == pytest.approx([50.0, 50.0])
    mixed = interval(scores.ravel())  # as if it were one task
    assert mixed[1] - mixed[0] > 20


def test_an_interval_of_any_statistic() -> None:
    ends = interval_of(probability_of_improvement, [3.0, 4.0, 5.0], [0.0, 1.0, 2.0])
    assert ends.tolist() == [1.0, 1.0]
    scores = [0.0, 1.0, 2.0, 3.0]
    profile = interval_of(lambda x: performance_profile(x, [0.5, 2.5]), scores)
    assert profile.shape == (2, 2) and (profile[0] < profile[1]).all()


def test_a_profile_is_the_share_of_runs_above_each_score() -> None:
    scores = [[0.0, 1.0], [2.0, 3.0]]
    assert performance_profile(scores, [-1.0, 0.0, 1.5, 3.0]).tolist() == [1.0, 0.75, 0.5, 0.0]


def test_improvement_is_the_u_statistic() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(0.5, 1, 9), rng.normal(0, 1, 7)
    u = stats.mannwhitneyu(ours, theirs).statistic
    assert probability_of_improvement(ours, theirs) == pytest.approx(u / 63)
    assert probability_of_improvement([1.0, 2.0], [1.0, 2.0]) == 0.5
    assert probability_of_improvement([[1.0, 0.0]], [[0.0, 1.0]]) == 0.5  # mean over two tasks


def test_scores_of_other_tasks_are_not_compared() -> None:
    with pytest.raises(ValueError, match="2 and 1 tasks"):
        probability_of_improvement([[1.0, 2.0]], [1.0])
    with pytest.raises(ValueError, match=r"scores have shape \(0,\)"):
        interval([])
