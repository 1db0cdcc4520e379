"""The page for the person with an algorithm of their own: it runs as it is written."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import re
import subprocess
import sys

import gymnasium
import pytest
import yaml

from rllib_metarl.cli.main import main
from rllib_metarl.sampling.stepwise import StepwiseRunner

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "your-algorithm.md"
BLOCKS = re.findall(r"(?:`([a-z_]+\.[a-z]+)`:\n\n)?```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
COMMANDS = [
    line.removeprefix("rllib ")
    for _, kind, block in BLOCKS
    if kind == "console"
    for line in block.splitlines()
]
NAMES = {"reinforce": ("Reinforce", "jukebox"), "recurrent_dqn": ("RecurrentDQN", "coins")}


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The user's folder with the files of the page, and the user in it."""
    files = {name: text for name, _, text in BLOCKS if name}
    assert set(files) == {f"{n}.{kind}" for n in NAMES for kind in ("py", "yaml")} | {"sweep.yaml"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _rllib(folder: pathlib.Path, *arguments: str) -> str:
    environment = os.environ | {
        "PYTHONPATH": str(PAGE.parents[1]),
        "OMP_NUM_THREADS": "1",
        "HOME": str(folder),
    }
    command = [sys.executable, "-m", "rllib_metarl.cli.main", *arguments]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("module", NAMES)
def test_an_algorithm_is_short(module: str, folder: pathlib.Path) -> None:
    lines = (folder / f"{module}.py").read_text().splitlines()
    assert 50 < sum(bool(line.strip()) for line in lines) < 120
    assert "PPO" not in "".join(lines) and max(map(len, lines)) <= 100


@pytest.mark.parametrize("module", NAMES)
def test_its_settings_are_listed(
    module: str, folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of its own, and of RLlib's algorithm below it, but for what would do nothing here."""
    assert main(["config", NAMES[module][0], "--plugin", module]) == 0
    printed = capsys.readouterr().out
    assert f"Settings of {NAMES[module][0]}" in printed and "\nlr: " in printed
    assert "clip_rewards" not in printed
    del sys.modules[module]


@pytest.mark.parametrize("module", NAMES)
def test_it_acts_on_rllibs_own_env_runner(
    module: str, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which per-step callbacks need."""
    monkeypatch.syspath_prepend(str(folder))
    plugin = importlib.import_module(module)
    (spec,) = yaml.safe_load((folder / f"{module}.yaml").read_text()).values()
    config = getattr(plugin, f"{NAMES[module][0]}Config")().environment(spec["env"])
    config.update_from_dict(spec["config"] | {"num_envs_per_env_runner": 2, "hidden": 8})
    config.callbacks(on_episode_step=lambda **given: None)
    config.validate()
    runner = config.env_runner_cls(config=config)
    assert type(runner) is StepwiseRunner
    episodes = runner.sample(num_episodes=2, explore=True)
    learner = config.build_learner(env=gymnasium.make(spec["env"], **config.env_config))
    learnt = learner.update(episodes=episodes, timesteps={})["default_policy"]
    assert learnt["grad_norm"].peek() > 0
    del sys.modules[module]


@pytest.mark.parametrize("module", NAMES)
def test_it_trains_and_evaluates(module: str, folder: pathlib.Path) -> None:
    algorithm, experiment = NAMES[module]
    plugin, small = ["--plugin", module], '{"evaluate_every_steps": 1, "held_out_episodes": 16}'
    stop = ["--stop", '{"training_iteration": 2}', "--config", small]
    train = ["train", "file", f"{module}.yaml", *plugin, "--storage-path", "runs", *stop]
    assert main(train) == 0
    results = next(folder.glob("runs/**/result.json")).read_text().splitlines()
    learnt = json.loads(results[-1])["learners"]["default_policy"]
    loss = "qf_loss" if module == "recurrent_dqn" else "policy_loss"
    assert learnt[loss] and learnt["skipped_updates"] == 0 and "td_error" not in learnt
    evaluated = ["--episodes", "16", "--json", "evaluation.json"]
    assert main(["evaluate", f"runs/{experiment}", *evaluated, *plugin]) == 0
    result = json.loads((folder / "evaluation.json").read_text())
    assert result["run"] == algorithm and result["belief"]["exact"] is not None
    assert "no termination head" in result["absent"]["termination"]


@pytest.mark.slow
@pytest.mark.parametrize("module", NAMES)
def test_every_command_of_the_page_takes_it(module: str, folder: pathlib.Path) -> None:
    """The page writes them for one of the two."""
    algorithm, experiment = NAMES[module]
    told = {"reinforce": module, "Reinforce": algorithm, "jukebox": experiment}
    told |= {"--steps 100000": "--steps 4000 --keep-going --episodes 8"}
    sweep = folder / "sweep.yaml"
    for old, new in told.items():
        sweep.write_text(sweep.read_text().replace(old, new))
    quick = f"{module}.yaml --plugin {module} --storage-path runs"
    for command in COMMANDS:
        for old, new in told.items():
            command = command.replace(old, new)
        if command == f"train file {quick}":
            command += ' --stop {"training_iteration":3}'
        printed = _rllib(folder, *command.replace("'", "").replace('": ', '":').split())
        if command.startswith("ladder"):
            assert re.search(rf"\b{algorithm}: -?\d", printed)
        if command.startswith("config"):
            assert "hidden: " in printed and "held_out_episodes: " in printed
    results = next(folder.glob(f"runs/{experiment}/*/result.json")).read_text().splitlines()
    assert [json.loads(line)["training_iteration"] for line in results] == [1, 2, 3, 4]
    assert algorithm in (folder / "page.html").read_text()
    assert "search" in (folder / "search.html").read_text()


@pytest.mark.slow
def test_off_policy_learns_what_the_page_says(folder: pathlib.Path) -> None:
    """Random throws are worth 0, the exact Bayes-optimal policy 1."""
    train = ["train", "file", "recurrent_dqn.yaml", "--plugin", "recurrent_dqn"]
    _rllib(folder, *train, "--storage-path", "runs", "--json", "summary.json")
    assert json.loads((folder / "summary.json").read_text())["normalised_score"] > 0.9
