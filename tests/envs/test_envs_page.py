"""The page about environments says what is so."""

from __future__ import annotations

import pathlib
import re

import gymnasium as gym
import numpy as np
import pytest

from rllib_metarl.envs import BatchedEnvs, Stream, make_vector
from rllib_metarl.envs.gridworld.env import reference_returns

OURS = ("Bandit/", "DLCMDP/", "Navigation2D", "PointRobot", "TabularMDP/", "TwoStep", "VariBAD/")
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "envs.md"


def test_every_registered_env_is_on_the_page():
    ids = [name for name in gym.registry if name.startswith(OURS)]
    assert ids and all(f"| `{env_id}` |" in PAGE.read_text() for env_id in ids)


def test_the_reference_returns_on_the_page():
    rows = dict(re.findall(r"^\| `(\w+)`.* \| (-?[\d.]+) \|$", PAGE.read_text(), re.MULTILINE))
    assert {k: float(v) for k, v in rows.items()} == pytest.approx(reference_returns(), abs=0.005)
    exact = (
        "DLCMDP/GridWorldFamily-v0",
        "DLCMDP/GridWorldCycle-v0",
        "VariBAD/GridWorld-v0",
        "Bandit/Bernoulli-v0",
    )
    for env_id in (*exact, "Navigation2D-v0", "PointRobot-v0"):
        about = PAGE.read_text().split(f"For the default `{env_id}`:")[1].split("\n\n")[0]
        about = " ".join(about.split())
        for name, value in make_vector(env_id, 1).reference_returns().items():
            assert f"`{name}` ({value:.2f})" in about


def test_the_pages_example_of_ones_own_env_runs():
    code = PAGE.read_text().split("## Your own environment")[1]
    exec(re.search(r"```python\n(.*?)```", code, re.DOTALL)[1], {"__name__": "page"})
    env = make_vector("Windy/CartPole-v0", 3, stream=Stream(0))
    assert isinstance(env, BatchedEnvs)
    _, infos = env.reset()
    contexts = [infos["context"]]
    for _ in range(300):
        infos = env.step(env.action_space.sample())[4]
        contexts.append(infos["context"])
    assert 0 <= np.min(contexts) < np.max(contexts) < 0.4


def test_the_picture_is_there():
    assert (PAGE.parent / "img" / "gridworld.png").read_bytes().startswith(b"\x89PNG")
