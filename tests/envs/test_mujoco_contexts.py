"""Contexts for any MuJoCo environment: what they change, and what they leave alone."""

from __future__ import annotations

import pathlib
import re

import gymnasium as gym
import numpy as np
import pytest

from rllib_metarl.envs import (
    IID,
    Bernoulli,
    FixedLength,
    MetaEpisode,
    Sessions,
    Stream,
    make_vector,
)
from rllib_metarl.envs.mujoco.priors import Uniform, other_way
from rllib_metarl.envs.mujoco.rewards import Direction, Goal, TargetVelocity
from rllib_metarl.envs.mujoco.wrappers import DynamicsContext, ForceContext, RewardContext

CHEETAH = "HalfCheetah-v5"
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "envs.md"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """MuJoCo leaves a log where it is when gymnasium loads the half-cheetah."""
    monkeypatch.chdir(tmp_path)


def state(env):
    return np.concatenate([env.unwrapped.data.qpos, env.unwrapped.data.qvel])


def run(env, context, steps=10, seed=0):
    """Reset, set a context, push ahead; the end's state."""
    env.reset(seed=seed)
    env.set_context(context)
    for _ in range(steps):
        env.step(np.full(env.action_space.shape, 0.5))
    return state(env)


def test_sessions_on_gymnasiums_half_cheetah_is_all_one_needs():
    env = Sessions(
        RewardContext(gym.make(CHEETAH), TargetVelocity()), Bernoulli(0.2), Uniform([(0.0, 3.0)])
    )
    env.reset(seed=1)
    contexts, last = [], 0.0
    for _ in range(40):
        wanted = float(env._context[0])
        action = env.action_space.sample()
        _, reward, _, _, info = env.step(action)
        effort = np.square(action.astype(np.float64)).sum()
        assert reward == pytest.approx(-abs(info["x_velocity"] - wanted) - 0.05 * effort)
        contexts.append(wanted)
        last = info["session"]
    assert 0.0 <= min(contexts) < max(contexts) <= 3.0 and len(set(contexts)) == last + 1 > 3


