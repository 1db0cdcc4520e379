"""Native vector environments: the same as single ones, only faster."""

from __future__ import annotations

import inspect
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import rllib_metarl.envs as envs
from rllib_metarl.envs import BatchedEnvs, Stream, make_vector

OURS = ("Bandit/", "DLCMDP/", "Navigation2D", "PointRobot", "TabularMDP/", "TwoStep", "VariBAD/")
IDS = sorted(name for name in gym.registry if name.startswith(OURS))
LABELS = ("context", "session", "switched")


def drawn(env, rng: np.random.Generator) -> np.ndarray:
    """Random actions for all sub-envs."""
    space = env.single_action_space
    if isinstance(space, gym.spaces.Box):
        return rng.uniform(space.low, space.high, env.action_space.shape).astype(space.dtype)
    return rng.integers(0, space.n, env.num_envs)


def short(env_id: str) -> dict:
    """Settings with which the meta-episodes of a robot are short, and all equally long."""
    if isinstance(gym.make(env_id).action_space, gym.spaces.Discrete):
        return {}
    entry = gym.envs.registration.load_env_creator(gym.spec(env_id).entry_point)
    wanted = {"horizon": 40, "terminate": False, "inner_episodes": 1}
    return {key: wanted[key] for key in wanted if key in inspect.signature(entry).parameters}


def run(env, steps: int = 250, seed: int | list[int] | None = None) -> list[dict]:
    """Random play; one dict of all that came back for each step, the reset first."""
    rng = np.random.default_rng(0)
    observations, infos = env.reset(seed=seed)
    record = [{"obs": observations, **infos}]
    for _ in range(steps):
        actions = drawn(env, rng)
        observations, rewards, terminated, truncated, infos = env.step(actions)
        ends = {"rewards": rewards, "terminated": terminated, "truncated": truncated}
        record.append({"obs": observations, **ends, **infos})
    return record


def length_of(env_id: str) -> int:
    """How many steps a meta-episode has."""
    config = short(env_id)
    record = run(make_vector(env_id, 1, config), 50 if config else 300, seed=0)
    return next(step for step, came in enumerate(record) if "final_obs" in came)


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return np.array_equal(a, b) and np.asarray(a).dtype == np.asarray(b).dtype


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("seed", [11, [5, 3, 9, 9]])
def test_single_and_vector_trajectories_agree_for_the_same_seeds(env_id, seed):
    config = short(env_id)
    steps = 90 if config else 250
    native = run(make_vector(env_id, 4, config), steps, seed)
    singles = run(BatchedEnvs([gym.make(env_id, **config) for _ in range(4)]), steps, seed)
    assert all(same(a, b) for a, b in zip(native, singles, strict=True))


@pytest.mark.parametrize("env_id", IDS)
def test_a_number_seeds_the_envs_as_gymnasium_does(env_id):
    assert same(
        run(make_vector(env_id, 3), 9, seed=5)[9], run(make_vector(env_id, 3), 9, [5, 6, 7])[9]
    )


@pytest.mark.parametrize("env_id", IDS)
def test_the_last_observation_of_a_meta_episode_comes_beside_the_first_of_the_next(env_id):
    env, length = make_vector(env_id, 4, short(env_id)), length_of(env_id)
    record = run(env, length + 1, seed=1)
    twin = run(make_vector(env_id, 4, short(env_id)), length + 1, seed=1)
    last, after = record[length], record[length + 1]
    assert (last["truncated"] ^ last["terminated"]).all()
    assert last["final_obs"].shape == last["obs"].shape and last["final_obs"].dtype == np.float32
    assert set(last["final_info"]) == set(env.simulator.labels())
    assert not any("final_obs" in step for step in record[:length]) and "final_obs" not in after
    assert (last["session"] == 0).all() and (last["switched"] == 0).all()
    assert same(last, twin[length])
    assert not np.array_equal(last["final_info"]["context"], last["context"])


