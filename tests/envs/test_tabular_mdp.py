"""The random tabular MDPs: what they do, how they are drawn, and their references."""

from __future__ import annotations

import itertools
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rllib_metarl.envs import BatchedEnvs, Stream, make_vector
from rllib_metarl.envs.tabular_mdp.env import TabularMDPEnv
from rllib_metarl.envs.tabular_mdp.models import (
    Models,
    best_policies,
    draw_models,
    normals,
    uniforms_of_a_model,
)
from rllib_metarl.envs.tabular_mdp.parameters import TabularParameters
from rllib_metarl.envs.tabular_mdp.references import oracle_return

ID = "TabularMDP/Random-v0"
SWITCHING = {"states": 4, "actions": 3, "inner_horizon": 3, "inner_episodes": 8, "p_switch": 0.5}


def play(env, steps: int, seed: int | list[int] | None = None) -> list[dict]:
    """Random play of a vector env; one dict of all that came back for each step."""
    rng, actions = np.random.default_rng(0), env.single_action_space.n
    observations, infos = env.reset(seed=seed)
    record = [{"obs": observations, **infos}]
    for _ in range(steps):
        taken = rng.integers(0, actions, env.num_envs)
        observations, rewards, terminated, truncated, infos = env.step(taken)
        assert not truncated.any()
        step = {"obs": observations, "action": taken, "reward": rewards, "end": terminated}
        record.append({**step, **infos})
    return record


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return np.array_equal(a, b) and np.asarray(a).dtype == np.asarray(b).dtype


def test_a_trial_is_ten_inner_episodes_of_ten_steps_from_state_0():
    env = make_vector(ID, 50, stream=Stream(1))
    record = play(env, 100)
    for t, step in enumerate(record[:100]):
        start = t % 10 == 0
        assert (step["obs"][:, :10].sum(1) == 1).all()
        assert (step["obs"][:, 10] == (start and t > 0)).all()
        assert (step["inner_done"] == step["obs"][:, 10]).all()
        assert start <= (step["obs"][:, 0] == 1).all()
        assert not step.get("end", np.zeros(1)).any()
    last = record[100]
    assert last["end"].all() and (last["obs"][:, 0] == 1).all() and (last["obs"][:, 10] == 0).all()
    # the final observation shows the state that was reached, with the flag
    assert (last["final_obs"][:, 10] == 1).all() and 0 < last["final_obs"][:, 0].mean() < 0.5
    assert (last["final_info"]["inner_done"] == 1).all() and (last["inner_done"] == 0).all()


def test_a_trial_has_one_mdp_and_the_next_another():
    record = play(make_vector(ID, 3, stream=Stream(0)), 200)
    first, second = record[0]["context"], record[100]["context"]
    assert first.shape == (3, 50) and first.dtype == np.float32
    assert all(np.array_equal(step["context"], first) for step in record[:100])
    assert all(np.array_equal(step["context"], second) for step in record[100:200])
    assert not np.isclose(first, second).any()
    assert all((step["session"] == 0).all() and not step["switched"].any() for step in record)


def test_rewards_are_the_contexts_entry_plus_unit_noise():
    record = play(make_vector(ID, 400, stream=Stream(2)), 100)
    residual = []
    for before, after in itertools.pairwise(record):
        pair = before["obs"][:, :10].argmax(1) * 5 + after["action"]
        residual.append(after["reward"] - before["context"][np.arange(400), pair])
    noise = np.concatenate(residual)
    assert noise.mean() == pytest.approx(0.0, abs=0.02)
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    # and no two steps share theirs
    assert abs(np.corrcoef(residual[3], residual[4])[0, 1]) < 0.2
    assert len(np.unique(noise)) == len(noise)


def test_states_follow_the_mdp_that_was_drawn():
    """The same MDP in many rows: the frequencies of what follows are its probabilities."""
    env = make_vector(ID, 6000, {"inner_horizon": 2, "inner_episodes": 1})
    p = env.simulator.parameters
    rng = np.random.default_rng(0)
    uniforms = rng.random((6000, env.simulator.uniforms_per_episode))
    uniforms[:, : uniforms_of_a_model(p)] = uniforms[0, : uniforms_of_a_model(p)]
    models = draw_models(p, uniforms[:1, : uniforms_of_a_model(p)])
    env.simulator.begin(np.arange(6000), uniforms)
    for action in range(2):
        before = env.simulator.observe()[:, :10].argmax(1)
        env.simulator.advance(np.full(6000, action))
        after = env.simulator.observe()[:, :10].argmax(1)
        for state in np.unique(before):
            follow = np.bincount(after[before == state], minlength=10)
            assert follow / follow.sum() == pytest.approx(
                models.transition[0, state, action], abs=4.5 * 0.5 / np.sqrt(follow.sum())
            )


