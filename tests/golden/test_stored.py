"""Checkpoints of earlier versions are still evaluated, and resumed where they are trusted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from rllib_metarl.algorithms import ALGORITHMS
from rllib_metarl.errors import UserError
from rllib_metarl.evaluation.protocol import evaluate_checkpoint
from tests.cli.conftest import finish, start
from tests.golden.runs import unlike
from tests.golden.stored import EPISODES, FOLDER, KINDS, expected, goes_on, unpack


def test_there_is_one_of_every_algorithm() -> None:
    assert KINDS.keys() >= ALGORITHMS.keys()


@pytest.mark.parametrize("name", KINDS)
def test_a_stored_checkpoint_scores_what_it_did(name: str, tmp_path: Path) -> None:
    told = evaluate_checkpoint(unpack(name, tmp_path), EPISODES, quick=True)
    assert told["run"] == name
    assert told["return_mean"] == pytest.approx(expected(name)["return_mean"], abs=1e-4)


# Its actors are processes of their own, which takes a while.
KINDS_BY_COST = [
    pytest.param(name, marks=pytest.mark.slow if name == "LSTMA3C" else ()) for name in KINDS
]


@pytest.mark.parametrize("name", KINDS_BY_COST)
def test_a_stored_checkpoint_goes_on_as_it_did(name: str, tmp_path: Path, shared_ray: None) -> None:
    algorithm = ALGORITHMS[name].algorithm()
    told = goes_on(unpack(name, tmp_path), algorithm)
    assert np.isfinite(list(told.values())).all()
    if name != "LSTMA3C":  # its actors are as fast as they are
        kept = expected(name)["next"]  # numbers that are new since then have nothing beside them
        assert not unlike({key: told.get(key) for key in kept}, kept, exactly=False)


def test_a_stored_checkpoint_without_its_plain_files_needs_trust(tmp_path: Path) -> None:
    folder = unpack("RL2", tmp_path)
    (folder / "policy.json").unlink()
    with pytest.raises(UserError, match="--trust-checkpoint"):
        evaluate_checkpoint(folder, EPISODES, quick=True)


@pytest.mark.slow
def test_a_stored_run_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two iterations of `rllib train` with `tiny.yaml`, whose folder was moved to here."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another"))  # a user who did not seal it
    shutil.unpack_archive(FOLDER / "run.tar.xz", tmp_path / "runs")
    more = (FOLDER / "tiny.yaml").read_text().replace("iteration: 2", "iteration: 3")
    (tmp_path / "tiny.yaml").write_text(more)
    where = ("train", "file", tmp_path / "tiny.yaml", "--storage-path", tmp_path / "runs")
    refused = finish(start(*where, "--resume"))
    assert refused.code == 2 and "--trust-checkpoint" in refused.err
    ended = finish(start(*where, "--resume", "--trust-checkpoint"))
    assert ended.code == 0, ended.err
    (results,) = (tmp_path / "runs").glob("tiny/*/result.json")
    told = [json.loads(line)["training_iteration"] for line in results.read_text().splitlines()]
    assert told == [1, 2, 3]
