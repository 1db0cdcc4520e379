"""One tiny DynaMITE training through the command, and all that it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rllib_metarl.report.metrics import METRICS, markdown_table
from tests.cli.conftest import ROOT, TINY, Ended, finish, start


@pytest.fixture(scope="module")
def trained(folder: Path) -> Ended:
    (folder / "tiny.yaml").write_text(TINY)
    process = start(
        *("train", "file", folder / "tiny.yaml", "--storage-path", folder / "results"),
        *("--json", folder / "summary.json", "--checkpoint-freq", 2),
    )
    return finish(process)


@pytest.fixture(scope="module")
def summary(trained: Ended, folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture(scope="module")
def events(summary: dict):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(summary["directory"]).Reload()


def test_it_ends_well_and_names_the_last_checkpoint(trained, summary):
    assert trained.code == 0, trained.err
    assert trained.lines[-1] == f"checkpoint: {summary['checkpoint']}"
    assert (Path(summary["checkpoint"]) / "rllib_checkpoint.json").is_file()


def test_ray_and_tune_say_nothing(trained):
    assert trained.err == ""
    assert all("Trial" not in line and "INFO" not in line for line in trained.lines)


def test_summary(summary):
    assert summary["env_steps"] == 3 * 240
    assert summary["iterations"] == 3
    assert 0 < summary["env_steps"] / summary["wall_s"] < summary["env_steps_per_s"]
    assert summary["normalised_score"] is not None
    assert summary["return_mean"] is not None


def test_checkpoints_come_as_asked(summary):
    names = sorted(p.name for p in Path(summary["directory"]).glob("checkpoint_*"))
    assert names == ["checkpoint_000000", "checkpoint_000001"]


def test_emitted_tags_are_those_of_the_table(events):
    elsewhere = ("async/", "top/")  # LSTM-A3C's and HLT-DynaMITE-RL's own
    expected = {metric.tag for metric in METRICS if not metric.tag.startswith(elsewhere)}
    assert set(events.Tags()["scalars"]) == expected


def test_the_x_axis_is_env_steps(events):
    assert [e.step for e in events.Scalars("train/return_mean")] == [240, 480, 720]


def test_each_evaluation_is_drawn_once(events):
    assert [e.step for e in events.Scalars("eval/return_mean")] == [480]


def test_the_page_explains_exactly_the_tables_metrics():
    assert markdown_table() in (ROOT / "docs" / "metrics.md").read_text()


def test_evaluate_finds_the_checkpoint_in_a_runs_folder(summary, rllib, tmp_path):
    ended = rllib(
        *("evaluate", summary["directory"], "--episodes", 4, "--json", tmp_path / "e.json")
    )
    assert ended.code == 0, ended.err
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["checkpoint"] == summary["checkpoint"]
    assert result["episodes"] == 4
    assert set(result["references"]) == {"random", "blind", "bayes", "oracle"}
    assert "normalised_score" in ended.out
