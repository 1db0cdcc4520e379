"""Sweeps through the command: what they leave, what `rllib sweep` says of it, and going on."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rllib_metarl.cli.main import main
from rllib_metarl.report.sweep_data import BEST, read_sweep
from tests.cli.conftest import Ended, finish, start

SETTINGS = """
    num_env_runners: 0
    num_envs_per_env_runner: 4
    train_batch_size_per_learner: 24
    minibatch_size: 24
    num_epochs: 1
    vae_updates: 1
    vae_batch_size: 4
    env_config: {size: 3, horizon: 6}
    evaluate_every_steps: 24
    held_out_episodes: 4
"""
ASHA = f"""
swept:
  run: DynaMITE
  env: DLCMDP/GridWorld-v0
  search_alg: optuna
  scheduler: asha
  scheduler_config: {{grace_period: 48, reduction_factor: 2}}
  metric: evaluation/return_mean
  num_samples: 3
  max_concurrent_trials: 2
  stop: {{num_env_steps_sampled_lifetime: 144}}
  config:
    seed: 1
    lr: {{loguniform: [1e-4, 1e-2]}}
    belief_conditioning: {{choice: [film, concat]}}
    belief_embedding: {{when: {{belief_conditioning: film}}, then: {{choice: [8, 16]}}, else: 32}}
{SETTINGS}"""
PBT = f"""
evolved:
  run: DynaMITE
  env: DLCMDP/GridWorld-v0
  scheduler: pbt
  scheduler_config: {{perturbation_interval: 2, quantile_fraction: 0.5, resample_probability: 1.0}}
  metric: evaluation/return_mean
  num_samples: 2
  stop: {{training_iteration: 8}}
  config:
    lr: {{loguniform: [1e-4, 1e-2]}}
    vae_lr: {{loguniform: [1e-4, 1e-2]}}
    entropy_coeff: {{uniform: [0.0, 0.1]}}
{SETTINGS}"""


def sweep(folder: Path, text: str, *options: object) -> Ended:
    (folder / "sweep.yaml").write_text(text)
    return finish(
        start(
            *("train", "file", folder / "sweep.yaml", "--storage-path", folder / "results"),
            *("--ray-num-cpus", 2, *options),
        )
    )


def results(trial: Any) -> list[dict[str, Any]]:
    lines = (trial.directory / "result.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def swept(folder: Path) -> Ended:
    return sweep(folder, ASHA, "--json", folder / "summary.json")


@pytest.fixture(scope="module")
def directory(swept: Ended, folder: Path) -> Path:
    assert swept.code == 0, swept.err
    return folder / "results" / "swept"


def test_every_trial_is_accounted_for(directory):
    sweep = read_sweep(directory)
    assert sum(sweep.counts().values()) == len(sweep.trials) == 3
    assert set(sweep.counts()) <= {"finished", "stopped early"}
    for trial in sweep.trials:
        assert trial.env_steps == 144 if trial.status == "finished" else trial.env_steps < 144
        assert trial.trial_id in trial.directory.name


def test_a_searched_value_is_the_one_that_the_learner_reports(directory):
    trials = read_sweep(directory).trials
    assert len({trial.values["lr"] for trial in trials}) == 3
    for trial in trials:
        for result in results(trial):
            reported = result["learners"]["default_policy"]
            assert reported["policy_learning_rate"] == pytest.approx(trial.values["lr"])
        expected = {8, 16} if trial.values["belief_conditioning"] == "film" else {32}
        assert trial.values["belief_embedding"] in expected


def test_lines_tell_what_ended_and_the_best_so_far(swept, directory, folder):
    best = read_sweep(directory).best
    number = best.trials[0].number
    ended = [line for line in swept.lines if re.match(r"trial \d (finished|stopped early)", line)]
    assert len(ended) == 3
    assert f"; best: trial {number}, {best.value:.4g} (lr " in ended[-1]
    told = next(line for line in swept.lines if line.startswith("best: trial"))
    assert told.startswith(f"best: trial {number}, evaluation/return_mean {best.value:.4g}")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["best"]["values"] == best.trials[0].values
    assert summary["checkpoint"] == str(best.trials[0].checkpoint)


def test_the_best_config_is_a_file_that_train_takes(directory, rllib):
    written = yaml.safe_load((directory / BEST).read_text())["swept-best"]
    best = read_sweep(directory).best.trials[0]
    assert {k: written["config"][k] for k in ("lr", "belief_conditioning", "belief_embedding")} == (
        best.values
    )
    assert not {"num_samples", "search_alg", "scheduler", "metric"} & set(written)
    ended = rllib("train", "file", directory / BEST, "--check")
    assert (ended.code, ended.err) == (0, "")
    assert "swept-best: right, DynaMITE, 1 trial" in ended.out


def test_best_by_another_metric_and_to_another_file(directory, rllib, tmp_path):
    metric = "env_runners/episode_return_mean"
    ended = rllib("sweep", "best", directory, "--metric", metric, "--out", tmp_path / "b.yaml")
    assert ended.code == 0, ended.err
    best = read_sweep(directory, metric).best
    assert f"best: trial {best.trials[0].number}, {metric}" in ended.out
    written = yaml.safe_load((tmp_path / "b.yaml").read_text())["swept-best"]
    assert written["config"]["lr"] == best.trials[0].values["lr"]


def test_status_shows_every_trial_the_best_first(directory, rllib, tmp_path):
    ended = rllib("sweep", "status", directory, "--json", tmp_path / "status.json")
    assert ended.code == 0, ended.err
    told = json.loads((tmp_path / "status.json").read_text())
    values = {trial["trial"]: trial["value"] for trial in told["trials"]}
    assert told["best"]["value"] == max(values.values())
    rows = [line.split() for line in ended.lines if re.match(r"\s*\d+ +(finished|stopped)", line)]
    shown = [int(row[0]) for row in rows]
    assert shown == sorted(values, key=lambda number: (-values[number], number))


def test_hparams_hold_what_each_trial_was_given(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    for trial in read_sweep(directory).trials:
        events = EventAccumulator(str(trial.directory)).Reload()
        content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        held = HParamsPluginData.FromString(content).session_start_info.hparams
        assert held["lr"].number_value == pytest.approx(trial.values["lr"])
        assert held["belief_conditioning"].string_value == trial.values["belief_conditioning"]


def test_the_report_of_a_sweep(directory, rllib, tmp_path):
    ended = rllib("report", directory, "--out", tmp_path / "page.html")
    assert ended.code == 0, ended.err
    page = (tmp_path / "page.html").read_text()
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page).group(1))
    assert {"parallel", "curves", "slice-0", "slice-1", "slice-2"} <= set(figures)
    trials = read_sweep(directory).trials
    assert len(figures["parallel"]["data"]) == 3
    lengths = {len(trace["x"]) for trace in figures["curves"]["data"]}
    assert lengths == {len(trial.curve.steps) for trial in trials}
    assert "swept-best:" in page


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("status", "nowhere"), "no such directory"),
        (("best", "."), "not a sweep's directory"),
        (("status", "{directory}", "--metric", "nothing"), "no trial has reported"),
        (("best", "{directory}", "--metric", "nothing"), "no trial has reported nothing yet"),
        (("best", "{directory}", "--out", "/proc/none/x"), "--out /proc/none/x"),
        (("resume", "nowhere"), "no such directory"),
    ],
)
def test_mistakes(arguments, part, directory, rllib):
    ended = rllib("sweep", *(str(a).format(directory=directory) for a in arguments))
    refused = arguments[0] != "status" or arguments[1] == "nowhere"
    assert ended.code == (2 if refused else 0)
    assert part in ended.err + ended.out


def test_a_trials_folder_is_not_a_sweep(directory, rllib):
    trial = read_sweep(directory).trials[0].directory
    ended = rllib("sweep", "status", trial)
    assert ended.code == 2 and f"did you mean {directory}?" in ended.err


@pytest.fixture(scope="module")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evolved")
    ended = sweep(folder, PBT)
    assert ended.code == 0, ended.err
    return folder / "results" / "evolved"


@pytest.mark.slow
def test_an_exploit_takes_weights_over_and_trains_with_new_values(evolved):
    changes = [json.loads(line) for line in (evolved / "pbt_global.txt").read_text().splitlines()]
    assert changes  # [taker, donor, taker's iteration, donor's iteration, old config, new config]
    for *_, old, new in changes:
        assert old["lr"] != new["lr"] and 1e-4 <= new["lr"] <= 1e-2
    trials = read_sweep(evolved).trials
    rates = {
        value
        for trial in trials
        for result in results(trial)
        for value in [result["learners"]["default_policy"]["policy_learning_rate"]]
    }
    trained = {
        new["lr"] for *_, new in changes if any(new["lr"] == pytest.approx(r) for r in rates)
    }
    assert trained  # a trial may be changed once more before it has run
    for trial in trials:
        last = results(trial)[-1]["learners"]["default_policy"]
        assert last["policy_learning_rate"] == pytest.approx(trial.values["lr"])
        assert last["vae_learning_rate"] == pytest.approx(trial.values["vae_lr"])


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on_and_loses_no_trial(tmp_path, wait_for):
    text = ASHA.replace("144", "2400").replace("grace_period: 48", "grace_period: 1200")
    (tmp_path / "sweep.yaml").write_text(text)
    place = tmp_path / "results" / "swept"
    process = start(
        *("train", "file", tmp_path / "sweep.yaml", "--storage-path", tmp_path / "results"),
        *("--ray-num-cpus", 2),
    )
    wait_for(lambda: any(path.stat().st_size for path in place.glob("*/result.json")))
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 130
    before = read_sweep(place)
    values = {trial.trial_id: trial.values for trial in before.trials if trial.env_steps}
    assert set(before.counts()) - {"finished", "stopped early"}
    ended = finish(start("sweep", "resume", place, "--ray-num-cpus", 2))
    assert ended.code == 0, ended.err
    after = read_sweep(place)
    assert sum(after.counts().values()) == len(after.trials) == 3
    assert set(after.counts()) <= {"finished", "stopped early"}
    assert {t.trial_id: t.values for t in after.trials if t.trial_id in values} == values


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool], seconds: float = 200.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.2)

    return wait


def test_the_command_explains_itself(capsys):
    assert main(["sweep", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("status", "best", "resume"))
