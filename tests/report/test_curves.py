"""Curves over seeds against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rllib_metarl.evaluation.statistics import interval as of_seeds
from rllib_metarl.report.curves import (
    POINTS,
    aligned,
    best_so_far,
    interval,
    iqm_band,
    mean_band,
)
from rllib_metarl.report.groups import Task, tasks_of
from rllib_metarl.report.learning_charts import (
    belief_term_charts,
    best_evaluation,
    held_out_return,
    learning_charts,
    normalised_score,
    performance_profile,
)
from rllib_metarl.report.runs import Curve, read_runs
from rllib_metarl.report.tables import comparison, improvement, measures


def curve(steps: list[float], values: list[float]) -> Curve:
    return Curve(np.array(steps, float), np.array(values, float))


@pytest.fixture(scope="module")
def task(experiment: Path) -> Task:
    return tasks_of(read_runs([experiment]))[0]


def test_equal_steps_are_kept_as_they_are() -> None:
    steps, values = aligned([curve([1, 5], [0, 1]), curve([1, 5], [2, 3])])
    assert steps.tolist() == [1, 5]
    assert values.tolist() == [[0, 1], [2, 3]]


def test_unequal_steps_are_interpolated_where_all_seeds_have_data() -> None:
    steps, values = aligned([curve([0, 10], [0, 10]), curve([4, 8, 20], [4, 0, 12])])
    assert steps.tolist() == [4, 8, 10]
    assert values.tolist() == [[4, 8, 10], [4, 0, 2]]


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    steps, _ = aligned([curve(list(range(5000)), list(range(5000)))])
    assert len(steps) == POINTS
    assert (steps[0], steps[-1]) == (0, 4999)


def test_mean_and_standard_deviation() -> None:
    band = mean_band([curve([1], [1.0]), curve([1], [3.0]), curve([1], [8.0])])
    assert band.middle[0] == 4.0
    # sample standard deviation: sqrt((9 + 1 + 16) / 2)
    assert band.high[0] - band.middle[0] == pytest.approx(13**0.5)


def test_iqm_is_the_mean_of_the_middle_half_and_lies_in_its_interval() -> None:
    band = iqm_band([curve([1], [value]) for value in (0.0, 1.0, 2.0, 3.0, 100.0)])
    assert band.middle[0] == 2.0  # one of five is cut at either end
    assert band.low[0] <= 2.0 <= band.high[0]
    assert band.low[0] < band.high[0]


def test_a_single_seed_has_no_band() -> None:
    for band in (mean_band, iqm_band):
        made = band([curve([1], [7.0])])
        assert made.middle[0] == 7.0 and np.isnan(made.low[0]) and np.isnan(made.high[0])


@pytest.mark.parametrize("seeds", [2, 5, 12])
def test_the_interval_is_that_of_each_point(seeds: int) -> None:
    values = np.random.default_rng(0).normal(size=(seeds, 3))
    told = np.transpose(interval(values))
    assert told == pytest.approx(np.array([of_seeds(column) for column in values.T]), abs=0.05)


def test_best_so_far_never_falls() -> None:
    assert best_so_far(curve([1, 2, 3], [5, 3, 9])).values.tolist() == [5, 5, 9]


def test_charts_show_mean_and_best_of_the_evaluations(task: Task) -> None:
    # finals 40, 44, 45: evaluations are final - 10, final + 2, final
    line = held_out_return(task).lines[1]
    assert line.name == "DynaMITE, 3 seeds"
    assert line.y == pytest.approx([33.0, 45.0, 43.0])
    assert best_evaluation(task).title == "Best Policy Evaluation Reward Over Training"
    assert best_evaluation(task).lines[1].y == pytest.approx([33.0, 45.0, 45.0])


def test_reference_lines_are_blind_bayes_and_oracle(task: Task) -> None:
    levels = {level.name: level.value for level in normalised_score(task).levels}
    assert levels["blind 0.00"] == 0.0 and levels["Bayes-optimal 1.00"] == 1.0
    assert levels["oracle 1.27"] == pytest.approx((50.8 - 29.2) / (46.15 - 29.2))
    assert [level.value for level in held_out_return(task).levels] == [50.8, 46.15, 29.2]


def test_only_reported_terms_of_the_elbo_are_charted(task: Task) -> None:
    assert [chart.key for chart in belief_term_charts(task)] == ["vae_elbo"]


def test_the_profile_is_the_share_of_seeds_above_a_score(task: Task) -> None:
    line = performance_profile(task).lines[0]
    # the worst seed of all is this group's: one of its two seeds is above it
    assert line.y[0] == 0.5 and line.y[-1] == 0.0


def test_a_task_with_one_seed_has_no_chart_over_seeds(tmp_path: Path) -> None:
    from tests.report.written import seeds

    seeds(tmp_path, (40.0,))
    (single,) = tasks_of(read_runs([tmp_path]))
    keys = [chart.key for chart in learning_charts(single)]
    assert "held_out_return" in keys
    assert not {"held_out_return_iqm", "performance_profile"} & set(keys)


def test_the_comparison_has_a_row_a_group(task: Task) -> None:
    table = comparison(task)
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    full = rows["DynaMITE"]
    assert (full["seeds"], full["env steps"]) == ("3", "300")
    # Only one of three seeds was evaluated by `rllib evaluate`: all are told alike.
    assert full["measured"] == "last held-out evaluation"
    assert full["return (reward), IQM [95 %]"].startswith("43.00 [")
    assert full["ECE (1)"] == "0.021"
    assert rows["DynaMITE · session_masking=false"]["ECE (1)"] == "–"


def test_every_seed_evaluated_counts_as_evaluated(tmp_path: Path) -> None:
    import json

    from tests.report.written import evaluation, seeds

    for place, value in zip(seeds(tmp_path, (40.0, 41.0)), (50.0, 52.0), strict=True):
        (place / "evaluation.json").write_text(json.dumps(evaluation(place, value, 0)))
    table = comparison(tasks_of(read_runs([tmp_path]))[0])
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["return (reward), IQM [95 %]"].startswith("51.00 [38.29, 63.71]")
    assert row["measured"] == "rllib evaluate, 512 meta-episodes"


def test_probability_of_improvement(task: Task) -> None:
    table = improvement(task)
    assert table is not None
    assert table.rows[0][1:] == ["–", "0.00"] and table.rows[1][1:] == ["1.00", "–"]


def test_the_table_of_measures_has_units(task: Task) -> None:
    table = measures(task)
    assert table is not None
    rows = {row[0]: row[1] for row in table.rows}
    assert rows["belief: probe: log loss (nats)"] == "0.31"
    assert rows["protocol: recovery steps (env steps)"] == "5.5"
    assert rows["belief: nats from exact (nats)"] == "0.03"
    assert rows["uncertainty: out of distribution: both pay: elbo (1)"] == "0.9"
