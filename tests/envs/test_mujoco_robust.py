"""What goes wrong in a simulation, or on a machine, is told and survived."""

from __future__ import annotations

import copy
import pathlib
import pickle
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

import rllib_metarl
from rllib_metarl.envs import BatchedEnvs, Never, Sessions, Stream, make_vector
from rllib_metarl.envs.mujoco import rendering
from rllib_metarl.envs.mujoco.priors import Uniform
from rllib_metarl.envs.mujoco.simulator import MujocoSimulator
from rllib_metarl.envs.mujoco.task import Camera
from rllib_metarl.envs.mujoco.trial import Trial
from rllib_metarl.envs.mujoco.wrappers import ForceContext

WIND = "DLCMDP/HalfCheetahWindVel-v0"
_ROOT = pathlib.Path(rllib_metarl.__file__).resolve().parent.parent


def poison(env, row, value):
    """Give one row velocities that no simulation survives."""
    engine = env.simulator.engine
    engine.states[row, 1 + engine.nq :] = value


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e12, 3e9])
def test_an_unstable_row_is_truncated_and_counted_and_the_others_go_on(
    value, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    env, twin = (make_vector(WIND, 3, {"inner_episodes": 2}, Stream(1)) for _ in range(2))
    for each in (env, twin):
        each.reset()
    actions = np.full((3, 6), 0.3)
    last, *_ = env.step(actions)
    twin.step(actions)
    poison(env, 1, value)
    observations, rewards, terminated, truncated, infos = env.step(actions)
    expected, twin_rewards, *_ = twin.step(actions)
    assert truncated.tolist() == [False, True, False] and not terminated.any()
    assert rewards[1] == 0.0 and np.array_equal(rewards[[0, 2]], twin_rewards[[0, 2]])
    assert infos["final_info"]["unstable"].tolist() == [0, 1, 0]
    assert infos["unstable"].tolist() == [0, 0, 0] and infos["session"][1] == 0
    assert np.isfinite(observations).all() and np.isfinite(infos["final_obs"]).all()
    assert np.array_equal(observations[[0, 2]], expected[[0, 2]])
    assert env.simulator.unstable_count == 1 and twin.simulator.unstable_count == 0
    for _ in range(3):
        assert np.isfinite(env.step(actions)[0]).all()
    assert env.simulator.unstable_count == 1
    assert not list(tmp_path.iterdir())  # MuJoCo would leave a log file there


def test_forces_beyond_reason_do_not_crash_a_meta_episode():
    env = gym.make(WIND, winds=(1e13, 1e13)).unwrapped
    first, _ = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(np.zeros(6))
    assert (reward, terminated, truncated, info["unstable"]) == (0.0, False, True, 1)
    assert np.array_equal(observation, first)  # the last sound one
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        env.step(np.zeros(6))


def test_gymnasiums_env_in_a_wrapper_survives_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inner = ForceContext(gym.make("HalfCheetah-v5"), "torso")  # whose loading leaves a log
    running = tmp_path / "running"
    running.mkdir()
    monkeypatch.chdir(running)
    env = BatchedEnvs([Sessions(inner, Never(), Uniform([(1e14, 1e14)]))])
    first, infos = env.reset(seed=0)
    assert infos["unstable"].tolist() == [0]
    for count in (1, 2):
        _, rewards, _, truncated, infos = env.step(np.zeros((1, 6)))
        assert truncated.tolist() == [True] and rewards.tolist() == [0.0]
        assert infos["final_info"]["unstable"].tolist() == [1] and inner.unstable_count == count
        assert infos["unstable"].tolist() == [0] and np.isfinite(infos["final_obs"]).all()
    assert not list(running.iterdir())


def test_a_reward_that_is_not_a_number_counts_as_unstable():
    task = copy.copy(make_vector(WIND, 1).simulator.task)
    object.__setattr__(task, "reward", lambda before, after, a, m: np.full(len(a), np.nan))
    simulator = MujocoSimulator(2, task, Trial.make("test"))
    simulator.begin(
        np.arange(2),
        np.random.default_rng(0).random((2, 1000))[:, : simulator.uniforms_per_episode],
    )
    rewards, _, truncated = simulator.advance(np.zeros((2, 6), np.float32))
    assert rewards.tolist() == [0.0, 0.0] and truncated.all() and simulator.unstable_count == 2


@pytest.mark.parametrize("env_id", [WIND, "DLCMDP/Walker2dParams-v0"])
def test_a_pickled_env_has_its_physics_and_its_state(env_id):
    env = make_vector(env_id, 3, {"p_switch": 0.3}, Stream(2))
    env.reset()
    shape = env.action_space.shape
    for _ in range(5):
        env.step(np.full(shape, 0.2))
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(10):
        ours, theirs = env.step(np.full(shape, -0.4)), twin.step(np.full(shape, -0.4))
        assert np.array_equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "half_cheeta.xml"}, "there is no model 'half_cheeta.xml'"),
        ({"observation": lambda state: state.qpos[:, 0]}, r"observation has shape \(2,\)"),
        ({"reward": lambda b, a, u, m: np.zeros((2, 1))}, r"the reward \(2, 1\)"),
        ({"remember": lambda s: s.qpos, "memory_size": 2}, r"memory_size asks for \(2, 2\)"),
    ],
)
def test_a_task_that_does_not_fit_together_is_told(settings, message):
    task = copy.copy(make_vector(WIND, 1).simulator.task)
    for name, value in settings.items():
        object.__setattr__(task, name, value)
    with pytest.raises(ValueError, match=f"HalfCheetahWindVel: .*{message}"):
        MujocoSimulator(2, task, Trial.make("test"))


