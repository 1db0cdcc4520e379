"""`rllib ladder` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rllib_metarl.cli.main import main

SMALL = {
    "encoder_hidden": 8,
    "encoder_embedding": [8],
    "decoder_hidden": [8],
    "policy_hidden": [8],
    "vae_updates": 1,
}
GRID = {"size": 2, "horizon": 10, "goals": [[0, 0], [1, 1]], "step_reward": -0.2}


def _ladder(*arguments: str) -> int:
    return main(["ladder", "--config", json.dumps(SMALL), "--episodes", "32", *arguments])


def test_all_rungs_are_climbed_and_say_what_they_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ladder.json"
    grid, steps = json.dumps(GRID), "1500"
    code = _ladder(
        *("--env", "DLCMDP/GridWorld-v0", "--env-config", grid, "--steps", steps),
        *("--keep-going", "--json", str(file)),
    )
    printed, report = capsys.readouterr().out, json.loads(file.read_text())
    assert code == 0 and report["horizon"] == 10
    assert list(report["rungs"]) == ["blind", "oracle", "rl2", "varibad", "dynamite"]
    for row in report["rungs"].values():
        assert row["env_steps"] >= 1500 and -2.0 <= row["return_mean"] <= 10.0
        assert row["says"].split()[0] in printed
    assert report["references"]["oracle"] > report["references"]["blind"]
    assert "what it says" in printed and "exact: random" in printed


def test_the_climb_ends_where_the_context_does_not_matter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which goal pays is worth nothing."""
    file = tmp_path / "ladder.json"
    config = json.dumps(GRID | {"step_reward": 0.0, "active_reward": 1e-12})
    code = _ladder(
        *("--env", "DLCMDP/GridWorld-v0", "--env-config", config),
        *("--steps", "500", "--json", str(file)),
    )
    rungs = json.loads(file.read_text())["rungs"]
    assert code == 0 and "Stop here" in rungs["oracle"]["says"]
    assert rungs["rl2"]["return_mean"] is None and "--keep-going" in rungs["rl2"]["says"]


MISTAKES = [
    (["--env", "DLCMDP/GridWord-v0"], "did you mean"),
    (["--env", "CartPole-v1", "--config", '{"encoder_hiden": 8}'], "did you mean 'encoder_hidden'"),
    (["--env", "DLCMDP/GridWorld-v0", "--env-config", '{"hight": 3}'], "cannot be made"),
    (["--env", "CartPole-v1", "--env-config", "[3]"], "--env-config"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ladder", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told and told.startswith("error: ") and "Traceback" not in told


def test_an_env_without_an_end_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "endless_env.py").write_text(
        "import gymnasium as gym\n"
        "class Endless(gym.Env):\n"
        "    observation_space, action_space = gym.spaces.Box(0, 1), gym.spaces.Discrete(2)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        return self.observation_space.low, {}\n"
        "    def step(self, action):\n"
        "        return self.observation_space.low, 0.0, False, False, {}\n"
        "gym.register('Endless-v0', entry_point=Endless)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["ladder", "--env", "Endless-v0", "--plugin", "endless_env"]) == 2
    assert "TimeLimit" in capsys.readouterr().err