@pytest.mark.parametrize(
    ("reward", "context", "expected"),
    [
        (Direction(0.05), [-1.0], lambda v, at, a: -v[0] - 0.05 * a),
        (
            Direction(0.5, survive=1.0, size=2),
            [0.6, 0.8],
            lambda v, at, a: v @ [0.6, 0.8] + 1 - 0.5 * a,
        ),
        (Goal(0.1), [1.0, -2.0], lambda v, at, a: -np.abs(at - [1.0, -2.0]).sum() - 0.1 * a),
        (Goal(0.0, order=2), [3.0, 0.0], lambda v, at, a: -np.hypot(at[0] - 3.0, at[1])),
    ],
)
def test_rewards_of_direction_and_place(reward, context, expected):
    env = RewardContext(gym.make("Ant-v5"), reward)
    env.reset(seed=0)
    env.set_context(context)
    for _ in range(3):
        before = env.unwrapped.data.qpos[:2].copy()
        action = env.action_space.sample().astype(np.float64)
        _, given, *_ = env.step(action)
        at = env.unwrapped.data.qpos[:2]
        value = expected((at - before) / env.unwrapped.dt, at, np.square(action).sum())
        assert given == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("parameter", "array", "rows"),
    [
        ("mass:torso", "body_mass", [1]),
        ("inertia:b*", "body_inertia", [2, 3, 4]),
        ("damping:bthigh,fthigh", "dof_damping", [3, 6]),
        ("stiffness:bshin", "jnt_stiffness", [4]),
        ("armature:ffoot", "dof_armature", [8]),
        ("friction:floor", "geom_friction", [0]),
        ("gear:*", "actuator_gear", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_factors_scale_what_is_named_and_nothing_else(parameter, array, rows):
    env = DynamicsContext(gym.make(CHEETAH), [parameter])
    values = getattr(env.unwrapped.model, array)
    original = values.copy()
    changed = np.zeros(len(values), bool)
    changed[rows] = True
    for factor in (2.0, 3.0, 0.5):  # reckoned from the original model each time
        env.set_context([factor])
        assert np.array_equal(values[changed], factor * original[changed])
        assert np.array_equal(values[~changed], original[~changed])
    env.set_context([1.0])
    assert np.array_equal(values, original)


def test_one_entry_may_scale_several_things_and_bases_make_it_an_exponent():
    env = DynamicsContext(gym.make(CHEETAH), ["mass+inertia:torso", "damping:*"], bases=[1.5, 1.3])
    model = env.unwrapped.model
    mass, inertia, damping = model.body_mass[1], model.body_inertia[1].copy(), model.dof_damping[3]
    env.set_context([2.0, -1.0])
    assert model.body_mass[1] == pytest.approx(2.25 * mass)
    assert model.body_inertia[1] == pytest.approx(2.25 * inertia)
    assert model.dof_damping[3] == pytest.approx(damping / 1.3)
    assert model.body_subtreemass[1] == pytest.approx(model.body_mass[1:].sum())  # MuJoCo knows


def test_damping_of_a_free_joint_reaches_all_its_degrees_of_freedom():
    env = DynamicsContext(gym.make("Ant-v5"), ["armature:root"])
    model = env.unwrapped.model
    model.dof_armature[:] = 1.0
    env._original.dof_armature[:] = 1.0
    env.set_context([3.0])
    assert model.dof_armature.tolist() == [3.0] * 6 + [1.0] * 8


@pytest.mark.parametrize(
    "make",
    [
        lambda env: DynamicsContext(env, ["mass:*"]),
        lambda env: DynamicsContext(env, ["gravity"]),
        lambda env: DynamicsContext(env, ["wind_x"], density=500.0),
        lambda env: DynamicsContext(env, ["density"]),
        lambda env: DynamicsContext(env, ["friction:floor"]),
        lambda env: ForceContext(env, "torso", "xz"),
    ],
)
def test_a_context_changes_what_happens_but_not_where_things_are(make):
    env = make(gym.make(CHEETAH))
    size = env.context_size
    light = run(env, np.full(size, 0.5))
    before = state(env)
    env.set_context(np.full(size, 20.0))
    assert np.array_equal(before, state(env))  # in the middle of an episode
    assert np.array_equal(light, run(env, np.full(size, 0.5)))
    assert not np.allclose(light, run(env, np.full(size, 20.0)), atol=1e-4)


def test_wind_blows_the_way_it_is_told():
    def drift(env, context):
        env.reset(seed=0)
        env.set_context(context)
        for _ in range(10):
            env.step(np.zeros(6))
        return env.unwrapped.data.qpos[0]

    for env in (
        ForceContext(gym.make(CHEETAH), "torso"),
        DynamicsContext(gym.make(CHEETAH), ["wind_x"], density=100.0),
    ):
        assert drift(env, [-30.0]) < drift(env, [0.0]) - 0.01 < drift(env, [30.0]) - 0.02


def test_contexts_on_top_of_each_other_share_one_vector():
    env = gym.make(CHEETAH)
    env = DynamicsContext(RewardContext(env, TargetVelocity(0.0)), ["mass:torso", "damping:*"])
    env = ForceContext(env, "torso")
    assert env.context_size == 4
    mass = env.unwrapped.model.body_mass[1]
    env.reset(seed=0)
    env.set_context([7.0, 2.0, 1.0, 1.5])
    _, reward, _, _, info = env.step(np.zeros(6))
    assert env.unwrapped.model.body_mass[1] == 2.0 * mass
    assert env.unwrapped.data.xfrc_applied[1, 0] == 7.0
    assert reward == pytest.approx(-abs(info["x_velocity"] - 1.5))


def test_inner_episodes_keep_the_context_and_its_physics():
    env = DynamicsContext(gym.make(CHEETAH, max_episode_steps=3).env, ["mass:torso"])
    env = Sessions(gym.wrappers.TimeLimit(env, 3), FixedLength(4), other_way([[2.0], [4.0]]))
    env = MetaEpisode(env, 2)
    env.reset(seed=0)
    original = env.get_wrapper_attr("_original").body_mass[1]
    factors = []
    for _ in range(6):
        info = env.step(np.zeros(6))[4]
        factors.append(env.unwrapped.model.body_mass[1] / original)
        assert factors[-1] == pytest.approx(info["context"][0])
    assert len(set(factors[:3])) == 1 and factors[3] != factors[2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda e: DynamicsContext(e, ["mass:torzo"]), "no body 'torzo'.*did you mean 'torso'"),
        (lambda e: DynamicsContext(e, ["damping:bthig"]), "no joint 'bthig'.*mean 'bthigh'"),
        (lambda e: DynamicsContext(e, ["friction:flor"]), "no geom 'flor'.*mean 'floor'"),
        (lambda e: DynamicsContext(e, ["gear:bfoott"]), "no actuator 'bfoott'.*mean 'bfoot'"),
        (lambda e: DynamicsContext(e, ["mas:torso"]), "no parameter 'mas'.*did you mean 'mass'"),
        (lambda e: DynamicsContext(e, ["mass"]), "'mass' cannot be read; write 'mass:torso'"),
        (lambda e: DynamicsContext(e, ["gravity:torso"]), "'gravity:torso' cannot be read"),
        (lambda e: DynamicsContext(e, "mass:torso"), r"give a list such as \['mass:torso'\]"),
        (lambda e: DynamicsContext(e, ["wind_x"]), "density 0 and viscosity 0.*density=1.2"),
        (lambda e: ForceContext(e, "head"), "no body 'head'"),
        (lambda e: ForceContext(e, "torso", "u"), "axes is 'u'"),
        (lambda e: RewardContext(gym.make("CartPole-v1"), Goal()), "is no MuJoCo environment"),
        (lambda e: Uniform([(3.0, 0.0)]), "range 0 is .*the smaller one first"),
    ],
)
def test_what_does_not_exist_is_told_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        make(gym.make(CHEETAH))


def test_a_context_of_another_size_is_told():
    with pytest.raises(ValueError, match=r"context has shape \(2,\); give 1 numbers"):
        RewardContext(gym.make(CHEETAH), TargetVelocity()).set_context([1.0, 2.0])
    env = Sessions(
        RewardContext(gym.make(CHEETAH), Goal()), Bernoulli(0.1), IID(lambda rng: rng.random())
    )
    with pytest.raises(ValueError, match="give 2 numbers"):
        env.reset(seed=0)


def test_the_pages_example_runs():
    code = PAGE.read_text().split("## Contexts for any MuJoCo environment")[1]
    exec(re.search(r"```python\n(.*?)```", code, re.DOTALL)[1], {"__name__": "page"})
    env = make_vector("Windy/HalfCheetah-v0", 2, stream=Stream(0))
    assert env.reset()[1]["context"].shape == (2, 5)
    for _ in range(5):
        _, rewards, _, _, infos = env.step(np.zeros((2, 6)))
        wanted = infos["context"][:, 4]
        assert rewards == pytest.approx(-np.abs(infos["x_velocity"] - wanted), abs=1e-6)


def test_the_pictures_of_the_page_are_there_and_small():
    names = re.findall(r"!\[\]\((img/envs/[\w-]+\.png)\)", PAGE.read_text())
    assert len(names) >= 9
    for name in names:
        content = (PAGE.parent / name).read_bytes()
        assert content.startswith(b"\x89PNG") and len(content) <= 60_000
