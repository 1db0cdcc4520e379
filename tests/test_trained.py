"""The agents that come with the package do what their pages say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_metarl import load_agent, trained
from rllib_metarl.cli.main import main
from rllib_metarl.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 10 << 20
AGENTS = trained.folders()


def test_together_they_are_small_and_in_single_precision() -> None:
    files = [file for folder in AGENTS.values() for file in folder.iterdir()]
    assert {file.name for file in files} == {"policy.json", "policy.npz", trained.ABOUT}
    assert sum(file.stat().st_size for file in files) < MOST_BYTES
    for folder in AGENTS.values():
        weights = np.load(folder / "policy.npz").values()
        assert all(w.dtype == np.float32 for w in weights if w.size > 1)


@pytest.mark.parametrize("name", AGENTS)
def test_it_reproduces_its_page(name: str, tmp_path: Path) -> None:
    """The page's own protocol: greedy, 512 held-out meta-episodes, the seed 0 of tasks."""
    out = tmp_path / "evaluation.json"
    assert main(["evaluate", f"example:{name}", "--quick", "--seed", "0", "--json", str(out)]) == 0
    result, told = json.loads(out.read_text()), trained.about(AGENTS[name])
    page: dict[str, Any] = json.loads((ROOT / told["page"] / "summary.json").read_text())
    row = page["agents"][told["row"]]
    lowest, highest = row["return_interval"]
    assert result["episodes"] == 512 and told["env_steps"] == row["env_steps"]
    assert lowest <= result["return_mean"] <= highest
    assert result["return_mean"] == pytest.approx(told["return_mean"], abs=0.1)
    assert told["title"] in (ROOT / "tuned_examples" / f"{name}.yaml").read_text()


def test_it_acts_without_a_checkpoint_of_ones_own() -> None:
    agent, env = load_agent("example:dynamite/gridworld"), gym.make("DLCMDP/GridWorld-v0")
    observation, _ = env.reset(seed=0)
    action, state = agent.act(observation, agent.initial_state())
    assert env.action_space.contains(action) and agent.belief(state)["mean"].shape == (5,)


def test_names_are_listed_and_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--trained"]) == 0
    told = capsys.readouterr().out
    assert all(f"example:{name} " in told for name in AGENTS)
    assert max(map(len, told.splitlines())) <= 80
    with pytest.raises(UserError, match="did you mean 'dynamite/gridworld'"):
        load_agent("example:dynamite/gridwrld")


def test_nothing_is_written_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = AGENTS["dynamite/gridworld"]
    before = sorted(folder.parent.iterdir())
    assert main(["evaluate", "example:dynamite/gridworld", "--episodes", "8"]) == 0
    assert sorted(folder.parent.iterdir()) == before and "all of it" not in capsys.readouterr().out
