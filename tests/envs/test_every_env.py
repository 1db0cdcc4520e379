"""What holds for every environment this project registers."""

from __future__ import annotations

import ast
import inspect
import json
import pickle
import re
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import rllib_metarl.envs as envs
from rllib_metarl.envs.gridworld.env import GridWorldEnv
from rllib_metarl.envs.gridworld.family import GridWorldFamilyVectorEnv

OURS = ("Bandit/", "DLCMDP/", "Navigation2D", "PointRobot", "TabularMDP/", "TwoStep", "VariBAD/")
IDS = sorted(name for name in gym.registry if name.startswith(OURS))


def drawn(space: gym.Space, rng: np.random.Generator) -> int | np.ndarray:
    """A random action."""
    if isinstance(space, gym.spaces.Box):
        return rng.uniform(space.low, space.high).astype(space.dtype)
    return int(rng.integers(space.n))


def numbered(space: gym.Space, number: int) -> int | np.ndarray:
    """Action 0 or 1; of a Box, all entries at their lower or upper end."""
    if isinstance(space, gym.spaces.Box):
        return space.high if number else space.low
    return number


def play(env: gym.Env, seed: int, steps: int = 130) -> list[tuple]:
    """Act at random for a while; return all that came back, infos as sorted tuples."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    record = [(observation.tolist(), _plain(info))]
    for _ in range(steps):
        action = drawn(env.action_space, rng)
        observation, reward, terminated, truncated, info = env.step(action)
        record.append((observation.tolist(), reward, terminated, truncated, _plain(info)))
        if terminated or truncated:
            observation, info = env.reset()
            record.append((observation.tolist(), _plain(info)))
    return record


def _plain(info: dict) -> list:
    return sorted((key, np.asarray(value).tolist()) for key, value in info.items())


def test_the_registry_has_them():
    assert all(any(env_id.startswith(prefix) for env_id in IDS) for prefix in OURS)


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_finds_nothing_wrong(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Velocities have no bounds; gymnasium's own robots say so as well.
        warnings.filterwarnings("ignore", message=".*Box observation space m.*imum value is")
        # A matter of taste: torques are in the units of their source.
        warnings.filterwarnings("ignore", message=".*we recommend using a symmetric and normalized")
        check_env(gym.make(env_id, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("env_id", IDS)
def test_equal_seeds_give_equal_trajectories_and_other_seeds_others(env_id):
    assert play(gym.make(env_id), 7) == play(gym.make(env_id), 7)
    assert play(gym.make(env_id), 7) != play(gym.make(env_id), 8)


@pytest.mark.parametrize("env_id", IDS)
def test_a_pickled_env_goes_on_as_the_original(env_id):
    env = gym.make(env_id).unwrapped
    env.reset(seed=1)
    env.step(numbered(env.action_space, 0))
    twin = pickle.loads(pickle.dumps(env))
    done = False
    while not done:
        action = env.action_space.sample()
        ours, theirs = env.step(action), twin.step(action)
        assert ours[1] == theirs[1] and np.array_equal(ours[0], theirs[0])
        assert ours[2:4] == theirs[2:4]
        done = ours[2] or ours[3]
    assert np.array_equal(env.reset()[0], twin.reset()[0])


@pytest.mark.parametrize("env_id", IDS)
def test_labels_are_numeric_arrays_and_no_part_of_the_observation(env_id):
    env = envs.make_vector(env_id, 5, stream=envs.Stream(0))
    observations, infos = env.reset()
    again, _ = env.reset(seed=[1, 2, 3, 4, 5])
    assert observations.dtype == np.float32 and again.shape == observations.shape
    for key in ("context", "session", "switched"):
        assert infos[key].dtype.kind in "fi" and len(infos[key]) == 5
    labels = env.simulator.labels()
    labels["context"][:] = 99.0  # labels are copies: changing them changes nothing
    assert np.array_equal(env.simulator.observe(), again)


def skip_without_opengl(env: gym.Env) -> None:
    """Skip the test where the env needs OpenGL and this machine has no such library at all."""
    if hasattr(env.unwrapped.simulator, "engine"):
        from rllib_metarl.envs.mujoco.rendering import backend

        try:
            backend()
        except RuntimeError as error:
            pytest.skip(str(error))


@pytest.mark.parametrize("env_id", IDS)
def test_pictures_and_text(env_id):
    env = gym.make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    skip_without_opengl(env)
    first = env.render()
    assert first.dtype == np.uint8 and first.ndim == 3 and first.shape[2] == 3
    before = first.copy()
    after = []
    for number in (0, 1, 0, 1):
        env.step(numbered(env.action_space, number))
        after.append(env.render())
    assert any(not np.array_equal(picture, before) for picture in after)
    text = gym.make(env_id, render_mode="ansi")
    text.reset(seed=0)
    before = text.render()
    assert len(before.strip().splitlines()) > 1
    text.step(numbered(text.action_space, 1))
    assert text.render() != before


@pytest.mark.parametrize("env_id", IDS)
def test_misuse_is_told(env_id):
    env = gym.make(env_id).unwrapped
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        env.step(numbered(env.action_space, 0))
    with pytest.raises(RuntimeError, match="needs a render_mode"):
        env.render()
    env.reset(seed=0)
    if isinstance(env.action_space, gym.spaces.Box):
        bad, told = env.action_space.low + np.nan, "actions hold nan; give finite numbers"
    else:
        bad = int(env.action_space.n)
        told = f"action {bad} does not exist; actions are 0 to {bad - 1}"
    with pytest.raises(ValueError, match=told):
        env.step(bad)
    with pytest.raises(ValueError, match="no render_mode 'human'"):
        type(env)(render_mode="human")


@pytest.mark.parametrize("env_id", IDS)
def test_the_docstring_is_a_specification(env_id):
    doc = type(gym.make(env_id).unwrapped).__doc__
    parts = ("Description", "Action space", "Observation space", "Rewards", "Starting state")
    for heading in (*parts, "Episode end", "Latent", "Arguments", "Version history"):
        assert f"## {heading}\n" in doc


@pytest.mark.parametrize("env_id", IDS)
def test_the_docstring_has_the_arguments_of_the_constructor(env_id):
    kind = type(gym.make(env_id).unwrapped)
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(kind).parameters.items()
        if name != "render_mode"
    }
    told = {}
    table = kind.__doc__.split("## Arguments\n")[1].strip().split("\n\n")[0]
    for row in table.splitlines()[2:]:
        names, default, _ = (cell.strip() for cell in row.strip().strip("|").split("|", 2))
        names = re.findall(r"`(\w+)`", names)
        try:
            value = ast.literal_eval(default)
            values = [value] if len(names) == 1 else value
        except SyntaxError:  # in words
            values = [defaults[name] for name in names]
        told |= dict(zip(names, values, strict=True))
    plain = json.loads(json.dumps(defaults))  # tuples and lists are the same to a reader
    assert json.loads(json.dumps(told)) == plain


def test_arguments_are_those_of_one_function_and_no_others():
    with pytest.raises(TypeError, match="unexpected keyword argument 'session'"):
        GridWorldFamilyVectorEnv(2, session={"kind": "never"})

    class Small(GridWorldEnv):
        """With a constructor of its own."""

        def __init__(self, size: int = 2, goals_apart: bool = True) -> None:
            super().__init__(size=size)

    class Named(GridWorldEnv):
        """Without."""

    assert [*inspect.signature(Small).parameters] == ["size", "goals_apart"]
    assert inspect.signature(Named) == inspect.signature(GridWorldEnv)
    assert Named(3, horizon=7).simulator.parameters.size == 3
