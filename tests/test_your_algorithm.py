"""The page for the person with an algorithm of their own: it runs as it is written."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "your-algorithm.md"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """The user's folder with the files of the page."""
    files = re.findall(r"`([a-z_]+\.[a-z]+)`:\n\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert {name for name, _ in files} == {"reinforce.py", "reinforce.yaml"}
    for name, text in files:
        (tmp_path / name).write_text(text)
    return tmp_path


def _rllib(folder: pathlib.Path, *arguments: str) -> str:
    environment = os.environ | {
        "PYTHONPATH": f"{PAGE.parents[1]}{os.pathsep}{folder}",
        "OMP_NUM_THREADS": "1",
        "HOME": str(folder),
    }
    command = [sys.executable, "-m", "rllib_metarl.cli.main", *arguments]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_algorithm_is_short(folder: pathlib.Path) -> None:
    lines = (folder / "reinforce.py").read_text().splitlines()
    assert 50 < sum(bool(line.strip()) for line in lines) < 120
    assert "PPO" not in "".join(lines)


def test_it_trains_and_evaluates(folder: pathlib.Path) -> None:
    train = re.findall(r"```console\nrllib (.*?)\n```", PAGE.read_text(), re.DOTALL)[0].split()
    _rllib(folder, *train, "--stop", '{"training_iteration": 1}')
    checkpoint = str(next(folder.glob("runs/**/checkpoint_000000")))
    plugin = ["--plugin", "reinforce"]
    _rllib(folder, "evaluate", checkpoint, "--episodes", "16", "--json", "evaluation.json", *plugin)
    result = json.loads((folder / "evaluation.json").read_text())
    assert result["run"] == "Reinforce" and result["belief"]["exact"] is not None
    assert "no termination head" in result["absent"]["termination"]


@pytest.mark.slow
def test_it_resumes_and_is_reported(folder: pathlib.Path) -> None:
    train = re.findall(r"```console\nrllib (.*?)\n```", PAGE.read_text(), re.DOTALL)[0].split()
    _rllib(folder, *train)
    experiment = folder / "reinforce.yaml"
    experiment.write_text(experiment.read_text().replace("iteration: 3", "iteration: 5"))
    _rllib(folder, *train, "--resume")
    results = next(folder.glob("runs/**/result.json")).read_text().splitlines()
    assert [json.loads(line)["training_iteration"] for line in results] == [1, 2, 3, 4, 5]
    _rllib(folder, "report", "runs/jukebox", "--out", "page.html")
    assert "Reinforce" in (folder / "page.html").read_text()
