"""One tiny DynaMITE training through the command, and all that it leaves behind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from urllib.parse import urlencode

import pytest
from PIL import Image

from rllib_metarl.cli.main import main
from rllib_metarl.report.metric_table import METRICS
from rllib_metarl.report.metrics import markdown_table
from rllib_metarl.report.picture_tags import ENTROPIES, LATENTS, PICTURES, pictures_table
from tests.cli.conftest import ROOT, TINY, Ended, finish, start
from tests.cli.tensorboard_server import Served, serving

# LSTM-A3C's, HLT-DynaMITE-RL's and ContextPPO's own, and those of continuous control.
ELSEWHERE = (
    "adapt/",
    "async/",
    "top/",
    "iida/",
    "train/unstable_episodes",
    "vae/session_prior_loss",
)
ELSEWHERE += ("eval/return_after_", "faults/skipped_tasks", "sac/", "replay/")
ELSEWHERE += ("belief/posterior_", "eval/first_inner_return", "eval/last_inner_return")


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


def test_it_says_at_once_what_takes_seconds(trained):
    assert trained.lines[0] == "loading RLlib and starting Ray"


def test_summary(summary):
    assert summary["env_steps"] == 3 * 240
    assert summary["iterations"] == 3
    assert 0 < summary["env_steps"] / summary["wall_s"] < summary["env_steps_per_s"]
    assert summary["normalised_score"] is not None
    assert summary["return_mean"] is not None


def test_checkpoints_come_as_asked(summary):
    names = sorted(p.name for p in Path(summary["directory"]).glob("checkpoint_*"))
    assert names == ["checkpoint_000000", "checkpoint_000001"]


def test_checkpoints_hold_classes_by_name(summary):
    """Ray's actor is of a class made there, which a pickle would hold whole: 75 kB each time."""
    found = [*Path(summary["directory"]).rglob("class_and_ctor_args.pkl")]
    assert found and not [file for file in found if b"_make_skeleton_class" in file.read_bytes()]


def test_emitted_tags_are_those_of_the_table(events):
    expected = {metric.tag for metric in METRICS if not metric.tag.startswith(ELSEWHERE)}
    assert set(events.Tags()["scalars"]) == expected


def test_the_x_axis_is_env_steps(events):
    assert [e.step for e in events.Scalars("train/return_mean")] == [240, 480, 720]


def test_each_evaluation_is_drawn_once(events):
    assert [e.step for e in events.Scalars("eval/return_mean")] == [480]


def test_the_page_explains_exactly_the_tables_metrics():
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert markdown_table() in page
    assert pictures_table() in page


@pytest.fixture(scope="module")
def served(summary: dict) -> Iterator[Served]:
    with serving(Path(summary["directory"]).parent) as server:
        yield server


def test_every_tag_of_the_page_is_served_by_a_real_tensorboard(served, summary):
    """Every row of both tables in docs/metrics.md, by its tag, from the tab it is said to be in."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    tags = set(re.findall(r"^\| `([\w/]+)` \|", page, re.MULTILINE))
    assert tags == {m.tag for m in METRICS} | {p.tag for p in PICTURES}
    run = Path(summary["directory"]).name
    missing = tags - served.tags(run)
    assert missing == {tag for tag in tags if tag.startswith(ELSEWHERE)}


def test_pictures_are_served_as_pictures(served, summary):
    run = Path(summary["directory"]).name
    for picture in (p for p in PICTURES if p.tab == "Images"):
        (sample,) = served.get("images/images", run=run, tag=picture.tag, sample=0)
        assert sample["step"] == 480
        drawn = Image.open(BytesIO(served.raw(f"images/individualImage?{sample['query']}")))
        assert drawn.format == "PNG" and drawn.width > 400 and drawn.height > 300
        assert len(drawn.getcolors(2**24)) > 50  # not an empty sheet


def test_the_entropy_histogram_counts_every_step_of_every_meta_episode(served, summary):
    run = Path(summary["directory"]).name
    ((_, step, buckets),) = served.get("histograms/histograms", run=run, tag=ENTROPIES)
    assert step == 480
    assert sum(count for _, _, count in buckets) == 4 * 61  # held-out meta-episodes of 60 steps


def test_the_projector_has_latents_with_context_and_session(served, summary):
    run = Path(summary["directory"]).name
    ((embedding),) = served.get("projector/info", run=run)["embeddings"]
    assert embedding["tensorName"] == LATENTS
    assert embedding["tensorShape"] == [240, 5]  # 4 times 60 steps, latent_size
    given = {"run": run, "name": LATENTS}
    lines = served.raw(f"projector/metadata?{urlencode(given)}").decode().splitlines()
    assert lines[0].split("\t") == ["context", "session", "step", "meta_episode"]
    assert len(lines) == 241
    assert {line.split("\t")[0] for line in lines[1:]} <= {"0", "1"}
    assert len(served.raw(f"projector/tensor?{urlencode(given)}")) == 4 * 240 * 5


def test_hparams_compare_trials_by_their_returns(served, summary):
    (group,) = served.session_groups()
    assert group["hparams"] == {"algorithm": "DynaMITE", "seed": 1.0}
    values = {value["name"]["tag"]: value["value"] for value in group["metricValues"]}
    assert values["eval/return_mean"] == pytest.approx(summary["return_mean"])
    assert set(values) == {"eval/return_mean", "eval/normalised_score", "train/return_mean"}


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


@pytest.fixture(scope="module")
def reported(summary: dict, folder: Path) -> str:
    """The page of the run with an evaluation of its own, both written by the command."""
    place = Path(summary["directory"])
    told = place / "evaluation.json"
    assert main(["evaluate", str(place), "--episodes", "16", "--json", str(told)]) == 0
    assert main(["report", str(place), "--out", str(folder / "page.html")]) == 0
    return (folder / "page.html").read_text()


def test_the_report_shows_what_training_and_evaluation_left(reported, summary):
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', reported).group(1))
    returns = figures["task-1-training_return"]["data"][0]
    assert returns["x"] == [240, 480, 720]
    (held_out, *_) = figures["task-1-held_out_return"]["data"]
    assert (held_out["x"], held_out["y"]) == ([480], [pytest.approx(summary["return_mean"])])
    assert {"vae_elbo", "termination_loss", "belief_entropy"} <= {k[7:] for k in figures}
    assert {"reliability", "entropy_by_step", "risk_coverage"} <= {k[7:] for k in figures}
    assert "rllib train --run DynaMITE --env DLCMDP/GridWorld-v0" in reported


def test_the_viewer_shows_a_meta_episode_of_the_evaluation(reported, summary):
    told = json.loads((Path(summary["directory"]) / "evaluation.json").read_text())
    episode = told["meta_episodes"][0]
    viewer = json.loads(re.search(r'id="viewers">(.*?)</script>', reported).group(1))["task-1"]
    views = {key.rpartition("-")[2]: view for key, view in viewer["views"].items()}
    assert set(views) == {"grid", "goals", "latent", "timeline"}
    assert len(viewer["texts"]) == len(told["meta_episodes"])
    for t, (row, column) in enumerate(episode["frame"]["position"]):
        *_, agent = views["grid"]["scenes"][0][t]
        assert (agent["y"], agent["x"]) == ([row], [column])
        decoded, exact = views["goals"]["scenes"][0][t]
        for heat, who in ((decoded, "decoded"), (exact, "exact")):
            cells = [heat["z"][y][x] for y, x in episode["frame"]["goals"]]
            assert cells == pytest.approx(episode[who][t], abs=1e-5)