def test_mdps_come_from_the_prior():
    p = TabularParameters.make(reward_mean=-2.0, reward_std=3.0)
    uniforms = np.random.default_rng(0).random((2000, uniforms_of_a_model(p)))
    models = draw_models(p, uniforms)
    assert models.reward.mean() == pytest.approx(-2.0, abs=0.04)
    assert models.reward.std() == pytest.approx(3.0, abs=0.04)
    # an entry of a flat Dirichlet over S states is Beta(1, S - 1) distributed
    entries = models.transition.ravel()
    assert models.transition.sum(-1) == pytest.approx(1.0) and entries.min() >= 0.0
    for x in (0.02, 0.1, 0.3):
        assert (entries > x).mean() == pytest.approx((1 - x) ** 9, abs=0.003)
    assert (uniforms_of_a_model(TabularParameters.make(states=3, actions=3))) == 10 + 27


def test_normal_variates_have_the_normal_distribution():
    z = normals(np.random.default_rng(0).random((1000, 100)))
    assert z.mean() == pytest.approx(0.0, abs=0.02) and z.std() == pytest.approx(1.0, abs=0.01)
    assert (z < -1.6449).mean() == pytest.approx(0.05, abs=0.003)
    assert (abs(z) < 0.6745).mean() == pytest.approx(0.5, abs=0.007)
    halves = z[:, :50].ravel(), z[:, 50:].ravel()  # the two variates of each pair
    assert abs(np.corrcoef(*halves)[0, 1]) < 0.02
    assert abs(np.corrcoef(*np.square(halves))[0, 1]) < 0.02
    assert np.isfinite(normals(np.zeros((1, 2)))).all()


def test_with_p_switch_a_new_mdp_may_follow_an_inner_episode():
    record = play(make_vector(ID, 1000, SWITCHING, Stream(3)), 24)
    ends, switches = 0, 0
    for t in range(1, 24):
        before, after = record[t - 1], record[t]
        changed = (before["context"] != after["context"]).any(1)
        assert np.array_equal(changed, after["switched"] == 1)
        assert np.array_equal(after["session"] - before["session"], after["switched"])
        assert after["inner_done"].all() or not changed.any()
        ends, switches = ends + (t % 3 == 0), switches + changed.mean()
    assert ends == 7 and switches / ends == pytest.approx(0.5, abs=0.03)
    assert (record[24]["final_info"]["switched"] == 0).all()
    assert (record[24]["session"] == 0).all()


def test_a_reset_in_the_middle_begins_anew():
    env = make_vector(ID, 4, {**SWITCHING, "p_switch": 1.0}, Stream(0))
    assert (play(env, 3)[-1]["switched"] == 1).all()  # an inner episode has just ended
    observations, infos = env.reset()
    assert (observations == [1, 0, 0, 0, 0]).all()
    assert not any(infos[key].any() for key in ("session", "switched", "inner_done"))


@pytest.mark.parametrize("settings", [{}, SWITCHING])
@pytest.mark.parametrize("seed", [11, [5, 3, 9, 9]])
def test_single_and_vector_trajectories_agree_for_the_same_seeds(settings, seed):
    native = play(make_vector(ID, 4, settings), 230, seed)
    singles = play(BatchedEnvs([gym.make(ID, **settings) for _ in range(4)]), 230, seed)
    assert all(same(a, b) for a, b in zip(native, singles, strict=True))


def test_rows_that_end_at_different_times_do_not_disturb_each_other():
    env, twin = (make_vector(ID, 2, SWITCHING, Stream(8)) for _ in range(2))
    env.reset(), twin.reset()
    twin.simulator._t[1] += 9  # row 1 is three inner episodes ahead
    ends = []
    for _ in range(24):
        ours, theirs = env.step(np.zeros(2, int)), twin.step(np.zeros(2, int))
        assert ours[1][0] == theirs[1][0] and np.array_equal(ours[0][0], theirs[0][0])
        assert np.array_equal(ours[4]["context"][0], theirs[4]["context"][0])
        ends.append(theirs[2].tolist())
    assert [i for i, end in enumerate(ends) if end[1]] == [14]
    assert [i for i, end in enumerate(ends) if end[0]] == [23]


def test_gymnasium_finds_nothing_wrong_and_copies_go_on_alike():
    check_env(gym.make(ID, render_mode="rgb_array", **SWITCHING).unwrapped)
    env = make_vector(ID, 3, stream=Stream(4))
    env.reset()
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(130):
        ours, theirs = env.step(np.ones(3, int)), twin.step(np.ones(3, int))
    assert all(same(a, b) for a, b in zip(ours, theirs, strict=True))
    labels = env.simulator.labels()
    before = env.simulator.observe()
    labels["context"][:] = labels["inner_done"][:] = labels["session"][:] = 9
    assert np.array_equal(env.simulator.observe(), before)
    assert not (env.simulator.labels()["context"] == 9).any()


