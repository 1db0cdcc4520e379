"""The page for the person with an env of their own: it runs as it is written."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import gymnasium as gym
import pytest

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "your-env.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """The user's folder with the two files of the page."""
    (tmp_path / "radio.py").write_text(_blocks("python")[0])
    (tmp_path / "radio.yaml").write_text(_blocks("yaml")[0])
    return tmp_path


def _rllib(folder: pathlib.Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "rllib_metarl.cli.main", *arguments]
    environment = os.environ | {"PYTHONPATH": str(PAGE.parents[1])}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_users_part_is_short() -> None:
    lines = "".join([*_blocks("python"), *_blocks("yaml"), *_blocks("console")]).splitlines()
    assert 0 < sum(bool(line.strip()) for line in lines) < 60


def _commands() -> list[list[str]]:
    """The page's commands without `rllib`: climb, train, evaluate."""
    return [line.split()[1:] for block in _blocks("console") for line in block.splitlines()]


def _evaluated(folder: pathlib.Path, *changes: str) -> dict[str, object]:
    """What the page's agent gets after the page's training, or one that is changed."""
    _, train, evaluate = _commands()
    _rllib(folder, *train, *changes)
    _rllib(folder, *evaluate, "--json", "evaluation.json")
    return json.loads((folder / "evaluation.json").read_text())


def test_the_pages_commands_run(folder: pathlib.Path) -> None:
    climb = _commands()[0]
    climb[climb.index("--steps") + 1] = "300"
    printed = _rllib(folder, *climb, "--episodes", "16", "--keep-going")
    assert "DynaMITE-RL" in printed and "left out" not in printed
    result = _evaluated(folder, "--stop", '{"training_iteration": 2}')
    assert result["env"] == "Radio-v0" and result["episodes"] == 256
    assert 0 <= result["return_mean"] <= 40


@pytest.mark.slow
def test_the_pages_agent_listens(folder: pathlib.Path) -> None:
    """Who does not gets 10 of 40: each genre is as likely as the others."""
    assert _evaluated(folder)["return_mean"] > 15


def test_the_python_way_names_what_exists(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the run itself, which is that of the command line."""
    monkeypatch.syspath_prepend(str(folder))
    code = _blocks("python")[1]
    assert code.rstrip().splitlines()[-1] == 'tune.Tuner("DynaMITE", param_space=config).fit()'
    names: dict[str, object] = {}
    exec("\n".join(code.rstrip().splitlines()[:-1]), names)
    assert names["config"].env == "Radio-v0"  # type: ignore[attr-defined]
    assert "context" in gym.make("Radio-v0").reset(seed=0)[1]