@pytest.mark.parametrize(
    ("env_id", "config", "message"),
    [
        (WIND, {"threads": 0}, "threads is 0"),
        (WIND, {"horizon": 0}, "HalfCheetahWindVel: horizon is 0"),
        (WIND, {"velocities": (3, 0)}, "the smaller one first"),
        (WIND, {"p_switch": 2}, "p_switch is 2"),
        (WIND, {"velocites": (0, 3)}, "no setting 'velocites'.*did you mean 'velocities'"),
        ("DLCMDP/AntDir-v0", {"directions": "tow"}, "no directions 'tow'.*mean 'two'"),
        ("DLCMDP/HopperParams-v0", {"vary": ["mas"]}, "cannot vary 'mas'.*mean 'mass'"),
        ("DLCMDP/HopperParams-v0", {"vary": "mass"}, "give a list of some of"),
        ("DLCMDP/PointGoal-v0", {"reward": "spars"}, "no reward 'spars'.*mean 'sparse'"),
    ],
)
def test_settings_out_of_range_are_told(env_id, config, message):
    with pytest.raises(ValueError, match=message):
        make_vector(env_id, 1, config)


def test_a_machine_without_opengl_is_told_what_to_install(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering.platform, "system", lambda: "Linux")
    monkeypatch.setattr(rendering.ctypes.util, "find_library", lambda name: None)
    env = make_vector(WIND, 1, {"render_mode": "rgb_array"})
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="apt-get install libegl1 .*apt-get install libosmesa6"):
        env.render()


def test_an_opengl_that_does_not_work_is_told_with_its_reason(monkeypatch):
    def fail(name):
        raise AttributeError("'NoneType' object has no attribute 'glGetError'")

    env = gym.make(WIND, render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(rendering.importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="'osmesa' does not work here .*glGetError.*libosmesa6"):
        env.render()


def test_a_gl_setting_that_mujoco_refuses_is_told():
    done = subprocess.run(
        [sys.executable, "-c", "import rllib_metarl.envs.mujoco.engine"],
        cwd=_ROOT,
        env={"MUJOCO_GL": "bogus", "PATH": "/usr/bin", "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
    )
    assert "MuJoCo cannot be loaded" in done.stderr and "MUJOCO_GL is 'bogus'" in done.stderr


def test_a_camera_that_the_model_lacks_is_told():
    model = make_vector(WIND, 1).simulator.engine.original
    with pytest.raises(ValueError, match="nothing named 'trakc'"):
        rendering._view(model, Camera(fixed="trakc"))


def test_mujoco_is_not_loaded_before_an_env_needs_it():
    script = (
        "import sys; import rllib_metarl.envs as envs\n"
        "import rllib_metarl.envs.mujoco\n"
        "envs.make_vector('DLCMDP/PointGoal-v0', 2).reset(seed=0)\n"
        "print('mujoco' in sys.modules)\n"
        "envs.make_vector('DLCMDP/Reacher-v0', 2).reset(seed=0)\n"
        "print(sorted({'ray', 'torch', 'scipy', 'imageio', 'OpenGL'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "[]"]
