"""Static figures: every chart of the page as PNG, SVG and PDF, with its labels."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib.image
import pytest

from rllib_metarl.cli.main import main
from rllib_metarl.report.charts import Chart
from rllib_metarl.report.figures import draw, draw_timeline
from rllib_metarl.report.groups import Task, tasks_of
from rllib_metarl.report.page import parts_of
from rllib_metarl.report.recorded import Recorded
from rllib_metarl.report.runs import read_runs
from rllib_metarl.report.timeline import timeline
from tests.report.written import meta_episode

STARTS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture(scope="module")
def task(experiment: Path) -> Task:
    return tasks_of(read_runs([experiment]))[0]


def charts_of(task: Task) -> dict[str, Chart]:
    return {chart.key: chart for part in parts_of(task) for chart in part.charts}


def test_every_chart_is_drawn_with_the_labels_of_the_page(task: Task) -> None:
    for chart in charts_of(task).values():
        (axes,) = draw(chart).axes
        assert axes.get_title(loc="left") == chart.title
        assert (axes.get_xlabel(), axes.get_ylabel()) == (chart.x_label, chart.y_label)


def test_lines_bands_and_references_are_drawn(task: Task) -> None:
    chart = charts_of(task)["held_out_return"]
    (axes,) = draw(chart).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}
    assert drawn["DynaMITE, 3 seeds"] == pytest.approx(list(chart.lines[1].y))
    assert len(axes.collections) == 2  # a band for each group
    levels = [text.get_text() for text in axes.texts]
    assert levels == ["oracle 50.80", "Bayes-optimal 46.15", "blind 29.20"]


def test_the_return_after_each_gradient_step_is_drawn_with_its_error(task: Task) -> None:
    chart = charts_of(task)["return_by_gradient_step"]
    line = chart.lines[0]
    assert list(line.x) == [0, 1, 2, 3]
    assert line.y[1] == 30.0 and (line.low[1], line.high[1]) == (29.5, 30.5)
    assert [level.name for level in chart.levels][0] == "oracle 50.80"


def test_nothing_of_a_figure_is_cut_off(task: Task) -> None:
    for chart in charts_of(task).values():
        figure = draw(chart)
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert -0.05 < box.x0 and box.x1 < width + 0.05, chart.key
        assert -0.05 < box.y0 and box.y1 < height + 0.05, chart.key


def test_a_meta_episode_is_three_rows_over_one_axis_of_time() -> None:
    charts = timeline(Recorded.model_validate(meta_episode(0)))
    rows = draw_timeline(charts, "A meta-episode").axes
    assert [row.get_ylabel() for row in rows] == [chart.y_label for chart in charts]
    assert rows[-1].get_xlabel() == "time in the meta-episode (env steps)"


@pytest.mark.slow
def test_the_command_writes_all_of_them_in_three_formats(
    experiment: Path, task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path / "page.html"), "--figures", str(tmp_path / "figures")]
    assert main(["report", str(experiment), *arguments]) == 0
    files = list((tmp_path / "figures").iterdir())
    names = {*charts_of(task), "meta_episode_1", "meta_episode_2"}
    assert {file.name for file in files} == {f"{n}.{ending}" for n in names for ending in STARTS}
    assert f"({len(files)} files)" in capsys.readouterr().out
    for file in files:
        assert file.read_bytes().startswith(STARTS[file.suffix[1:]]), file
    picture = matplotlib.image.imread(tmp_path / "figures" / "held_out_return.png")
    assert picture.shape[:2] == (800, 1280) and picture[..., :3].min() < 0.5
    assert re.search(r"<svg", (tmp_path / "figures" / "vae_elbo.svg").read_text())
