"""The page for the person with an env of their own: it runs as it is written."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from rllib_metarl.cli.main import main

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "your-env.md"
BUDGET = "200_000"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def _commands() -> list[list[str]]:
    """The page's commands without `rllib`: climb, train, evaluate."""
    return [line.split()[1:] for block in _blocks("console") for line in block.splitlines()]


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The user's folder with the files of the page, and the user in it."""
    files = re.findall(r"`([a-z_]+\.[a-z]+)`:\n\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert {name for name, _ in files} == {"radio.py", "radio.yaml", "train_radio.py"}
    for name, text in files:
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _python(folder: pathlib.Path, *arguments: str) -> str:
    """Runs Python there as a shell does; the home folder is the user's too."""
    environment = os.environ | {
        "PYTHONPATH": str(PAGE.parents[1]),
        "OMP_NUM_THREADS": "1",
        "HOME": str(folder),
    }
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _evaluated(folder: pathlib.Path, *changes: str) -> dict[str, float]:
    """What the page's agent gets after the page's training, or one that is changed."""
    _, train, evaluate = _commands()
    _python(folder, "-m", "rllib_metarl.cli.main", *train, *changes)
    assert list(folder.glob("runs/**/checkpoint_*/rllib_checkpoint.json"))
    assert main([*evaluate, "--json", "evaluation.json"]) == 0
    result: dict[str, float] = json.loads((folder / "evaluation.json").read_text())
    return result


def test_the_users_part_is_short() -> None:
    lines = "".join([*_blocks("python"), *_blocks("yaml"), *_blocks("console")]).splitlines()
    assert 30 < sum(bool(line.strip()) for line in lines) < 60


def test_the_ladder_of_the_page_is_climbed(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    climb = _commands()[0]
    climb[climb.index("--steps") + 1] = "3000"
    quick = ["--episodes", "16", "--json", "ladder.json", "--keep-going"]
    assert main([*climb, *quick, "--config", '{"vae_updates": 1, "num_epochs": 2}']) == 0
    report = json.loads((folder / "ladder.json").read_text())
    assert report["horizon"] == 40 and report["random"]["return_mean"] == pytest.approx(10, abs=3)
    for rung, row in report["rungs"].items():
        assert row["env_steps"] >= 3000 and 0 <= row["return_mean"] <= 40, rung
    # Who is told the favourite has begun to play it, even so soon.
    assert report["rungs"]["oracle"]["return_mean"] > 13
    assert "DynaMITE-RL" in capsys.readouterr().out


def test_the_pages_commands_train_and_evaluate(folder: pathlib.Path) -> None:
    result = _evaluated(folder, "--stop", '{"training_iteration": 2}')
    assert result["env"] == "Radio-v0" and result["episodes"] == 256
    assert 5 < result["return_mean"] <= 40


@pytest.mark.slow
def test_the_pages_agent_listens(folder: pathlib.Path) -> None:
    """Who does not gets 10 of 40: each genre is as likely as the others."""
    assert _evaluated(folder)["return_mean"] > 20


@pytest.mark.slow
def test_the_python_way_trains_and_evaluates(folder: pathlib.Path) -> None:
    script = folder / "train_radio.py"
    assert BUDGET in script.read_text()
    script.write_text(script.read_text().replace(BUDGET, "2_000"))
    printed = _python(folder, "train_radio.py")
    assert re.search(r"'return_mean': \d+\.\d+", printed) and "'episodes': 256" in printed


def test_the_python_way_names_what_exists(folder: pathlib.Path) -> None:
    """All but the run itself, which is that of the command line."""
    code, run = (folder / "train_radio.py").read_text().split("results =")
    names: dict[str, object] = {}
    exec(code, names)
    assert names["config"].env == "radio:Radio-v0"  # type: ignore[attr-defined]
    assert names["config"].reward_likelihood == "bernoulli"  # type: ignore[attr-defined]
    assert ".fit()" in run and "evaluate_checkpoint(" in run
