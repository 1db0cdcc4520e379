"""The command on the page makes the run again: its settings, put together, are the run's."""

from __future__ import annotations

import json
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from rllib_metarl.report.reproduce import train_command
from rllib_metarl.report.runs import Run, read_runs
from tests.report.written import GRID, result, write_run

STEPS = "num_env_steps_sampled_lifetime"


def example() -> dict[str, Any]:
    text = files("rllib_metarl.tuned_examples").joinpath("dynamite/gridworld.yaml").read_text()
    return yaml.safe_load(text)["dynamite-gridworld"]


def run_of(folder: Path, steps: int, config: dict[str, Any], algorithm: str = "DynaMITE") -> Run:
    lines = [result(i, steps * i // 100, 1.0) for i in range(1, 101)]
    write_run(folder, lines, algorithm, **{"env": GRID, **config})
    return read_runs([folder])[0]


def options(command: str) -> dict[str, Any]:
    words = shlex.split(command)
    return {
        word: words[i + 1]
        for i, word in enumerate(words)
        if word.startswith("--") and i + 1 < len(words)
    }


def test_a_tuned_example_with_another_seed_is_its_file_and_the_seed(tmp_path: Path) -> None:
    config = example()["config"] | {"seed": 3, "session_masking": True, "gamma": 0.95}
    command = train_command(run_of(tmp_path, 3_002_880, config))
    assert command == "rllib train file tuned_examples/dynamite/gridworld.yaml --seed 3"


def test_a_tuned_example_at_its_larger_scale_is_found(tmp_path: Path) -> None:
    text = files("rllib_metarl.tuned_examples").joinpath("rl2/reacher.yaml").read_text()
    example = yaml.safe_load(text)["rl2-reacher"]
    env = {"env": "DLCMDP/Reacher-v0", "seed": 0, "session_masking": True, "gamma": 0.99}
    config = example["config"] | example["scales"]["cluster"]["config"] | env
    command = train_command(run_of(tmp_path, 100_000_000, config, "RL2"))
    assert command.startswith("rllib train file tuned_examples/rl2/reacher.yaml --scale cluster ")


def test_what_was_changed_in_a_tuned_example_is_told(tmp_path: Path) -> None:
    config = example()["config"] | {"seed": 1, "session_masking": False, "kl_weight": 0.2}
    command = train_command(run_of(tmp_path, 1_000_000, config))
    assert command.startswith("rllib train file tuned_examples/dynamite/gridworld.yaml ")
    given = options(command)
    assert json.loads(given["--config"]) == {"session_masking": False, "kl_weight": 0.2}
    assert json.loads(given["--stop"]) == {STEPS: 1_000_000}


def test_an_example_of_another_algorithm_or_env_is_no_example(tmp_path: Path) -> None:
    config = example()["config"] | {"seed": 0}
    other = run_of(tmp_path / "algorithm", 3_002_880, config, algorithm="MyDynaMITE")
    assert options(train_command(other))["--run"] == "MyDynaMITE"
    elsewhere = run_of(tmp_path / "env", 3_002_880, config | {"env": "My/Grid-v0"})
    assert options(train_command(elsewhere))["--env"] == "My/Grid-v0"


def test_a_run_that_is_like_no_example_is_told_in_full(tmp_path: Path) -> None:
    command = train_command(run_of(tmp_path, 5000, {"gamma": 0.5}, algorithm="VariBAD"))
    given = options(command)
    assert (given["--run"], given["--env"]) == ("VariBAD", GRID)
    assert json.loads(given["--config"]) == {"gamma": 0.5, "session_masking": True}
    assert json.loads(given["--stop"]) == {STEPS: 5000}
    assert "--seed" not in given
