"""The itch: where it is, what scratching pays, and that who knows the place can do it."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rllib_metarl.envs.mujoco.scratch_itch import (
    LIMBS,
    MODEL,
    ScratchItchEnv,
    ScratchItchVectorEnv,
    Skin,
)


def model_of() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_path(str(MODEL))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def outside(
    model: mujoco.MjModel, data: mujoco.MjData, geom: str, points: np.ndarray
) -> np.ndarray:
    """Distance of points [K, 3] from the surface of one of the model's capsules."""
    axis, (radius, half, _) = data.geom(geom).xmat.reshape(3, 3)[:, 2], model.geom(geom).size
    away = points - data.geom(geom).xpos
    along = np.clip(away @ axis, -half, half)
    return np.linalg.norm(away - along[:, None] * axis, axis=1) - radius


def inwards(place: np.ndarray) -> np.ndarray:
    """The direction from a place on the skin to the middle of its limb."""
    feet = []
    for limb in LIMBS.values():
        start, end = np.array(limb.start), np.array(limb.end)
        share = (place - start) @ (end - start) / ((end - start) @ (end - start))
        feet.append(start + np.clip(share, 0, 1) * (end - start) - place)
    surface = [
        abs(np.linalg.norm(foot) - limb.radius)
        for foot, limb in zip(feet, LIMBS.values(), strict=True)
    ]
    foot = feet[int(np.argmin(surface))]
    return foot / np.linalg.norm(foot)


def pressing(place: np.ndarray, gain: float = 30.0, depth: float = 0.005) -> Callable:
    """A policy that pulls the tip to a point under the skin, with the transpose of the Jacobian."""
    model, data = model_of()
    target, site = place + depth * inwards(place), model.site("tip").id
    jacobian = np.zeros((3, model.nv))

    def act(observation: np.ndarray) -> np.ndarray:
        data.qpos[:] = observation[:7]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_jacSite(model, data, jacobian, None, site)
        pull = gain * jacobian.T @ (target - observation[14:17])
        return np.clip(pull, -1, 1).astype(np.float32)

    return act


def play(
    env: gym.Env, seed: int, place: np.ndarray | None = None
) -> tuple[float, np.ndarray, dict]:
    """Press `place`, or where it itches; give back the return, the last observation and info."""
    observation, info = env.reset(seed=seed)
    act = pressing(info["context"].astype(np.float64) if place is None else place)
    total, over = 0.0, False
    while not over:
        observation, reward, _, over, info = env.step(act(observation))
        total += reward
    return total, observation, info


def test_who_knows_the_place_can_press_it_wherever_it_is():
    env = ScratchItchEnv(p_switch=0)
    returns, forces = [], []
    for seed in range(6):
        total, observation, info = play(env, seed)
        returns.append(total)
        forces.append(info["itch_force"])
        assert info["itch_distance"] == pytest.approx(0.012, abs=0.002)  # the tip's own radius
        assert info["itch_force"] == pytest.approx(10 * observation[17], rel=1e-4)
    assert min(returns) > 140  # 154 to 158 measured; 200 would be pressing from the first step on
    # Torques of kv * gain * (transposed Jacobian) * error are a spring of 300 N/m at the tip.
    assert forces == pytest.approx([300 * (0.012 + 0.005)] * 6, rel=0.05)


def test_who_goes_to_a_wrong_place_gets_nothing_for_pressing():
    env = ScratchItchEnv(p_switch=0, limb="forearm")
    wrong = LIMBS["upper_arm"].place(0.3, 0.0)
    total, observation, info = play(env, 0, wrong)
    assert observation[17] > 0.3 and info["itch_force"] == 0.0 and info["itch_distance"] > 0.1
    assert total < -20
    still = ScratchItchEnv(p_switch=0)
    still.reset(seed=0)
    rest = sum(still.step(np.zeros(7, np.float32))[1] for _ in range(200))
    assert -80 < rest < -30


def test_an_itch_is_on_the_skin_of_the_models_arm_and_free_to_be_touched():
    model, data = model_of()
    for name in LIMBS:
        places = Skin(name).initial(np.random.default_rng(0).random(200))
        assert outside(model, data, name, places) == pytest.approx(np.zeros(200), abs=2e-4)
        others = {"upper_arm", "forearm", "sleeve", "thigh"} - {name}
        assert all((outside(model, data, other, places) > 0.002).all() for other in others)
        assert (places[:, 1] > 0.2).all() and np.ptp(places, axis=0).min() > 0.009
    both = Skin().initial(np.random.default_rng(0).random(400))
    on_forearm = np.abs(outside(model, data, "forearm", both)) < 1e-3
    assert 0.4 < on_forearm.mean() < 0.6


