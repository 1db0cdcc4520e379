"""One report that the tests of this folder share: two groups, one evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rllib_metarl.cli.main import main
from tests.report.written import evaluation, seeds


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of DynaMITE with three seeds, and with two without masking; seed 0 is evaluated."""
    folder = tmp_path_factory.mktemp("runs") / "experiment"
    first, *_ = seeds(folder, (40.0, 44.0, 45.0), session_masking=True)
    seeds(folder, (30.0, 32.0), session_masking=False)
    made_by = ("rllib_metarl 0.0.1", "Python 3.11", "2 cores <b>")
    (first / "origin.json").write_text(json.dumps(dict(enumerate(made_by))))
    (first / "evaluation.json").write_text(json.dumps(evaluation(first)))
    return folder


@pytest.fixture(scope="session")
def page(experiment: Path) -> Path:
    """The page of those runs, written by the command."""
    file = experiment.parent / "page.html"
    assert main(["report", str(experiment), "--out", str(file), "--title", "Two <agents>"]) == 0
    return file


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command with arguments that must be refused; returns the one-line message."""

    def run(*arguments: object) -> str:
        assert main(["report", *map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and len(error.strip().splitlines()) == 1, error
        return error.strip().removeprefix("error: ")

    return run
