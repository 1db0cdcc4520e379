"""The continuous tasks: their rewards, contexts, starts, sessions and inner episodes."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_metarl.envs import Stream, make_vector
from rllib_metarl.envs.mujoco.priors import Arc, Disc, Uniform, any_of, other_way
from rllib_metarl.envs.mujoco.random_params import hopper_fallen, walker_fallen
from rllib_metarl.envs.mujoco.reacher import fingertip
from rllib_metarl.envs.mujoco.task import GaussianStart, State, UniformStart

CHEETAHS = ("HalfCheetahDir", "HalfCheetahVel", "HalfCheetahWindVel")
OTHERS = ("AntDir", "AntVel", "AntGoal", "Reacher", "Walker2dParams", "HopperParams", "PointGoal")
ALL = [f"DLCMDP/{name}-v0" for name in (*CHEETAHS, *OTHERS)]


def contexts_of(env_id, config=None, rows=300):
    env = make_vector(env_id, rows, config, Stream(5))
    return env.reset()[1]["context"]


def test_priors_have_their_ranges():
    velocities = contexts_of("DLCMDP/HalfCheetahVel-v0")
    assert 0.0 <= velocities.min() < 0.1 and 2.9 < velocities.max() <= 3.0
    assert set(contexts_of("DLCMDP/HalfCheetahDir-v0")[:, 0]) == {-1.0, 1.0}
    both = contexts_of("DLCMDP/HalfCheetahWindVel-v0")
    assert both[:, 0].max() <= 3.0 and 19.0 < both[:, 1].max() <= 20.0
    assert abs(np.corrcoef(both.T)[0, 1]) < 0.2
    circle = contexts_of("DLCMDP/AntDir-v0", {"directions": "circle"})
    assert np.linalg.norm(circle, axis=1) == pytest.approx(1.0) and circle[:, 1].min() < -0.9
    two = contexts_of("DLCMDP/AntDir-v0")
    assert {tuple(row) for row in two.tolist()} == {(1.0, 0.0), (-1.0, 0.0)}
    paces = contexts_of("DLCMDP/AntVel-v0")
    assert 0.0 <= paces.min() < 0.1 and 2.9 < paces.max() <= 3.0
    radii = np.linalg.norm(contexts_of("DLCMDP/AntGoal-v0"), axis=1)
    assert radii.max() <= 3.0 and np.mean(radii < 3.0 / np.sqrt(2.0)) == pytest.approx(
        0.5, abs=0.08
    )
    assert np.linalg.norm(contexts_of("DLCMDP/Reacher-v0"), axis=1).max() <= 0.2
    assert contexts_of("DLCMDP/Walker2dParams-v0", rows=20).shape == (20, 28)
    hopper = contexts_of("DLCMDP/HopperParams-v0", {"limit": 2.0}, rows=20)
    assert hopper.shape == (20, 16) and -2.0 <= hopper.min() < -1.5 and 1.5 < hopper.max() <= 2.0
    assert contexts_of("DLCMDP/HopperParams-v0", {"vary": ["mass"]}, rows=2).shape == (2, 4)
    points = contexts_of("DLCMDP/PointGoal-v0")
    assert np.linalg.norm(points, axis=1) == pytest.approx(1.0) and points[:, 1].min() >= 0.0
    square = contexts_of("DLCMDP/PointGoal-v0", {"goals": "square"})
    assert -1.0 <= square.min() < -0.9 and np.linalg.norm(square, axis=1).max() > 1.1


def test_laws_of_change():
    values = [[1.0], [2.0], [3.0]]
    uniforms = np.random.default_rng(0).random(3000)
    now = other_way(values).initial(uniforms)
    changed = other_way(values).change(now, np.random.default_rng(1).random(3000))
    assert not (changed == now).any() and np.mean(changed == 1.0) == pytest.approx(1 / 3, abs=0.04)
    again = any_of(values).change(now, np.random.default_rng(1).random(3000))
    assert np.mean(again == now) == pytest.approx(1 / 3, abs=0.04)
    for law in (Uniform([(0, 1), (5, 6)]), Disc(1.0), Arc(2.0)):
        drawn = law.initial(uniforms)
        assert (
            np.array_equal(drawn, law.initial(uniforms)) and len(np.unique(drawn, axis=0)) == 3000
        )


def test_starts_have_their_laws():
    uniforms = np.random.default_rng(0).random((4000, 40))
    qpos0 = np.array([1.0, -2.0, 0.5])
    qpos, qvel = GaussianStart(0.1, 0.2).draw(uniforms[:, :9], qpos0, 3)
    assert qpos.min(0) == pytest.approx(qpos0 - 0.1, abs=0.01)
    assert qpos.max(0) == pytest.approx(qpos0 + 0.1, abs=0.01)
    assert qvel.mean(0) == pytest.approx(0.0, abs=0.02) and qvel.std(0) == pytest.approx(0.2, 0.05)
    assert np.mean(np.abs(qvel) < 0.2) == pytest.approx(0.683, abs=0.02)  # it is normal
    assert np.corrcoef(np.concatenate([qpos, qvel], 1).T)[~np.eye(6, dtype=bool)].max() < 0.1
    qpos, qvel = UniformStart(0.1, 0.3).draw(uniforms[:, :6], qpos0, 3)
    assert np.abs(qpos - qpos0).max() == pytest.approx(0.1, abs=0.01)
    assert np.abs(qvel).max() == pytest.approx(0.3, abs=0.01) and qvel.mean() < 0.02


def test_the_fingertip_is_where_the_links_end():
    angles = np.array([[0.0, 0.0], [np.pi / 2, 0.0], [0.0, np.pi / 2], [np.pi, np.pi]])
    expected = [[0.21, 0.0], [0.0, 0.21], [0.1, 0.11], [0.01, 0.0]]
    assert fingertip(angles) == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize(
    ("fallen", "upright"), [(walker_fallen, [0.0, 1.25, 0.0]), (hopper_fallen, [0.0, 1.25, 0.0])]
)
def test_falls(fallen, upright):
    def told(qpos, speed=0.0):
        rest = np.zeros((1, 0))
        return fallen(State(np.array([qpos]), np.full((1, 3), speed), rest, rest, 0.008))[0]

    assert not told(upright)
    assert told([0.0, 0.6, 0.0]) and told([0.0, 1.25, 1.1])
    assert told([0.0, 2.5, 0.0]) == (fallen is walker_fallen)
    assert told(upright, 101.0) == told([0.0, 1.25, 0.3]) == (fallen is hopper_fallen)


@pytest.mark.parametrize("env_id", ALL)
def test_static_contexts_and_sessions(env_id):
    """p_switch = 0 is the published setting; otherwise sessions come as they are asked for."""
    steps = 30
    static = make_vector(env_id, 2, {"p_switch": 0.0, "horizon": steps}, Stream(0))
    _, infos = static.reset()
    task = infos["context"].copy()
    for _ in range(12):
        _, _, terminated, truncated, infos = static.step(np.zeros(static.action_space.shape))
        assert not infos["switched"].any() and not (terminated | truncated).any()
        assert np.array_equal(infos["context"], task)
    moving = make_vector(env_id, 2, {"session": {"kind": "fixed_length", "n": 4}}, Stream(0))
    _, infos = moving.reset()
    contexts = [infos["context"]]
    switched = []
    for _ in range(12):
        infos = moving.step(np.zeros(moving.action_space.shape))[4]
        contexts.append(infos["context"])
        switched.append(infos["switched"].tolist())
    assert [t for t, s in enumerate(switched) if s == [1, 1]] == [3, 7, 11]
    assert np.array_equal(contexts[0], contexts[3]) and not np.array_equal(contexts[3], contexts[4])
    assert infos["session"].tolist() == [3, 3]


@pytest.mark.parametrize("env_id", ["DLCMDP/HalfCheetahVel-v0", "DLCMDP/PointGoal-v0"])
def test_inner_episodes_join_into_one_with_one_context(env_id):
    config = {"horizon": 5, "inner_episodes": 3, "p_switch": 0.0}
    env = make_vector(env_id, 2, config, Stream(1))
    plain = make_vector(env_id, 2, {"horizon": 5})
    first, infos = env.reset()
    assert first.shape[1] == plain.single_observation_space.shape[0] + 1
    assert env.single_observation_space.contains(first[0]) and not first[:, -1].any()
    task, starts = infos["context"].copy(), [first]
    for t in range(1, 16):
        observation, _, terminated, truncated, infos = env.step(
            np.full(env.action_space.shape, 0.9)
        )
        assert truncated.tolist() == [t == 15] * 2 and not terminated.any()
        last = infos.get("final_info", infos)
        assert last["inner_done"].tolist() == [int(t % 5 == 0)] * 2
        assert np.array_equal(last["context"], task)
        seen = infos.get("final_obs", observation)
        assert np.array_equal(seen[:, -1], last["inner_done"])
        if t % 5 == 0 and t < 15:
            starts.append(observation)
    speeds = [np.abs(start[:, -2]).max() for start in starts]
    assert max(speeds) < 0.6  # back at a start
    if env_id != "DLCMDP/PointGoal-v0":
        assert len({start.tobytes() for start in starts}) == 3  # each with noise of its own


def test_a_fall_ends_an_inner_episode_and_the_last_one_terminates():
    env = make_vector("DLCMDP/HopperParams-v0", 1, {"inner_episodes": 3, "horizon": 150}, Stream(0))
    env.reset()
    rng, falls, done = np.random.default_rng(0), 0, False
    steps = 0
    while not done:
        observation, _, terminated, truncated, infos = env.step(rng.uniform(-1, 1, (1, 3)))
        done = bool(terminated[0] or truncated[0])
        falls += int(infos.get("final_info", infos)["inner_done"][0])
        steps += 1
        if observation[0, -1] and not done:
            assert observation[0, 0] == pytest.approx(1.25, abs=0.01)  # on its foot again
    assert falls == 3 and terminated[0] and not truncated[0] and steps < 450
    standing = make_vector(
        "DLCMDP/HopperParams-v0", 1, {"terminate": False, "horizon": 60}, Stream(0)
    )
    standing.reset()
    ends = [standing.step(rng.uniform(-1, 1, (1, 3)))[2:4] for _ in range(60)]
    assert not any(t[0] for t, _ in ends) and ends[-1][1][0]


def test_the_physics_of_a_row_changes_when_its_session_does_and_the_state_stays():
    config = {"session": {"kind": "fixed_length", "n": 3}, "terminate": False}
    env = make_vector("DLCMDP/Walker2dParams-v0", 2, config, Stream(0))
    env.reset()
    engine, masses = env.simulator.engine, []
    original = engine.original.body_mass.copy()
    for _ in range(9):
        for row in range(2):
            mass = engine.model_of(row).body_mass
            exponents = env.simulator.context_of(row)[:7]
            assert mass[1:] == pytest.approx(original[1:] * 1.5**exponents)
            masses.append(mass.sum())
        states = engine.states.copy()
        after = env.simulator.state
        env.step(np.zeros((2, 6)))
        assert np.array_equal(states[:, 1:10], after.qpos)  # what was observed is what moves on
    assert len(set(masses)) == 6  # two rows, three sessions
    assert np.array_equal(engine.original.body_mass, original)


@pytest.mark.parametrize(
    ("reward", "at", "expected"),
    [
        ("sparse", 0.15, 0.85),
        ("sparse", 0.25, 0.0),
        ("dense", 0.25, -0.25),
    ],
)
def test_the_points_rewards(reward, at, expected):
    env = make_vector("DLCMDP/PointGoal-v0", 1, {"reward": reward, "p_switch": 0.0}, Stream(0))
    goal = env.reset()[1]["context"][0].astype(np.float64)
    env.simulator._at[0] = goal + [at - 0.1, 0.0]
    observation, rewards, *_ = env.step(np.array([[1.0, 0.0]]))
    assert rewards[0] == pytest.approx(expected) and observation[0] == pytest.approx(
        goal + [at, 0.0]
    )
    far = env.step(np.array([[-50.0, 0.0]]))[0]  # one step is 0.1 m at most
    assert far[0] == pytest.approx(goal + [at - 0.1, 0.0])


def test_walking_along_the_semi_circle_finds_the_sparse_goal():
    env = make_vector("DLCMDP/PointGoal-v0", 32, {"p_switch": 0.0}, Stream(3))
    observation, _ = env.reset()
    angle, found = np.zeros(32), np.zeros(32, bool)
    for _ in range(60):
        target = np.stack([np.cos(angle), np.sin(angle)], 1)
        observation, rewards, *_ = env.step(np.clip((target - observation) / 0.1, -1, 1))
        angle += np.where(np.linalg.norm(target - observation, axis=1) < 0.05, 0.09, 0.0)
        found |= rewards > 0
    assert found.all()