def test_the_text_and_the_picture_show_state_and_rewards():
    env = TabularMDPEnv(states=3, actions=2, render_mode="ansi")
    _, info = env.reset(seed=0)
    lines = env.render().splitlines()
    assert lines[0] == "inner episode 0, step 0" and lines[1].startswith(">  0")
    shown = [[float(x) for x in line[1:].split()[1:]] for line in lines[1:]]
    assert np.ravel(shown) == pytest.approx(info["context"], abs=0.006)
    env.step(0)
    assert env.render().startswith("inner episode 0, step 1")
    picture = TabularMDPEnv(states=3, actions=2, render_mode="rgb_array")
    picture.reset(seed=0)
    image = picture.render()
    assert image.shape == (96, 96, 3) and image.dtype == np.uint8
    reddish = image[48, 16, 0] > image[48, 16, 1]
    assert reddish == (info["context"][0] < 0)


def best_by_enumeration(models: Models, horizon: int) -> np.ndarray:
    """Values [B, S] by trying all policies, stage by stage; none of the project's recursions."""
    count, states, actions = models.reward.shape
    tables = list(itertools.product(range(actions), repeat=states))
    best = np.full((count, states), -np.inf)
    for plan in itertools.product(tables, repeat=horizon):
        for b in range(count):
            value = np.zeros(states)
            for table in reversed(plan):
                value = np.array(
                    [
                        models.reward[b, s, a] + models.transition[b, s, a] @ value
                        for s, a in enumerate(table)
                    ]
                )
            best[b] = np.maximum(best[b], value)
    return best


def test_the_planner_finds_the_best_of_all_policies():
    p = TabularParameters.make(states=2, actions=2)
    models = draw_models(p, np.random.default_rng(0).random((8, uniforms_of_a_model(p))))
    policy, values = best_policies(models, 3)
    assert values == pytest.approx(best_by_enumeration(models, 3))
    assert np.array_equal(policy[2], models.reward.argmax(-1))  # at the end only reward counts
    assert value_of(policy, models) == pytest.approx(values)


def value_of(policy: np.ndarray, models: Models) -> np.ndarray:
    """Values [B, S] of following `policy` [H, B, S]."""
    count, states = policy.shape[1:]
    row, state = np.ogrid[:count, :states]
    value = np.zeros((count, states))
    for actions in policy[::-1]:
        ahead = np.einsum("bsn,bn->bs", models.transition[row, state, actions], value)
        value = models.reward[row, state, actions] + ahead
    return value


def test_the_context_is_nearly_all_there_is_to_know():
    """What the specification says of taking the best reward without a thought of what follows."""
    p = TabularParameters.make()
    models = draw_models(p, np.random.default_rng(1).random((4000, uniforms_of_a_model(p))))
    policy, best = best_policies(models, 10)
    at_once = value_of(np.broadcast_to(models.reward.argmax(-1), policy.shape), models)
    lost = 10 * (best - at_once)[:, 0].mean()
    assert lost == pytest.approx(218.6 - 216.5, abs=0.2)


def test_random_and_blind_are_exact_and_the_oracle_has_a_small_error():
    references = make_vector(ID, 1).reference_returns()
    assert references["random"] == references["blind"] == 100.0
    assert references["oracle"] == pytest.approx(218.57, abs=0.01)  # a fixed set of MDPs
    assert 0.1 < oracle_return(TabularParameters.make()).standard_error < 0.15
    assert "bayes" not in references
    longer = make_vector(ID, 1, {"inner_episodes": 25}).reference_returns()
    assert longer["oracle"] == pytest.approx(2.5 * references["oracle"])
    rewards = sum(step["reward"] for step in play(make_vector(ID, 1500, stream=Stream(5)), 100)[1:])
    assert rewards.mean() == pytest.approx(100.0, abs=3.5 * rewards.std() / np.sqrt(1500))


def test_the_oracle_reference_is_what_the_optimal_policy_earns_in_the_env():
    env = make_vector(ID, 3000, {"inner_episodes": 2}, Stream(6))
    p, sim = env.simulator.parameters, env.simulator
    observation, infos = env.reset()
    upper = np.concatenate([sim._cumulative, np.ones((3000, 50, 1))], -1)
    transition = np.diff(upper, prepend=0.0, axis=-1).reshape(3000, 10, 5, 10)
    reward = infos["context"].reshape(3000, 10, 5).astype(np.float64)
    policy, _ = best_policies(Models(reward, transition), 10)
    total = np.zeros(3000)
    for t in range(20):
        actions = policy[t % 10, np.arange(3000), observation[:, :10].argmax(1)]
        observation, rewards = env.step(actions)[:2]
        total += rewards
    error = total.std() / np.sqrt(3000)
    assert total.mean() == pytest.approx(oracle_return(p).return_mean, abs=3.5 * error)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"states": 1}, "states is 1, but must be a whole number from 2"),
        ({"actions": 2.5}, "actions is 2.5"),
        ({"inner_episodes": 0}, "inner_episodes is 0"),
        ({"p_switch": 1.5}, "p_switch is 1.5, but must be a number from 0 to 1"),
        ({"noise_std": -1}, "noise_std is -1"),
        ({"reward_mean": float("nan")}, "reward_mean is nan"),
    ],
)
def test_bad_parameters_are_refused_with_the_mend(settings, message):
    with pytest.raises(ValueError, match=f"TabularMDP/Random: {message}"):
        TabularMDPEnv(**settings)
