"""The grid world does what its specification says."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_metarl.envs import FixedLength, Stream, make_vector
from rllib_metarl.envs.gridworld.env import GridWorldEnv, GridWorldVectorEnv

RIGHT, DOWN, LEFT, UP, STAY = range(5)


def test_actions_move_by_one_cell_and_walls_stop():
    env = GridWorldEnv(start=(0, 0), goals=((4, 4), (4, 3)))
    env.reset(seed=0)
    seen = []
    for action in (UP, LEFT, RIGHT, DOWN, STAY, RIGHT, RIGHT, RIGHT, RIGHT, LEFT, UP):
        observation = env.step(action)[0]
        seen.append(tuple((observation[:2] * 4).astype(int).tolist()))
    path = [(0, 0), (0, 0), (1, 0), (1, 1), (1, 1), (2, 1), (3, 1), (4, 1), (4, 1), (3, 1), (3, 0)]
    assert seen == path


def test_the_observation_shows_agent_and_both_goals():
    env = GridWorldEnv(start=(1, 2), goals=((4, 0), (3, 1)))
    observation, _ = env.reset(seed=0)
    assert observation == pytest.approx([0.25, 0.5, 1.0, 0.0, 0.75, 0.25])


def test_a_step_pays_for_the_cell_entered_under_the_context_before_it():
    """Session of length 1 and sure alternation: the reward must not see the switch after it."""
    env = GridWorldEnv(
        start=(0, 0),
        goals=((1, 0), (0, 1)),
        session=FixedLength(1),
        transition=[[0, 1], [1, 0]],
        prior=[1, 0],
        horizon=4,
    )
    _, info = env.reset(seed=0)
    assert (info["context"], info["session"], info["switched"]) == (0, 0, 0)
    rewards, contexts = [], []
    for action in (RIGHT, STAY, STAY, LEFT):
        _, reward, terminated, truncated, info = env.step(action)
        rewards.append(reward)
        contexts.append(int(info["context"][0]))
        assert info["switched"] == 1
    assert rewards == [1.0, 0.0, 1.0, -0.1]
    assert contexts == [1, 0, 1, 0]
    assert info["session"] == 4 and truncated and not terminated


def test_rewards_follow_from_observations_and_labels():
    """r_t is that of the cell in o_{t+1} under the context m_t that came with o_t."""
    env = make_vector("DLCMDP/GridWorld-v0", 64, {"p_switch": 0.3}, Stream(1))
    rng = np.random.default_rng(0)
    _, infos = env.reset()
    for t in range(60):
        context = infos["context"][:, 0].astype(int)
        observations, rewards, terminated, truncated, infos = env.step(rng.integers(0, 5, 64))
        observations = infos.get("final_obs", observations)
        goals = observations[:, 2:].reshape(64, 2, 2)
        at = (observations[:, None, :2] == goals).all(-1)
        rows = np.arange(64)
        expected = np.where(at[rows, context], 1.0, np.where(at[rows, 1 - context], 0.0, -0.1))
        assert np.array_equal(rewards, expected)
        assert not terminated.any() and truncated.all() == (t == 59)


def test_the_context_follows_its_law():
    env = make_vector("DLCMDP/GridWorld-v0", 256, stream=Stream(2))
    _, infos = env.reset()
    contexts, switched = [infos["context"][:, 0]], []
    for _ in range(59):
        infos = env.step(np.zeros(256, int))[4]
        contexts.append(infos["context"][:, 0])
        switched.append(infos["switched"])
    changed = np.diff(np.array(contexts), axis=0) != 0
    happened = np.array(switched) == 1
    assert happened.mean() == pytest.approx(0.07, abs=0.006)  # 15104 transitions: sd 0.002
    assert changed[happened].mean() == pytest.approx(0.8, abs=0.04)
    assert not changed[~happened].any()
    assert contexts[0].mean() == pytest.approx(0.5, abs=0.12)


def test_starts_and_goal_pairs_are_uniform_and_goals_distinct():
    env = GridWorldVectorEnv(6000, size=2)
    observations, _ = env.reset(seed=0)
    cells = (observations.reshape(6000, 3, 2) @ [1, 2]).astype(int)
    assert np.bincount(cells[:, 0]) / 6000 == pytest.approx([0.25] * 4, abs=0.02)
    pairs = np.bincount(cells[:, 1] * 4 + cells[:, 2], minlength=16).reshape(4, 4) / 6000
    assert pairs == pytest.approx((1 - np.eye(4)) / 12, abs=0.015)


def test_without_stay_there_are_four_actions():
    env = GridWorldEnv(stay=False)
    assert env.action_space.n == 4
    env.reset(seed=0)
    with pytest.raises(ValueError, match="actions are 0 to 3"):
        env.step(STAY)


def test_text_shows_agent_goals_and_the_active_one():
    env = GridWorldEnv(
        size=3, start=(0, 0), goals=((1, 0), (2, 2)), prior=[1, 0], p_switch=0, render_mode="ansi"
    )
    env.reset(seed=0)
    assert env.render() == "A * .\n. . .\n. . o\n"
    env.step(RIGHT)
    assert env.render() == ". @ .\n. . .\n. . o\n"


def test_the_picture_tells_the_active_goal_from_the_other():
    pictures = []
    for prior in ([1, 0], [0, 1]):
        env = GridWorldEnv(
            start=(0, 0), goals=((2, 0), (4, 4)), prior=prior, p_switch=0, render_mode="rgb_array"
        )
        env.reset(seed=0)
        pictures.append(env.render())
    edge = pictures[0].shape[0] // 5
    middle = (edge // 2, 2 * edge + edge // 2)
    assert pictures[0].shape == pictures[1].shape == (5 * edge, 5 * edge, 3)
    assert pictures[0][middle].tolist() != pictures[1][middle].tolist()
    assert np.array_equal(pictures[0][:edge, :edge], pictures[1][:edge, :edge])  # the agent's cell


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"p_switch": 1.5}, "p_switch is 1.5, but must be a number from 0 to 1"),
        ({"p_switch": "often"}, "p_switch is 'often'"),
        ({"size": 1}, "size is 1, but must be a whole number from 2"),
        ({"size": 5.0}, "size is 5.0"),
        ({"horizon": 0}, "horizon is 0"),
        ({"transition": [[0.2, 0.7], [0.8, 0.2]]}, "transition .* must sum to 1"),
        ({"transition": [[1.0]]}, r"transition has shape \(1, 1\); give shape \(2, 2\)"),
        ({"prior": [0.5, 0.6]}, "prior .* must sum to 1"),
        ({"goals": [[1, 1], [1, 1]]}, r"both goals are on \(1, 1\); give two different cells"),
        ({"goals": [[1, 1]]}, r"give two \(x, y\) cells, or None"),
        ({"goals": [[1, 1], [1, 5]]}, r"goals holds \[1, 5\].* from 0 to 4"),
        ({"start": [-1, 0]}, r"start holds \[-1, 0\]"),
        ({"step_reward": float("nan")}, "step_reward is nan"),
        ({"active_reward": 0.0}, "context would mean nothing"),
        ({"session": {"kind": "sometimes"}}, "no kind 'sometimes'"),
        ({"p_swich": 0.1}, "no setting 'p_swich'.*did you mean 'p_switch'"),
    ],
)
def test_bad_parameters_are_refused_with_the_mend(settings, message):
    with pytest.raises(ValueError, match=message):
        make_vector("DLCMDP/GridWorld-v0", 2, settings)


def test_parameters_may_be_plain_data():
    settings = {
        "goals": [[0, 0], [1, 1]],
        "start": [1, 0],
        "session": {"kind": "fixed_length", "n": 2},
        "transition": [[0, 1], [1, 0]],
    }
    env = make_vector("DLCMDP/GridWorld-v0", 3, settings, Stream(0))
    env.reset()
    switched = [env.step(np.full(3, STAY))[4]["switched"].tolist() for _ in range(4)]
    assert switched == [[0] * 3, [1] * 3, [0] * 3, [1] * 3]
