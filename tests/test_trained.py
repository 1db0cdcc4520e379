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


def row_of(name: str) -> dict[str, Any]:
    """What the agent's page says of its algorithm."""
    told = trained.about(AGENTS[name])
    page: dict[str, Any] = json.loads((ROOT / told["page"] / "summary.json").read_text())
    row: dict[str, Any] = page["agents"][told["row"]]
    return row


def evaluated(name: str, folder: Path, *options: str) -> dict[str, Any]:
    out = folder / "evaluation.json"
    assert main(["evaluate", f"example:{name}", "--quick", "--json", str(out), *options]) == 0
    result: dict[str, Any] = json.loads(out.read_text())
    return result


@pytest.mark.parametrize("name", AGENTS)
def test_what_is_told_of_it_is_its_pages(name: str) -> None:
    told, row = trained.about(AGENTS[name]), row_of(name)
    lowest, highest = row["return_interval"]
    assert lowest <= told["return_mean"] <= highest
    assert told["env_steps"] == pytest.approx(row["env_steps"], rel=0.01)
    assert told["title"] in (ROOT / "tuned_examples" / f"{name}.yaml").read_text()
    assert load_agent(f"example:{name}").initial_state()


@pytest.mark.parametrize("name", ["dynamite/gridworld"])
def test_one_reproduces_its_page(name: str, tmp_path: Path) -> None:
    """The page's own protocol, which needs no option: greedy, its tasks, as many of them."""
    result, told = evaluated(name, tmp_path), trained.about(AGENTS[name])
    assert (result["episodes"], result["held_out_seed"]) == (told["episodes"], 0)
    assert result["return_mean"] == pytest.approx(told["return_mean"], abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", AGENTS)
def test_each_reproduces_its_page(name: str, tmp_path: Path) -> None:
    told = trained.about(AGENTS[name])["return_mean"]
    assert evaluated(name, tmp_path)["return_mean"] == pytest.approx(told, rel=0.003)
    assert evaluated(name, tmp_path, "--seed", "1")["return_mean"] != told


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
