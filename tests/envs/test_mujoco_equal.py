"""The vectorised physics is gymnasium's own, step for step."""

from __future__ import annotations

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from numpy.testing import assert_allclose

from rllib_metarl.envs import Stream, make_vector
from rllib_metarl.envs.mujoco.wrappers import DynamicsContext, TaskContext

ROWS = 3
NO_CONTACTS = {"include_cfrc_ext_in_observation": False}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """MuJoCo leaves a log where it is when gymnasium loads the half-cheetah."""
    monkeypatch.chdir(tmp_path)


class Duel:
    """N rows of a vector environment, and gymnasium's environment put into the same states."""

    def __init__(self, env_id: str, config: dict, theirs: gym.Env, rows: int = ROWS):
        self.env = make_vector(env_id, rows, config, Stream(3))
        self.simulator = self.env.simulator
        self.theirs = [theirs() for _ in range(rows)]
        self.env.reset()
        for i, env in enumerate(self.theirs):
            env.reset(seed=0)
            self.put(i)
        self.rng = np.random.default_rng(0)

    def put(self, i: int) -> None:
        """Give gymnasium's environment i the physical state of row i."""
        state = self.simulator.state
        self.theirs[i].unwrapped.set_state(state.qpos[i], state.qvel[i])

    def step(self):
        """Act at random in both; yield (row, our state, our reward, context, their result)."""
        space = self.env.action_space
        actions = self.rng.uniform(-1, 1, space.shape).astype(space.dtype)
        contexts = self.simulator.labels()["context"].astype(np.float64)
        _, rewards, terminated, truncated, _ = self.env.step(actions)
        assert not (terminated | truncated).any()
        observations = self.simulator.task.observation(self.simulator.state)
        for i, env in enumerate(self.theirs):
            result = env.step(actions[i].astype(np.float64))
            yield i, observations[i], rewards[i], contexts[i], result


def cheetah_reward(context, info):
    return -abs(info["x_velocity"] - context[0]) + 0.5 * info["reward_ctrl"]


def legged_reward(context, info):
    return info["x_velocity"] + info["reward_ctrl"] + 1.0


MODELS_AS_THEY_ARE = {"limit": 0.0, "terminate": False}


@pytest.mark.parametrize(
    ("env_id", "config", "theirs", "reward"),
    [
        ("DLCMDP/HalfCheetahVel-v0", {"p_switch": 0.1}, "HalfCheetah-v5", cheetah_reward),
        ("DLCMDP/HopperParams-v0", MODELS_AS_THEY_ARE, "Hopper-v5", legged_reward),
        ("DLCMDP/Walker2dParams-v0", MODELS_AS_THEY_ARE, "Walker2d-v5", legged_reward),
    ],
)
def test_each_step_is_gymnasiums_own(env_id, config, theirs, reward):
    duel = Duel(env_id, config, lambda: gym.make(theirs).unwrapped)
    for _ in range(60):
        for i, observation, ours, context, (seen, _, _, _, info) in duel.step():
            assert_allclose(observation, seen, rtol=0, atol=1e-10)
            assert_allclose(ours, reward(context, info), rtol=0, atol=1e-10)
            duel.put(i)
    assert np.abs(observation[0]) > 0 and duel.simulator.state.qpos[:, 0].std() > 0


@pytest.mark.parametrize(
    ("task", "reward"),
    [
        ("AntDir", lambda v, m, control: v * m + control + 1.0),
        ("AntVel", lambda v, m, control: 1.05 - abs(v - m) + 0.01 * control),
    ],
)
def test_each_step_of_the_ant_is_gymnasiums_own(task, reward):
    duel = Duel(
        f"DLCMDP/{task}-v0",
        {"terminate": False},
        lambda: gym.make("Ant-v5", **NO_CONTACTS).unwrapped,
        2,
    )
    contacts = []
    for _ in range(25):
        x_before = duel.simulator.state.qpos[:, 0].copy()
        for i, observation, ours, context, (seen, _, _, _, info) in duel.step():
            theirs = duel.theirs[i]
            assert_allclose(observation, seen, rtol=0, atol=1e-10)
            # gymnasium's contact forces are those of the last physics step's middle: once more
            mujoco.mj_forward(theirs.model, theirs.data)
            mujoco.mj_rnePostConstraint(theirs.model, theirs.data)
            contacts.append(theirs.contact_cost)
            velocity = (info["x_position"] - x_before[i]) / theirs.dt
            expected = reward(velocity, context[0], info["reward_ctrl"]) - contacts[-1]
            assert_allclose(ours, expected, rtol=0, atol=1e-10)
            duel.put(i)
    assert max(contacts) > 1e-3  # it did touch the floor


