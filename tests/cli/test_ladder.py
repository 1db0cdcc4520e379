"""`rllib ladder` as a person runs it."""

from __future__ import annotations

import json
import signal
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from rllib_metarl.cli.main import main

SMALL = {
    "encoder_hidden": 8,
    "encoder_embedding": [8],
    "decoder_hidden": [8],
    "policy_hidden": [8],
    "vae_updates": 1,
    "num_epochs": 1,
    "num_envs_per_env_runner": 16,
    "train_batch_size_per_learner": 160,
    "minibatch_size": 80,
}
GRID = {"size": 2, "horizon": 10, "goals": [[0, 0], [1, 1]], "step_reward": -0.2}
RUNGS = ["blind", "oracle", "rl2", "varibad", "dynamite"]


@pytest.fixture
def climb(tmp_path: Path) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Runs the command with small networks; returns its exit code and what `--json` wrote."""

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        file = tmp_path / "ladder.json"
        small = ("--config", json.dumps(SMALL), "--episodes", "8", "--json", str(file))
        code = main(["ladder", *small, *arguments])
        text = file.read_text()
        return code, json.loads(text) if text else {}

    return run


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes a user's module."""

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        monkeypatch.syspath_prepend(str(tmp_path))

    return write


def test_the_climb_ends_where_the_context_does_not_matter(
    climb: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which goal pays is worth nothing."""
    config = json.dumps(GRID | {"step_reward": 0.0, "active_reward": 1e-12})
    code, report = climb(
        *("--env", "DLCMDP/GridWorld-v0", "--env-config", config, "--steps", "500")
    )
    printed, rungs = capsys.readouterr().out, report["rungs"]
    assert code == 0 and report["horizon"] == 10 and list(rungs) == RUNGS
    for row in (rungs["blind"], rungs["oracle"]):
        assert row["env_steps"] >= 500 and row["seconds"] > 0
        assert f"{row['return_mean']:.2f} ± {row['standard_error']:.2f}" in printed
    assert "Stop here" in rungs["oracle"]["says"]
    assert rungs["rl2"]["return_mean"] is None and "--keep-going" in rungs["rl2"]["says"]
    assert all(word in printed for row in rungs.values() for word in row["says"].split())
    assert "exact references: random" in printed


def test_a_plain_env_with_vectors_for_actions_climbs_what_it_can(climb: Any) -> None:
    """And what is named beside the ladder's own rungs."""
    code, report = climb("--env", "Pendulum-v1", "--steps", "300", "--run", "BlindPPO")
    rungs = report["rungs"]
    assert code == 0 and list(rungs) == [*RUNGS, "BlindPPO"]
    assert rungs["BlindPPO"]["env_steps"] >= 300 and rungs["BlindPPO"]["says"]
    assert all(rungs[rung]["return_mean"] < 0 for rung in ("blind", "rl2", "varibad"))
    assert "info['context']" in rungs["oracle"]["says"]
    assert "info['session']" in rungs["dynamite"]["says"]


COUNTING = """
    import signal
    import gymnasium as gym
    from gymnasium.wrappers import TimeLimit

    class Counting(gym.Env):
        observation_space, action_space = gym.spaces.Box(0, 1, (1,)), gym.spaces.Discrete(2)
        made = 0
        def __init__(self):
            Counting.made += 1
        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return self.observation_space.low, {{}}
        def step(self, action):
            {what}
            return self.observation_space.low, float(action), False, False, {{}}

    gym.register("{name}-v0", entry_point=lambda: TimeLimit(Counting(), 10))
"""
# Made for the look at it 16, for the references 1, for the blind rung's training 16 and play 8;
# RL²'s training, which fails, makes another 16, and in VariBAD's the user has had enough.
AT_RL2, AT_VARIBAD = 41, 57


@pytest.fixture
def ctrl_c_works() -> Iterator[None]:
    """Shells start background jobs with SIGINT ignored, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_is_done_stays_in_the_table_whatever_befalls_the_rest(
    climb: Any, plugin: Any, ctrl_c_works: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """RL² meets with a bug of the env, VariBAD with Ctrl-C."""
    ctrl_c = f"if Counting.made > {AT_VARIBAD}: signal.raise_signal(signal.SIGINT)"
    bug = f"float(action) / (Counting.made <= {AT_RL2})"
    plugin("counting_env", COUNTING.format(what=f"{ctrl_c}\n            {bug}", name="Counting"))
    code, report = climb("--env", "Counting-v0", "--plugin", "counting_env", "--steps", "300")
    told, rungs = capsys.readouterr(), report["rungs"]
    assert code == 130 and "stopped" in told.err and "Traceback" not in told.err + told.out
    assert rungs["blind"]["env_steps"] >= 300 and "blind PPO" in told.out
    assert rungs["rl2"]["says"].startswith("failed: ZeroDivisionError")
    assert "(counting_env.py:16)" in rungs["rl2"]["says"]
    assert "stopped" in rungs["varibad"]["says"] and rungs["varibad"]["return_mean"] is None


MISTAKES = {
    "not of meta-episodes": (["--env", "CartPole-v1", "--run", "PPO"], "docs/your-algorithm.md"),
    "unknown env": (["--env", "DLCMDP/GridWord-v0"], "did you mean"),
    "unknown setting": (
        ["--env", "CartPole-v1", "--config", '{"encoder_hiden": 8}'],
        "did you mean 'encoder_hidden'",
    ),
    "wrong type": (["--env", "CartPole-v1", "--config", '{"num_epochs": "two"}'], "'num_epochs'"),
    "wrong value": (
        ["--env", "CartPole-v1", "--config", '{"latent_size": 0}'],
        "whole number from 1",
    ),
    "no single value": (
        ["--env", "CartPole-v1", "--config", '{"lr": {"grid_search": [1e-3]}}'],
        "grid_search",
    ),
    "env argument": (
        ["--env", "DLCMDP/GridWorld-v0", "--env-config", '{"horizn": 3}'],
        "did you mean 'horizon'",
    ),
    "env argument's value": (
        ["--env", "DLCMDP/GridWorld-v0", "--env-config", '{"size": -3}'],
        "cannot be made",
    ),
    "no object": (["--env", "CartPole-v1", "--env-config", "[3]"], "--env-config"),
    "observations": (["--env", "Words-v0"], "Text"),
    "plugin": (["--env", "CartPole-v1", "--plugin", "nowhere_to_be_found"], "does not exist"),
}


class Words(gymnasium.Env[str, int]):
    """Observations that nothing encodes."""

    observation_space = gymnasium.spaces.Text(5)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        return "a", {}

    def step(self, action: int) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return "b", 0.0, False, True, {}


@pytest.fixture
def words() -> Iterator[None]:
    gymnasium.register("Words-v0", Words)
    yield
    gymnasium.registry.pop("Words-v0")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_in_one_line(
    mistake: str, words: None, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, message = MISTAKES[mistake]
    assert main(["ladder", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told and told.startswith("error: ") and len(told.splitlines()) == 1


def test_an_env_that_is_broken_is_told_with_the_place(
    plugin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin("broken_env", COUNTING.format(what="self.goal", name="Broken"))
    assert main(["ladder", "--env", "Broken-v0", "--plugin", "broken_env"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: env Broken-v0") and "(broken_env.py:15)" in told
    assert "no attribute 'goal'" in told and len(told.splitlines()) == 1


def test_an_env_without_an_end_is_named(plugin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    endless = COUNTING.replace("TimeLimit(Counting(), 10)", "Counting()")
    plugin("endless_env", endless.format(what="pass", name="Endless"))
    assert main(["ladder", "--env", "Endless-v0", "--plugin", "endless_env"]) == 2
    assert "TimeLimit" in capsys.readouterr().err
