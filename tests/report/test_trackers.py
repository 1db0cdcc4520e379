"""Weights & Biases and MLflow, offline, by the libraries themselves."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from rllib_metarl.cli.experiment.prepare import prepare
from rllib_metarl.cli.experiment.source import Source
from rllib_metarl.cli.running import loggers
from rllib_metarl.errors import UserError
from rllib_metarl.report.trackers import MLflow, Tracker, WeightsAndBiases
from tests.report.test_tensorboard import trial_of

RESULTS = [
    {"num_env_steps_sampled_lifetime": 240, "env_runners": {"episode_return_mean": 1.5}},
    {
        "num_env_steps_sampled_lifetime": 480,
        "env_runners": {"episode_return_mean": 2.5},
        "evaluation": {"return_mean": 3.0, "at_env_steps": 480},
    },
    {  # the evaluation is the old one
        "num_env_steps_sampled_lifetime": 720,
        "env_runners": {"episode_return_mean": 2.0},
        "evaluation": {"return_mean": 3.0, "at_env_steps": 480},
    },
]


@pytest.fixture
def no_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def played(tracker: Tracker, trials: list[Any]) -> None:
    """Trials side by side, from their start to their end."""
    for trial in trials:
        tracker.log_trial_start(trial)
    for iteration, result in enumerate(RESULTS):
        for trial in trials:
            tracker.log_trial_result(iteration, trial, result)
    tracker.on_experiment_end(trials)


@pytest.mark.usefixtures("shared_ray", "no_service")
def test_mlflow_has_the_same_numbers_as_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed (the extra `loggers`)")
    told: list[str] = []
    tracker = MLflow("sweep", str(tmp_path), told.append)
    trials = [trial_of(tmp_path, number, {"lr": [[0, 1.0], [9, 0.5]]}) for number in range(2)]
    played(tracker, trials)
    played(MLflow("sweep", str(tmp_path), told.append), trials[:1])  # resumed: no run of its own
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    found = client.get_experiment_by_name("sweep")
    runs = {run.data.params["seed"]: run for run in client.search_runs([found.experiment_id])}
    assert set(runs) == {"0", "1"} and runs["1"].info.status == "FINISHED" and told == []
    assert runs["1"].data.params["lr"] == "[[0, 1.0], [9, 0.5]]"
    of = runs["1"].info.run_id
    curve = [(m.step, m.value) for m in client.get_metric_history(of, "train/return_mean")]
    assert curve == [(240, 1.5), (480, 2.5), (720, 2.0)]
    assert [m.step for m in client.get_metric_history(of, "eval/return_mean")] == [480]


def records_of(file: Path) -> list[Any]:
    """What W&B would upload of an offline run: LevelDB's log format, 32 kB blocks of chunks."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, records, parts = file.read_bytes(), 7, [], b""
    while at < len(data):
        if -at % 32768 < 7:
            at += -at % 32768
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(Record.FromString(parts))
            parts = b""
    return records


@pytest.mark.usefixtures("shared_ray", "no_service")
def test_wandb_offline_leaves_a_run_for_each_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed (the extra `loggers`)")
    monkeypatch.setenv("WANDB_MODE", "offline")
    told: list[str] = []
    tracker = WeightsAndBiases("sweep", str(tmp_path), told.append)
    trials = [trial_of(tmp_path, number, {}) for number in range(2)]
    played(tracker, trials)
    assert told == []
    (file,) = Path(trials[1].local_path).glob("wandb/offline-run-*/run-t1.wandb")
    deadline = time.monotonic() + 60  # a process of its own writes the file
    records = records_of(file)
    while not any(one.HasField("exit") for one in records):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        records = records_of(file)
    (run,) = (one.run for one in records if one.WhichOneof("record_type") == "run")
    assert (run.run_id, run.run_group, run.project) == ("t1", "sweep", "rllib_metarl")
    steps = [
        {"/".join(i.nested_key) or i.key: i.value_json for i in one.history.item}
        for one in records
        if one.WhichOneof("record_type") == "history"
    ]
    curve = [(int(s["_step"]), float(s["train/return_mean"])) for s in steps]
    assert curve == [(240, 1.5), (480, 2.5), (720, 2.0)]
    assert ["eval/return_mean" in s for s in steps] == [False, True, False]


@pytest.mark.usefixtures("shared_ray", "no_service")
def test_a_service_that_fails_does_not_end_the_training(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed (the extra `loggers`)")
    told: list[str] = []
    tracker = MLflow("sweep", str(tmp_path), told.append)
    trial = trial_of(tmp_path, 0, {})
    tracker.log_trial_start(trial)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("drop table metrics")
    for iteration, result in enumerate(RESULTS):
        tracker.log_trial_result(iteration, trial, result)
    tracker.log_trial_end(trial)
    assert len(told) == 1 and told[0].startswith("mlflow: nothing more is sent there")


@pytest.mark.usefixtures("no_service")
def test_an_address_or_a_login_that_is_missing_is_told_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed (the extra `loggers`)")
    with pytest.raises(UserError, match="set MLFLOW_TRACKING_URI"):
        MLflow("sweep", "s3://bucket/place", print)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://nowhere")
    with pytest.raises(UserError, match="loggers: mlflow: .*gopher"):
        MLflow("sweep", str(tmp_path), print)
    pytest.importorskip("wandb", reason="wandb is not installed (the extra `loggers`)")
    monkeypatch.setenv("WANDB_MODE", "online")  # wandb remembers what another test has set
    with pytest.raises(UserError, match="nobody is logged in; say `wandb login`"):
        WeightsAndBiases("sweep", str(tmp_path), print)


def written(**keys: Any) -> list[Any]:
    spec = {"run": "PPO", "env": "CartPole-v1", **keys}
    return prepare(Source("a.yaml", {"mine": spec}), writing=False)


@pytest.mark.parametrize("names", [[], ["csv"], ["csv", "tensorboard", "csv"]])
def test_those_that_are_named_are_made(names: list[str], tmp_path: Path) -> None:
    (experiment,) = written(loggers=names, storage_path=str(tmp_path))
    assert len(loggers.made(experiment, print)) == len(set(names))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["wandbb"], "there is no 'wandbb'; did you mean 'wandb'"),
        (["csv", 3], "loggers"),
        ("csv", "loggers"),
        (["mlflow"], "loggers: mlflow needs mlflow.*pip install 'rllib-metarl.loggers.'"),
    ],
)
def test_a_wrong_name_or_a_missing_library_is_told(
    names: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rllib_metarl.cli.experiment import loggers as checks

    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=told):
        written(loggers=names)