def test_each_step_of_the_reacher_is_gymnasiums_own():
    duel = Duel("DLCMDP/Reacher-v0", {}, lambda: gym.make("Reacher-v5").unwrapped)
    for _ in range(40):
        for i, observation, ours, context, (seen, _, _, _, info) in duel.step():
            theirs = duel.theirs[i]
            assert_allclose(observation[:6], seen[[0, 1, 2, 3, 6, 7]], rtol=0, atol=1e-10)
            mujoco.mj_kinematics(theirs.model, theirs.data)
            tip = theirs.get_body_com("fingertip")[:2]
            assert_allclose(observation[6:], tip, rtol=0, atol=1e-10)
            expected = info["reward_ctrl"] - np.linalg.norm(tip - context)
            assert_allclose(ours, expected, rtol=0, atol=1e-10)
            duel.put(i)


def test_rows_with_other_physics_are_gymnasiums_with_that_physics():
    """Each row has a model of its own; gymnasium's gets the same factors by its wrapper."""
    env_id, config = "DLCMDP/HopperParams-v0", {"terminate": False, "p_switch": 0.2}
    parameters = make_vector(env_id, 1, config).simulator.task.apply.parameters
    bases = [1.3 if name.startswith("damping") else 1.5 for name in parameters]
    duel = Duel(env_id, config, lambda: DynamicsContext(gym.make("Hopper-v5"), parameters, bases))
    seen_contexts = set()
    for _ in range(40):
        for i, env in enumerate(duel.theirs):
            context = duel.simulator.context_of(i)
            seen_contexts.add(tuple(context))
            env.set_context(context)
            duel.put(i)
        for _, observation, _, _, result in duel.step():
            assert_allclose(observation, result[0], rtol=0, atol=1e-10)
    assert len(seen_contexts) > 10


def test_whole_trajectories_are_equal_to_the_last_bit_where_solvers_start_alike():
    """gymnasium's solver starts from its last solution, ours from zero; here both from zero."""
    duel = Duel("DLCMDP/HalfCheetahDir-v0", {}, lambda: gym.make("HalfCheetah-v5").unwrapped)
    cold = mujoco.mjtDisableBit.mjDSBL_WARMSTART
    for model in (duel.simulator.engine.original, *(env.model for env in duel.theirs)):
        model.opt.disableflags |= cold
    for _ in range(199):
        for _, observation, _, _, (seen, *_) in duel.step():
            assert np.array_equal(observation, seen)


@pytest.mark.parametrize("name", ["HalfCheetahWindVel", "HopperParams"])
def test_a_task_on_gymnasiums_env_is_the_native_env(name):
    """The wrapper puts the same task on gymnasium's environment: reward, context, end."""
    env_id, model = f"DLCMDP/{name}-v0", name.removesuffix("WindVel").removesuffix("Params")
    task = make_vector(env_id, 1).simulator.task
    duel = Duel(env_id, {"p_switch": 0.1}, lambda: TaskContext(gym.make(f"{model}-v5"), task), 2)
    for _ in range(12):
        for i, env in enumerate(duel.theirs):
            env.set_context(duel.simulator.context_of(i))
            duel.put(i)
        for _, observation, ours, _, (seen, reward, terminated, _, info) in duel.step():
            assert_allclose(observation, seen, rtol=0, atol=1e-10)
            assert_allclose(ours, reward, rtol=0, atol=1e-10)
            assert not terminated and info["unstable"] == 0


@pytest.mark.parametrize("env_id", ["DLCMDP/HalfCheetahVel-v0", "DLCMDP/HopperParams-v0"])
def test_threads_and_neighbours_change_nothing(env_id):
    def play(rows, threads):
        env = make_vector(env_id, rows, {"threads": threads, "p_switch": 0.1})
        env.reset(seed=list(range(rows)))
        rng, out = np.random.default_rng(0), []
        for _ in range(30):
            actions = rng.uniform(-1, 1, (6, *env.single_action_space.shape))[:rows]
            observations, rewards, *_ = env.step(actions)
            out.append((observations[:2].tobytes(), rewards[:2].tobytes()))
        return out

    assert play(6, 1) == play(6, 3) == play(2, 1)
