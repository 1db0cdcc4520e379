"""The striker: what it sees and is paid, what its context does, and that it can be done."""

from __future__ import annotations

import itertools

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rllib_metarl.envs.mujoco.striker import (
    GRIDS,
    MODEL,
    StrikerEnv,
    StrikerVectorEnv,
    near,
    remember_strike,
)
from rllib_metarl.envs.mujoco.task import State

HARD = (
    [2.6, 1.0, -2.8, 2.3, -2.3, -2.8, -2.8],
    [2.3, 2.7, -2.0, 2.5, 0.0, -0.6, 0.2],
    [1.5, 3.0, -0.1, -2.6, 1.6, -2.5, -1.1],
)
SOFT = (
    [1.6, 1.3, -1.0, 0.2, -0.1, -1.5, 1.2],
    [1.1, 1.4, 0.1, 0.1, 0.4, 0.1, 0.0],
    [1.0, 0.2, -0.3, -1.4, -2.5, 0.0, -1.9],
)
"""Two blows found by a search: three torques (N m), each held for six steps; then the arm rests."""
HAND_TO_GOAL = np.hypot(0.5, 1.3)


def torques(blow: tuple, t: int) -> np.ndarray:
    return np.array(blow[t // 6] if t < 18 else np.zeros(7), np.float32)


def final_distances(blow: tuple, grid: list, n: int = 6) -> np.ndarray:
    env = StrikerVectorEnv(n, grid=grid)
    env.reset(seed=0)
    for t in range(200):
        truncated, infos = env.step(np.tile(torques(blow, t), (n, 1)))[3:]
    assert truncated.all()
    return infos["final_info"]["final_distance"]


def test_the_ball_can_be_struck_to_the_goal_by_who_knows_its_mass_and_damping():
    medium, heavy = [(1.0, 0.5)], [(3.4, 0.1)]
    assert np.median(final_distances(HARD, medium)) < 0.35  # 0.13 measured; 1.39 at rest
    assert np.median(final_distances(SOFT, heavy)) < 0.7  # 0.45 measured
    # Each is wrong for the other's ball: that one flies past the goal, this one does not get there.
    assert np.median(final_distances(HARD, heavy)) > 1.5
    assert np.median(final_distances(SOFT, medium)) > 0.9


def test_the_ball_slows_down_as_its_mass_and_damping_say():
    for factor, damping in ((0.2, 0.1), (3.4, 0.9)):
        env = StrikerEnv(grid=[(factor, damping)])
        env.reset(seed=3)
        balls = np.array([env.step(torques(HARD, t))[0][17:19] for t in range(60)])
        speeds = np.linalg.norm(np.diff(balls.astype(np.float64), axis=0), axis=1)
        mass = 0.1 + factor * 300 * 4 / 3 * np.pi * 0.05**3
        slowing = (1 + 0.01 * damping / mass) ** -5.0
        assert speeds[40] > 1e-3
        assert speeds[41] / speeds[40] == pytest.approx(slowing, rel=2e-3)


def test_what_is_seen_and_where_everything_is_at_the_start():
    env = StrikerEnv()
    observation, info = env.reset(seed=0)
    assert observation.shape == (23,) and info["context"].shape == (2,)
    assert observation[:7] == pytest.approx([-0.2, 0.5, -1.7, -1.5, 1, 0, 0])
    velocities = np.array([env.reset(seed=s)[0][7:14] for s in range(30)])
    assert 0.08 < np.abs(velocities).max() < 0.1
    tip, ball, goal = observation[14:].reshape(3, 3)
    assert ball[:2] == pytest.approx([0.5, -0.3]) and goal[:2] == pytest.approx([0, 1])
    assert np.linalg.norm(tip - ball) == pytest.approx(0.085, abs=0.001)
    assert info["final_distance"] == pytest.approx(HAND_TO_GOAL)


def test_the_goal_is_out_of_the_arms_reach_and_only_the_hand_can_touch():
    model = mujoco.MjModel.from_xml_path(str(MODEL))
    reach = 0.1 + np.linalg.norm(model.body("elbow_link").pos)
    reach += np.linalg.norm(model.body("wrist_link").pos) + 0.13
    away = np.linalg.norm(model.body("goal").pos - model.body("shoulder_pan_link").pos)
    assert reach < 0.65 * away
    touching = {model.geom(i).name for i in range(model.ngeom) if model.geom_contype[i]}
    assert touching == {"bar", "plate", "ball", "table"}


def test_the_reward_is_the_formula():
    env = StrikerEnv(horizon=60)
    observation, _ = env.reset(seed=1)
    place = (
        observation[14:17]
        if np.linalg.norm(observation[14:17] - observation[17:20]) < 0.1
        else None
    )
    left_behind = False
    for t in range(60):
        action = torques(HARD, t)
        observation, reward, _, _, info = env.step(action)
        tip, ball, goal = observation[14:].astype(np.float64).reshape(3, 3)
        if np.linalg.norm(ball - tip) < 0.1:
            place = tip
        near = np.linalg.norm(ball - (tip if place is None else place))
        left_behind |= near > 0.3
        far = np.linalg.norm(ball - goal)
        assert reward == pytest.approx(-3 * far - 0.1 * (action**2).sum() - 0.5 * near, abs=1e-4)
        assert info["final_distance"] == pytest.approx(far, abs=1e-5)
    assert left_behind


def test_before_the_strike_the_reward_draws_the_hand_to_the_ball():
    env = StrikerEnv()
    env.reset(seed=0)
    simulator = env.simulator
    far = simulator.state.qpos.copy()
    far[0, 0] = 1.0  # the arm turned away from the ball
    simulator.engine.place(np.array([0]), far, np.zeros((1, 9)))
    simulator.state.memory[:] = 0.0
    observation, reward, *_ = env.step(np.zeros(7, np.float32))
    tip, ball, _ = observation[14:].reshape(3, 3)
    away = np.linalg.norm(tip - ball)
    assert away > 0.2 and reward == pytest.approx(-3 * HAND_TO_GOAL - 0.5 * away, abs=1e-4)


def test_the_strikes_place_is_where_the_fingertip_last_was_at_the_ball():
    def state(ball: float, tip: float, memory: np.ndarray) -> State:
        positions = np.array([[0.0] * 7 + [ball, 0.0]])
        return State(positions, np.zeros((1, 9)), np.array([[tip, 0.0, -0.27]]), memory, 0.05)

    memory = np.zeros((1, 4))
    told = []
    for ball, tip in ((0.0, 0.5), (0.0, 0.09), (0.12, 0.2), (0.4, 0.2), (0.7, 0.55)):
        memory = remember_strike(state(ball, tip, memory))
        told.append((memory[0, 0], memory[0, 1], near(state(ball, tip, memory))[0]))
    assert told[0] == pytest.approx((0, 0, 0.5))  # not yet: the distance to the fingertip
    assert told[1] == pytest.approx((1, 0.09, 0.09))
    assert told[2] == pytest.approx((1, 0.2, 0.08))  # still at the ball: its place moves along
    assert told[3] == pytest.approx((1, 0.2, 0.2))
    assert told[4] == pytest.approx((1, 0.2, 0.5))  # the fingertip is nearer, but not near enough


def test_train_and_test_dynamics_do_not_overlap():
    assert [len(GRIDS[name]) for name in ("train", "held_out", "extrapolate")] == [25, 16, 20]
    assert all(len(set(pairs)) == len(pairs) for pairs in GRIDS.values())
    for one, other in itertools.combinations(GRIDS.values(), 2):
        assert not set(one) & set(other)
    masses, dampings = zip(*GRIDS["train"], strict=True)
    for pairs in (GRIDS["held_out"], GRIDS["extrapolate"]):
        assert not {m for m, _ in pairs} & set(masses) and not {d for _, d in pairs} & set(dampings)
    inside = [min(masses) < m < max(masses) and min(dampings) < d < max(dampings)
              for m, d in GRIDS["held_out"] + GRIDS["extrapolate"]]  # fmt: skip
    assert inside == [True] * 16 + [False] * 20


@pytest.mark.parametrize("grid", [*GRIDS, [(0.5, 0.5)]])
def test_contexts_are_drawn_from_the_grid_and_all_of_it(grid):
    env = StrikerVectorEnv(40, grid=grid, p_switch=1.0, horizon=20)
    drawn = [env.reset(seed=0 if k == 0 else None)[1]["context"] for k in range(8)]
    pairs = GRIDS[grid] if isinstance(grid, str) else grid
    expected = {tuple(np.float32(pair)) for pair in pairs}
    assert {tuple(m) for m in np.concatenate(drawn)} == expected


def test_the_context_scales_the_original_model_and_never_adds_up():
    env = StrikerVectorEnv(3, p_switch=1.0)
    _, infos = env.reset(seed=0)
    original = mujoco.MjModel.from_xml_path(str(MODEL))
    ball = original.body("ball").id
    others = np.arange(original.nbody) != ball
    actions = np.zeros((3, 7), np.float32)
    for _ in range(30):
        for row, (factor, damping) in enumerate(infos["context"].astype(np.float64)):
            model = env.simulator.engine.model_of(row)
            assert model.body_mass[ball] == pytest.approx(factor * original.body_mass[ball])
            assert model.body_inertia[ball] == pytest.approx(factor * original.body_inertia[ball])
            assert model.dof_damping[7:] == pytest.approx([damping, damping])
            assert np.array_equal(model.body_mass[others], original.body_mass[others])
            assert np.array_equal(model.dof_damping[:7], original.dof_damping[:7])
        infos = env.step(actions)[4]


def test_a_switch_leaves_ball_and_arm_as_they_are():
    switching = StrikerEnv(session={"kind": "fixed_length", "n": 30})
    static = StrikerEnv()
    before, after = [], []
    for env in (switching, static):
        first = env.reset(seed=4)[1]["context"]
        path = [env.step(torques(HARD, t)) for t in range(60)]
        before.append(np.array([step[0] for step in path[:30]]))
        after.append(path[-1][0])
        assert np.array_equal(path[28][4]["context"], first)
    assert not np.array_equal(path[29][4]["context"], switching.simulator.context_of(0))
    assert np.array_equal(*before)  # up to the switch, and in the very state that it found
    assert not np.allclose(after[0][17:20], after[1][17:20], atol=0.01)
    assert np.array_equal(after[0][20:], after[1][20:])


def test_by_default_the_context_stays():
    assert not StrikerEnv().simulator.trial.process.hazard(np.arange(1, 300)).any()
    env = StrikerVectorEnv(2)
    _, infos = env.reset(seed=0)
    later = [env.step(np.zeros((2, 7), np.float32))[4]["context"] for _ in range(20)]
    assert all(np.array_equal(m, infos["context"]) for m in later)


def test_the_score_of_an_inner_episode_is_that_of_its_own_last_state():
    env = StrikerVectorEnv(2, horizon=40, inner_episodes=2)
    env.reset(seed=0)
    for t in range(40):
        observations, _, _, _, infos = env.step(np.tile(torques(HARD, t), (2, 1)))
    assert infos["inner_done"].all() and observations.shape == (2, 24)
    assert observations[:, 17:19] == pytest.approx(np.tile([0.5, -0.3], (2, 1)))  # reset already
    score = infos["final_distance"].copy()
    assert (score < 1.2).all()
    simulator = env.simulator
    simulator.begin(np.array([0]), np.full((1, simulator.uniforms_per_episode), 0.5))
    assert simulator.labels()["final_distance"] == pytest.approx([HAND_TO_GOAL, score[1]])
    infos = env.step(np.zeros((2, 7), np.float32))[4]
    assert infos["final_distance"] == pytest.approx(HAND_TO_GOAL, abs=1e-3)


def test_single_and_vector_are_the_same():
    vector = StrikerVectorEnv(3, p_switch=0.1, horizon=25)
    singles = [StrikerEnv(p_switch=0.1, horizon=25) for _ in range(3)]
    rng = np.random.default_rng(0)
    observations, infos = vector.reset(seed=5)
    for i, env in enumerate(singles):
        observation, info = env.reset(seed=5 + i)
        assert np.array_equal(observation, observations[i])
    for _ in range(24):
        actions = rng.uniform(-3, 3, (3, 7)).astype(np.float32)
        observations, rewards, _, _, infos = vector.step(actions)
        for i, env in enumerate(singles):
            observation, reward, _, _, info = env.step(actions[i])
            assert np.array_equal(observation, observations[i]) and reward == rewards[i]
            assert all(np.array_equal(info[key], infos[key][i]) for key in info)


def test_gymnasium_finds_nothing_wrong():
    check_env(gym.make("DLCMDP/Striker-v0").unwrapped, skip_render_check=True)


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ("heldout", "no grid 'heldout' .did you mean 'held_out'.*train, held_out, extrapolate"),
        ([], "name one .train, held_out, extrapolate. or list pairs"),
        ([(1.0, 0.5, 2.0)], "list pairs"),
        ([(0.0, 0.5)], "a factor on the mass in grid is 0.0, but must be a number, 0.01 or more"),
        ([(1.0, -0.5)], "a damping in grid is -0.5"),
    ],
)
def test_a_wrong_grid_is_told(grid, told):
    with pytest.raises(ValueError, match=told):
        StrikerEnv(grid=grid)