@pytest.mark.parametrize("env_id", IDS)
def test_what_was_returned_does_not_change_later(env_id):
    env = make_vector(env_id, 3)
    record = run(env, 70, seed=2)
    copies = pickle.loads(pickle.dumps(record))
    run(env, 70)
    assert all(same(a, b) for a, b in zip(record, copies, strict=True))


@pytest.mark.parametrize("env_id", IDS)
def test_the_generators_state_brings_back_the_coming_meta_episodes(env_id):
    env = make_vector(env_id, 3, stream=Stream(4))
    run(env, 80)
    state = pickle.loads(pickle.dumps(env.rng_state()))
    expected = run(env, 70)
    restored = make_vector(env_id, 3)
    restored.set_rng_state(state)
    assert all(same(a, b) for a, b in zip(run(restored, 70), expected, strict=True))


@pytest.mark.parametrize("env_id", IDS)
def test_a_pickled_vector_env_goes_on_as_the_original(env_id):
    env = make_vector(env_id, 3, stream=Stream(4))
    env.reset()
    twin = pickle.loads(pickle.dumps(env))
    actions = np.ones(env.action_space.shape, env.action_space.dtype)
    for _ in range(65):
        ours, theirs = env.step(actions), twin.step(actions)
    assert all(same(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("env_id", IDS)
def test_rows_that_end_at_different_times_do_not_disturb_each_other(env_id):
    """A simulator with rows out of step gives each row what it has in step."""
    env, length = make_vector(env_id, 2, short(env_id), Stream(8)), length_of(env_id)
    env.reset()
    space = env.single_action_space
    last = space.high if isinstance(space, gym.spaces.Box) else space.n - 1
    actions = np.stack([last, last])
    ahead = length // 5 - length // 5 % 2
    env.simulator._t[1] += ahead  # row 1 is so many steps ahead from now on
    ends = []
    for step in range(length):
        _, _, terminated, truncated, infos = env.step(actions)
        ends.append((terminated | truncated).tolist())
        if step == length - ahead - 1:
            assert np.array_equal(infos["final_obs"][0], env.simulator.observe()[0])
            assert infos["session"][1] == 0
    assert [i for i, end in enumerate(ends) if end[1]] == [length - ahead - 1]
    assert [i for i, end in enumerate(ends) if end[0]] == [length - 1]


def test_the_id_may_name_its_module_and_settings_reach_the_env():
    env = make_vector("rllib_metarl.envs:DLCMDP/GridWorld-v0", 2, {"size": 3}, Stream(0))
    assert isinstance(env, envs.DLCMDPVectorEnv)
    assert env.simulator.parameters.size == 3
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    observations, infos = env.reset()
    assert env.observation_space.contains(observations)
    assert [infos[key].dtype for key in LABELS] == [np.float32, np.int64, np.int8]
    assert infos["context"].shape == (2, 1)


def test_pictures_of_all_sub_envs():
    env = make_vector("DLCMDP/GridWorld-v0", 2, {"render_mode": "rgb_array"}, Stream(0))
    env.reset()
    first, second = env.render()
    assert first.shape == second.shape and not np.array_equal(first, second)


@pytest.mark.parametrize(
    "misuse, message",
    [
        (lambda env: env.step(np.zeros(3, int)), r"actions have shape \(3,\)"),
        (lambda env: env.step(np.zeros(2)), "give 2 whole numbers"),
        (lambda env: env.step(np.array([0, -1])), "action -1 does not exist"),
        (lambda env: env.step(np.array([0, 5])), "action 5 does not exist"),
        (lambda env: env.reset(seed=[1, 2, 3]), "got 3 seeds for 2 sub-environments"),
        (lambda env: env.set_rng_state([]), "got 0 states for 2"),
    ],
)
def test_misuse_is_told(misuse, message):
    env = make_vector("DLCMDP/GridWorld-v0", 2, stream=Stream(0))
    env.reset()
    with pytest.raises(ValueError, match=message):
        misuse(env)


def test_nothing_happens_before_the_first_reset():
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        make_vector("DLCMDP/GridWorld-v0", 2).step(np.zeros(2, int))
    with pytest.raises(ValueError, match="num_envs is 0"):
        make_vector("DLCMDP/GridWorld-v0", 0)
