"""The page about environments of other projects: its commands train, with smaller budgets."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pathlib
import re
import shlex
from typing import Any

import numpy as np
import pytest

from rllib_metarl.cli.main import main
from tests.algorithms.small import small_config

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "suites.md"
SUITES = {
    "MiniGrid": "minigrid",
    "POPGym": "popgym",
    "highway-env": "highway_env",
    "NS-Gym": "ns_gym",
    "CARL": "carl.envs",
    "dm_control": "dm_control",
}
# Steps that are quick enough to make a few hundred of, where the suite's own are not.
ARGUMENTS = {"highway-fast-v0": {"config": {"vehicles_count": 1, "duration": 5}}}


def _section(suite: str) -> str:
    return PAGE.read_text().split(f"\n## {suite}\n")[1].split("\n## ")[0]


COMMANDS = [
    (suite, shlex.split(line)[1:])
    for suite in SUITES
    for block in re.findall(r"```console\n(.*?)```", _section(suite), re.DOTALL)
    for line in block.splitlines()
]


def _value(command: list[str], option: str) -> Any:
    return command[command.index(option) + 1] if option in command else None


@pytest.fixture
def installed(
    request: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, list[str]]:
    """A suite that is there and a command of it, in a folder with the files of the page."""
    suite, command = request.param
    monkeypatch.setenv("MUJOCO_GL", "disable")
    pytest.importorskip(SUITES[suite], reason=f"{suite} is not installed: see docs/suites.md")
    if suite == "dm_control":
        _skip_where_mujoco_is_too_new()
    for name, text in re.findall(
        r"`(\w+\.py)`:\n\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL
    ):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return suite, command


def _skip_where_mujoco_is_too_new() -> None:
    from dm_control import suite

    pytest.importorskip("shimmy", reason="shimmy is not installed: see docs/suites.md")
    try:
        suite.load("cartpole", "swingup")
    except AttributeError as error:
        pytest.skip(f"this dm_control does not run with this mujoco: {error}")


def test_every_suite_of_the_page_has_a_command() -> None:
    table = re.findall(r"^\| \[([\w-]+)\]", PAGE.read_text(), re.MULTILINE)
    assert table == list(SUITES) and {suite for suite, _ in COMMANDS} == set(SUITES)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("installed", COMMANDS, indirect=True, ids=lambda x: " ".join(x[1][2:5:2]))
def test_a_command_of_the_page_trains(installed: tuple[str, list[str]]) -> None:
    """Its algorithm, env, plugin and settings, without Ray around them."""
    _, command = installed
    importlib.import_module(_value(command, "--plugin"))
    env = _value(command, "--env")
    given = json.loads(_value(command, "--config") or "{}").get("env_config", {})
    arguments = given | ARGUMENTS.get(env, {})
    config = small_config(_value(command, "--run"), env=env, env_config=arguments)
    config.env_runners(num_envs_per_env_runner=2, rollout_fragment_length="auto")
    algorithm = config.build_algo()
    result = algorithm.train()
    algorithm.stop()
    assert np.isfinite(result["env_runners"]["episode_return_mean"])
    assert not result["env_runners"].get("env_faults")


@pytest.mark.slow
@pytest.mark.parametrize("installed", COMMANDS, indirect=True, ids=lambda x: " ".join(x[1][2:5:2]))
def test_a_command_of_the_page_runs(installed: tuple[str, list[str]]) -> None:
    _, command = installed
    env = _value(command, "--env")
    config = json.loads(_value(command, "--config") or "{}")
    if env in ARGUMENTS:
        config["env_config"] = ARGUMENTS[env]
    config |= {"num_envs_per_env_runner": 2, "evaluate_every_steps": 0}
    small = ["--stop", '{"training_iteration": 2}', "--config", json.dumps(config)]
    assert main([*command, *small, "--storage-path", "runs"]) == 0


def test_ns_gyms_changes_are_labelled_one_step_ahead_and_differ_between_episodes() -> None:
    pytest.importorskip("ns_gym", reason="NS-Gym is not installed: see docs/suites.md")
    env, notified = _ns_cartpole(), []
    for _ in range(3):
        _, info = env.reset(seed=0) if not notified else env.reset()
        assert info["session"] == info["switched"] == 0
        when = []
        for t in range(120):
            told, before = info, env.unwrapped.force_mag
            observation, _, _, _, info = env.step(t % 2)
            assert env.unwrapped.force_mag == pytest.approx(float(told["context"][0]))
            if t:  # a change of the first step is no switch
                assert observation["env_change"]["force_mag"] == told["switched"]
            assert info["session"] == told["session"] + info["switched"]
            assert told["switched"] or t == 0 or env.unwrapped.force_mag == before
            when += [t] if told["switched"] else []
        notified.append(when)
    assert notified[0] != notified[1] != notified[2] and min(map(len, notified)) > 3


def _ns_cartpole() -> Any:
    import gymnasium as gym
    from ns_gym.schedulers import MemorylessScheduler
    from ns_gym.update_functions import RandomWalk
    from ns_gym.wrappers import NSClassicControlWrapper

    from rllib_metarl.envs.adapt import NSGymSessions

    cart = gym.make("CartPole-v1").unwrapped
    changes = {"force_mag": RandomWalk(MemorylessScheduler(0.2, seed=0), sigma=3.0, seed=0)}
    return NSGymSessions(NSClassicControlWrapper(cart, changes, change_notification=True))


@pytest.mark.filterwarnings("ignore")
def test_carls_context_is_a_label_and_hidden() -> None:
    pytest.importorskip("carl.envs", reason="CARL is not installed: see docs/suites.md")
    from carl.envs import CARLCartPole

    from rllib_metarl.envs.adapt import DictContexts

    forces = {i: {"force_mag": force} for i, force in enumerate([2.0, 20.0])}
    env = DictContexts(CARLCartPole(contexts=forces), ["force_mag"])
    assert env.observation_space.shape == (4,)
    seen = []
    for _ in range(4):  # CARL's selector takes one after the other
        _, info = env.reset(seed=0)
        assert env.unwrapped.force_mag == info["context"] == env.step(1)[-1]["context"]
        seen.append(float(info["context"][0]))
    assert sorted(set(seen)) == [2.0, 20.0]
