"""Checkpoints from elsewhere: their numbers are read, their code is not run unasked."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rllib_metarl import Checkpoint, checkpoints
from rllib_metarl.algorithms import ALGORITHMS
from rllib_metarl.errors import UserError
from rllib_metarl.evaluation.protocol import evaluate_checkpoint
from tests.algorithms.small import small_config
from tests.cli.conftest import TINY, finish, start

MARK = "rllib_metarl_was_here"


class Payload:
    """A pickle that leaves a mark in the working directory when it is read."""

    def __reduce__(self) -> Any:
        return (open, (MARK, "w"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of one's own, in a directory of one's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def original(shared_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("DynaMITE", tmp_path_factory.mktemp("trial"))


@pytest.fixture
def checkpoint(original: Path, tmp_path: Path) -> Path:
    """A copy whose every pickle is a stranger's."""
    copy = Path(shutil.copytree(original, tmp_path / "checkpoint_000000"))
    poisoned = list(copy.rglob("*.pkl"))
    assert len(poisoned) > 5
    for path in poisoned:
        path.write_bytes(pickle.dumps(Payload()))
    return copy


def saved(name: str, folder: Path, **settings: Any) -> Path:
    algorithm = small_config(name, **settings).build_algo()
    path = folder / "checkpoint_000000"
    algorithm.save_to_path(str(path))
    weights = algorithm.learner_group.get_weights()["default_policy"]
    algorithm.stop()
    np.savez(folder / "expected.npz", **weights)
    return path


def test_the_payload_is_one(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload()))
    assert (tmp_path / MARK).exists()


def test_a_strangers_checkpoint_is_evaluated_without_running_what_it_holds(
    original: Path, checkpoint: Path, tmp_path: Path
) -> None:
    told = evaluate_checkpoint(checkpoint, episodes=16)
    assert not (tmp_path / MARK).exists()
    assert told | {"checkpoint": ""} == evaluate_checkpoint(original, 16) | {"checkpoint": ""}


def test_another_process_evaluates_it_too(checkpoint: Path, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    quick = ("--quick", "--episodes", 4, "--json", told)
    ended = finish(start("evaluate", checkpoint, *quick, cwd=tmp_path))
    assert ended.code == 0, ended.err
    assert json.loads(told.read_text())["episodes"] == 4
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_weights_and_settings_come_back_of_every_algorithm(
    shared_ray: None, tmp_path: Path, name: str
) -> None:
    one_step = {"num_epochs": 1, "minibatch_size": None} if name.startswith("LSTM") else {}
    path = saved(name, tmp_path, seed=5, runners=int(name == "LSTMA3C"), **one_step)
    for folder in path.iterdir():  # the two plain files are enough
        if folder.is_dir():
            shutil.rmtree(folder)
        elif folder.suffix == ".pkl":
            folder.unlink()
    opened = Checkpoint.open(path)
    module, config = opened.module(), opened.config
    with np.load(tmp_path / "expected.npz") as expected:
        state = module.state_dict()
        assert set(state) == set(expected)
        for key, value in expected.items():
            assert torch.equal(state[key], torch.as_tensor(value)), key
    assert opened.algorithm is ALGORITHMS[name].algorithm()
    assert config.get("encoder_hidden", 8) == 8 and config["policy_hidden"] == [8]
    assert config["env_config"]["size"] == 3
    assert evaluate_checkpoint(path, episodes=4, quick=True)["episodes"] == 4


def test_a_checkpoint_of_pickles_alone_is_refused_until_it_is_trusted(
    checkpoint: Path, original: Path, tmp_path: Path
) -> None:
    (checkpoint / "policy.json").unlink()
    with pytest.raises(UserError, match="can run any code.*--trust-checkpoint"):
        evaluate_checkpoint(checkpoint, episodes=4)
    with pytest.raises(UserError, match="can run any code.*--trust-checkpoint"):
        Checkpoint.open(checkpoint)
    assert not (tmp_path / MARK).exists()


def test_weights_that_are_pickles_in_disguise_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    np.savez(checkpoint / "policy.npz", weight=np.array([Payload()], dtype=object))
    with pytest.raises(UserError, match="policy cannot be restored.*weights"):
        evaluate_checkpoint(checkpoint, episodes=4)
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("key", ["algorithm", "module"])
@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "rllib_metarl.cli.main:app"])
def test_names_of_other_code_are_refused(checkpoint: Path, key: str, name: str) -> None:
    path = checkpoint / "policy.json"
    told = json.loads(path.read_text())
    if key == "algorithm":
        told["algorithm"] = name
    else:
        told["module"]["class"] = name
    path.write_text(json.dumps(told))
    with pytest.raises(UserError, match=f"refers to {name}, which is not available"):
        evaluate_checkpoint(checkpoint, episodes=4)


def test_settings_that_name_code_do_not_count_and_an_env_is_not_imported_unasked(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "strangers_module.py").write_text(f"open({MARK!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = checkpoint / "policy.json"
    told = json.loads(path.read_text())
    told["config"]["callbacks_class"] = "strangers_module.Callbacks"
    path.write_text(json.dumps(told))
    evaluate_checkpoint(checkpoint, episodes=4, quick=True)
    told["config"]["env"] = "strangers_module:Env-v0"
    path.write_text(json.dumps(told))
    with pytest.raises(UserError, match="add --plugin strangers_module"):
        evaluate_checkpoint(checkpoint, episodes=4, quick=True)
    assert not (tmp_path / MARK).exists()


def test_the_seal_is_of_this_user_and_of_these_very_files(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(original, tmp_path / "checkpoint_000000"))
    assert not checkpoints.is_own(copy), "nobody has sealed it"
    checkpoints.finish(copy)
    assert checkpoints.is_own(copy)
    more = copy / "learner_group" / "more.pkl"
    more.write_bytes(b"")
    assert checkpoints.is_whole(copy) and not checkpoints.is_own(copy), "a file more"
    more.unlink()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another"))
    assert checkpoints.is_whole(copy) and not checkpoints.is_own(copy), "another user"
    monkeypatch.undo()


def test_a_strangers_run_is_not_resumed_or_restored_unasked(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    experiment = tmp_path / "results" / "tiny"
    experiment.mkdir(parents=True)
    (experiment / "experiment_state-2026-01-01_00-00-00.json").write_text("{}")
    where = ("train", "file", tmp_path / "tiny.yaml", "--storage-path", tmp_path / "results")
    policy = json.loads((checkpoint / "policy.json").read_text())
    policy["config"] = {"env": policy["config"]["env"]}  # fits any network
    (checkpoint / "policy.json").write_text(json.dumps(policy))
    for more in (("--resume",), ("--restore", checkpoint)):
        ended = finish(start(*where, *more))
        assert ended.code == 2 and "--trust-checkpoint" in ended.err, ended.err
        assert "Traceback" not in ended.err
    assert not (tmp_path / MARK).exists()