def test_the_reward_is_the_formula_under_the_context_of_its_step():
    env = ScratchItchEnv(session={"kind": "fixed_length", "n": 50})
    observation, info = env.reset(seed=1)
    seen = {"at the itch": 0, "elsewhere": 0, "too hard": 0}
    place = info["context"].astype(np.float64)
    soft, hard = pressing(place), pressing(place, gain=80.0, depth=0.02)
    over = False
    while not over:
        m = info["context"].astype(np.float64)
        action = (soft if info["session"] < 2 else hard)(observation)
        observation, reward, _, over, info = env.step(action)
        distance, force = np.linalg.norm(observation[14:17] - m), 10.0 * float(observation[17])
        at_itch = force if distance < 0.03 else 0.0
        paid = min(at_itch / 3, 1) - distance - 0.01 * (action.astype(np.float64) ** 2).sum()
        assert reward == pytest.approx(
            paid - 0.01 * (force - at_itch) - 0.05 * max(force - 10, 0), abs=1e-4
        )
        assert info["itch_distance"] == pytest.approx(distance, abs=1e-5)
        assert info["itch_force"] == pytest.approx(at_itch, abs=1e-4)
        seen["at the itch"] += at_itch > 0
        seen["elsewhere"] += force > at_itch
        seen["too hard"] += force > 10
    assert min(seen.values()) > 10


def test_the_place_is_not_seen_and_a_switch_moves_nothing_but_the_itch():
    actions = np.random.default_rng(0).uniform(-1, 1, (60, 7)).astype(np.float32)
    paths = []
    for session in ({"kind": "fixed_length", "n": 30}, {"kind": "never"}):
        env = ScratchItchEnv(session=session)
        env.reset(seed=2)
        paths.append([env.step(action) for action in actions])
    seen = [np.array([step[0] for step in path]) for path in paths]
    paid = [np.array([step[1] for step in path]) for path in paths]
    assert np.array_equal(*seen)
    assert np.array_equal(paid[0][:30], paid[1][:30]) and not (paid[0][30:] == paid[1][30:]).any()


def test_what_is_seen():
    env = ScratchItchEnv()
    starts = np.array([env.reset(seed=s)[0] for s in range(20)])
    pose = np.array([0, -1.0, 0, 1.9, 0, -0.9, 0])
    assert starts.shape == (20, 18)
    assert 0.04 < np.abs(starts[:, :7] - pose).max() <= 0.05 and not starts[:, 7:14].any()
    assert not starts[:, 17].any()
    model, data = model_of()
    observation = env.step(np.full(7, 0.5, np.float32))[0]
    data.qpos[:] = observation[:7]
    mujoco.mj_forward(model, data)
    assert observation[14:17] == pytest.approx(data.site("tip").xpos, abs=1e-5)
    assert observation[7:14] == pytest.approx(env.simulator.state.qvel[0], abs=1e-5)


def test_actions_are_velocities():
    env = ScratchItchEnv()
    env.reset(seed=0)
    for _ in range(8):
        observation = env.step(np.array([0.5, 0, 0, 0, 0, 0, -0.8], np.float32))[0]
    assert observation[7] == pytest.approx(0.5, rel=0.2)
    assert observation[13] == pytest.approx(-0.8, rel=0.2)


def test_single_and_vector_are_the_same():
    vector = ScratchItchVectorEnv(3, p_switch=0.1, horizon=25)
    singles = [ScratchItchEnv(p_switch=0.1, horizon=25) for _ in range(3)]
    rng = np.random.default_rng(0)
    observations, infos = vector.reset(seed=5)
    for i, env in enumerate(singles):
        assert np.array_equal(env.reset(seed=5 + i)[0], observations[i])
    for _ in range(24):
        actions = rng.uniform(-1, 1, (3, 7)).astype(np.float32)
        observations, rewards, _, _, infos = vector.step(actions)
        for i, env in enumerate(singles):
            observation, reward, _, _, info = env.step(actions[i])
            assert np.array_equal(observation, observations[i]) and reward == rewards[i]
            assert all(np.array_equal(info[key], infos[key][i]) for key in info)


def test_gymnasium_finds_nothing_wrong():
    check_env(gym.make("DLCMDP/ScratchItch-v0").unwrapped, skip_render_check=True)


def test_a_wrong_limb_is_told():
    with pytest.raises(ValueError, match="no limb 'fore_arm' .did you mean 'forearm'"):
        ScratchItchEnv(limb="fore_arm")
