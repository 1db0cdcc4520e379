"""The two-step task: what it does, its references and its exact filter."""

from __future__ import annotations

import functools
import itertools
import pathlib
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rllib_metarl.envs import BatchedEnvs, Stream, make_vector
from rllib_metarl.envs.two_step.env import TwoStepEnv
from rllib_metarl.envs.two_step.parameters import TwoStepParameters
from rllib_metarl.envs.two_step.references import bayes_return
from tests.envs.filters import two_step as exact_filter

ID = "TwoStep-v0"
ODD = {"rounds": 4, "common": 0.7, "rich": 0.8, "poor": 0.3, "p_switch": 0.2}


def play(env, steps: int, seed: int | list[int] | None = None) -> list[dict]:
    """Random play of a vector env; one dict of all that came back for each step."""
    rng = np.random.default_rng(0)
    observations, infos = env.reset(seed=seed)
    record = [{"obs": observations, **infos}]
    for _ in range(steps):
        taken = rng.integers(0, 2, env.num_envs)
        observations, rewards, terminated, truncated, infos = env.step(taken)
        assert not terminated.any()
        step = {"obs": observations, "action": taken, "reward": rewards, "end": truncated}
        record.append({**step, **infos})
    return record


def columns(record: list[dict]) -> tuple[np.ndarray, ...]:
    """Observations [B, T + 1, 3], actions, rewards [B, T] and contexts [B, T + 1] of a record."""
    last = [step.get("final_info", step)["context"][:, 0] for step in record]
    return (
        np.stack([step.get("final_obs", step["obs"]) for step in record], 1),
        np.stack([step["action"] for step in record[1:]], 1),
        np.stack([step["reward"] for step in record[1:]], 1),
        np.stack(last, 1),
    )


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return np.array_equal(a, b) and np.asarray(a).dtype == np.asarray(b).dtype


@pytest.fixture(scope="module")
def played() -> tuple[np.ndarray, ...]:
    """1000 meta-episodes of random play in the default task."""
    return columns(play(make_vector(ID, 1000, stream=Stream(0)), 200))


def test_a_round_is_a_choice_and_a_second_state_that_may_pay(played):
    observations, actions, rewards, _ = played
    assert observations.shape == (1000, 201, 3) and observations.dtype == np.float32
    assert (observations.sum(2) == 1).all()
    assert (observations[:, 0::2, 0] == 1).all() and (observations[:, 1::2, 0] == 0).all()
    assert (rewards[:, 0::2] == 0).all() and np.isin(rewards[:, 1::2], (0, 1)).all()
    common = observations[:, 1::2, 2] == actions[:, 0::2]
    for action in (0, 1):
        assert common[actions[:, 0::2] == action].mean() == pytest.approx(0.8, abs=0.006)


def test_the_good_state_pays_often_and_the_other_seldom(played):
    observations, _, rewards, contexts = played
    good = observations[:, 1::2, 2] == contexts[:, 1:-1:2]
    paid = rewards[:, 1::2]
    assert paid[good].mean() == pytest.approx(0.9, abs=0.006)
    assert paid[~good].mean() == pytest.approx(0.1, abs=0.006)
    # in every round alike, the first and the last included
    assert paid.mean(0) == pytest.approx(0.5, abs=0.08)
    assert good[:, [0, -1]].mean(0) == pytest.approx(0.5, abs=0.07)


def test_the_good_state_changes_between_rounds_with_p_switch():
    record = play(make_vector(ID, 1000, stream=Stream(2)), 199)
    swaps = []
    for t, (before, after) in enumerate(itertools.pairwise(record), start=1):
        changed = (before["context"] != after["context"])[:, 0]
        assert np.array_equal(changed, after["switched"] == 1)
        assert np.array_equal(after["session"] - before["session"], after["switched"])
        assert t % 2 == 0 or not changed.any()
        swaps.append(changed.mean())
    assert np.mean(swaps[1::2]) == pytest.approx(0.025, abs=0.002)
    assert (record[0]["session"] == 0).all() and (record[0]["switched"] == 0).all()
    assert record[0]["context"].mean() == pytest.approx(0.5, abs=0.06)


def test_the_end_is_after_the_last_round_and_the_next_meta_episode_begins_anew():
    env = make_vector(ID, 200, {"rounds": 3, "p_switch": 1.0}, Stream(1))
    record = play(env, 12)
    assert [step["end"].all() for step in record[1:]] == [k % 6 == 5 for k in range(12)]
    last = record[6]
    assert (last["session"] == 0).all() and (last["switched"] == 0).all()
    assert (last["final_info"]["session"] == 3).all() and (
        last["final_info"]["switched"] == 1
    ).all()
    assert (last["final_obs"] == [1, 0, 0]).all() and (last["obs"] == [1, 0, 0]).all()
    assert 0.2 < last["reward"].mean() < 0.8  # the last reward outlives the reset


def test_the_second_action_has_no_effect():
    pair = [make_vector(ID, 20, stream=Stream(3)) for _ in range(2)]
    for env in pair:
        env.reset()
    for t in range(60):
        first, second = (env.step(np.full(20, t % 2 * k)) for k, env in enumerate(pair))
        assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])


@pytest.mark.parametrize("settings", [{}, ODD])
@pytest.mark.parametrize("seed", [11, [5, 3, 9, 9]])
def test_single_and_vector_trajectories_agree_for_the_same_seeds(settings, seed):
    native = play(make_vector(ID, 4, settings), 430, seed)
    singles = play(BatchedEnvs([gym.make(ID, **settings) for _ in range(4)]), 430, seed)
    assert all(same(a, b) for a, b in zip(native, singles, strict=True))


def test_rows_that_end_at_different_times_do_not_disturb_each_other():
    env, twin = (make_vector(ID, 2, {"rounds": 9}, Stream(8)) for _ in range(2))
    env.reset(), twin.reset()
    twin.simulator._t[1] += 6  # row 1 is three rounds ahead
    ends = []
    for _ in range(18):
        ours, theirs = env.step(np.zeros(2, int)), twin.step(np.zeros(2, int))
        assert ours[1][0] == theirs[1][0] and np.array_equal(ours[0][0], theirs[0][0])
        assert np.array_equal(ours[4]["context"][0], theirs[4]["context"][0])
        ends.append(theirs[3].tolist())
    assert [i for i, end in enumerate(ends) if end[1]] == [11]
    assert [i for i, end in enumerate(ends) if end[0]] == [17]


def test_gymnasium_finds_nothing_wrong_and_copies_go_on_alike():
    check_env(gym.make(ID, render_mode="rgb_array", **ODD).unwrapped)
    env = make_vector(ID, 3, stream=Stream(4))
    env.reset()
    twin = pickle.loads(pickle.dumps(env))
    for _ in range(230):
        ours, theirs = env.step(np.ones(3, int)), twin.step(np.ones(3, int))
        assert all(same(a, b) for a, b in zip(ours, theirs, strict=True))
    labels, before = env.simulator.labels(), env.simulator.observe()
    labels["context"][:] = labels["session"][:] = 9
    assert np.array_equal(env.simulator.observe(), before)
    assert not (env.simulator.labels()["context"] == 9).any()


def test_the_text_and_the_picture_show_where_the_agent_is():
    env = TwoStepEnv(common=1.0, rich=1.0, poor=0.0, render_mode="ansi")
    _, info = env.reset(seed=0)
    names = ["A*", "B"] if info["context"][0] == 0 else ["A", "B*"]
    assert env.render() == f"round 0, reward 0\n  [first step]\n  {names[0]}   {names[1]}\n"
    good = int(info["context"][0])
    env.step(good)
    names[good] = f"[{names[good]}]"
    assert env.render() == f"round 0, reward 0\n  first step\n  {names[0]}   {names[1]}\n"
    env.step(0)
    assert env.render().startswith("round 1, reward 1\n  [first step]\n")
    picture = TwoStepEnv(render_mode="rgb_array")
    picture.reset(seed=0)
    images = [picture.render()]
    for action in (0, 1):
        picture.step(action)
        images.append(picture.render())
    assert images[0].shape == (192, 192, 3) and images[0].dtype == np.uint8
    assert all((a != b).any() for a, b in itertools.combinations(images, 2))


def best_by_enumeration(p: TwoStepParameters) -> float:
    """The best expected return of any policy, from all histories; none of the project's code.

    A history is worth the joint probabilities of it and of each good state, (for A, for B).
    """

    @functools.cache
    def value(weights: tuple[float, float], left: int) -> float:
        if left == 0:
            return 0.0
        visits = [visit(weights, left, state) for state in (0, 1)]
        mix = [p.common * visits[a] + (1 - p.common) * visits[1 - a] for a in (0, 1)]
        return max(mix)

    def visit(weights, left, state):
        total = 0.0
        for reward in (0, 1):
            pays = [p.rich if good == state else p.poor for good in (0, 1)]
            seen = [w * (q if reward else 1 - q) for w, q in zip(weights, pays, strict=True)]
            stay = 1 - p.p_switch
            after = tuple(stay * seen[m] + p.p_switch * seen[1 - m] for m in (0, 1))
            total += reward * sum(seen) + value(after, left - 1)
        return total

    return value((0.5, 0.5), p.rounds)


@pytest.mark.parametrize(
    "settings",
    [
        {"rounds": 1},
        {"rounds": 7},
        ODD,
        {**ODD, "rounds": 7, "poor": 0.0},
        {"rounds": 6, "common": 0.6, "rich": 1.0, "poor": 0.9, "p_switch": 0.0},
        {"rounds": 5, "common": 0.5, "p_switch": 1.0},
        {"rounds": 6, "rich": 1.0, "poor": 0.0, "p_switch": 1.0},
    ],
)
def test_the_bayes_reference_is_the_best_over_all_histories(settings):
    parameters = TwoStepParameters.make(**settings)
    expected = best_by_enumeration(parameters)
    assert bayes_return(parameters) == pytest.approx(expected, abs=1e-4)
    assert make_vector(ID, 1, settings).reference_returns()["bayes"] >= expected - 1e-9


def test_the_references_of_the_default():
    references = make_vector(ID, 1).reference_returns()
    assert list(references) == ["random", "blind", "bayes", "oracle"]
    assert references == pytest.approx(
        {"random": 50, "blind": 50, "bayes": 70.5855, "oracle": 74}, abs=0.0005
    )
    parameters = TwoStepParameters.make()
    assert bayes_return(parameters, 1001) == pytest.approx(references["bayes"], abs=1e-5)


def test_random_play_earns_the_random_reference(played):
    returns = played[2].sum(1)
    assert returns.mean() == pytest.approx(50, abs=3.5 * returns.std() / np.sqrt(1000))


def test_who_is_told_the_good_state_earns_the_oracle_reference():
    env = make_vector(ID, 2000, {"rounds": 40, "p_switch": 0.1}, Stream(5))
    _, infos = env.reset()
    total = np.zeros(2000)
    for _ in range(80):
        _, rewards, _, _, infos = env.step(infos["context"][:, 0].astype(int))
        total += rewards
    error = total.std() / np.sqrt(2000)
    assert total.mean() == pytest.approx(env.reference_returns()["oracle"], abs=3.5 * error)


def by_enumeration(observations: np.ndarray, rewards: np.ndarray) -> list[float]:
    """P(m_t = 1 | history) of one tiny meta-episode of `ODD`, over all paths of contexts."""
    result = []
    for t in range(len(observations)):
        rounds = t // 2
        weight = np.zeros(2)
        for path in itertools.product(range(2), repeat=rounds + 1):
            chance = 0.5
            for k in range(rounds):
                chance *= 0.2 if path[k] != path[k + 1] else 0.8
                good = observations[2 * k + 1][1 + path[k]] == 1
                pays = 0.8 if good else 0.3
                chance *= pays if rewards[2 * k + 1] else 1 - pays
            weight[path[-1]] += chance
        result.append(weight[1] / weight.sum())
    return result


def test_the_filter_equals_the_enumeration_of_all_context_paths():
    observations, actions, rewards, _ = columns(play(make_vector(ID, 60, ODD, Stream(1)), 8))
    beliefs = exact_filter(observations, actions, rewards, **ODD)
    assert beliefs.shape == (60, 9)
    for i in range(60):
        assert beliefs[i] == pytest.approx(by_enumeration(observations[i], rewards[i]), abs=1e-12)


def test_the_filter_is_calibrated(played):
    """One moment of each meta-episode, so that the samples are independent."""
    observations, actions, rewards, contexts = played
    beliefs, truth = exact_filter(observations, actions, rewards)[:, -1], contexts[:, -1]
    bins = np.digitize(beliefs, [0.2, 0.4, 0.6, 0.8])
    for b in range(5):
        chosen = bins == b
        error = abs(truth[chosen].mean() - beliefs[chosen].mean())
        assert error < 4 * 0.5 / np.sqrt(chosen.sum())
    assert np.mean((beliefs - truth) ** 2) < 0.15  # not knowing anything costs 0.25


def test_the_posterior_is_shown_on_request():
    env = make_vector(ID, 30, {**ODD, "show_posterior": True}, Stream(2))
    record = play(env, 8)
    shown = np.stack([step.get("final_info", step)["posterior"][:, 0] for step in record], 1)
    assert shown.dtype == np.float32 and (record[8]["posterior"] == 0.5).all()
    assert shown == pytest.approx(exact_filter(*columns(record)[:3], **ODD), abs=1e-6)
    assert "posterior" not in make_vector(ID, 2).reset()[1]


def test_the_page_says_what_the_references_are():
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "envs.md").read_text()
    for env_id in (ID, "TabularMDP/Random-v0"):
        about = " ".join(page.split(f"For the default `{env_id}`:")[1][:300].split())
        for name, value in make_vector(env_id, 1).reference_returns().items():
            assert f"`{name}` ({value:.2f})" in about


def test_impossible_evidence_changes_no_belief():
    observations = np.eye(3)[[[0, 1, 0, 1, 0]]]
    rewards = np.array(
        [
            [
                0,
                1,
                0,
                0,
            ]
        ]
    )  # A pays for certain, and then not, without a switch
    settings = {"rich": 1.0, "poor": 0.0, "p_switch": 0.0}
    beliefs = exact_filter(observations, np.zeros((1, 4)), rewards, **settings)
    assert beliefs.tolist() == [[0.5, 0.5, 0.0, 0.0, 0.0]]


def test_the_filter_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"give \[B, T \+ 1, 3\], \[B, T\] and \[B, T\]"):
        exact_filter(np.zeros((2, 5, 3)), np.zeros((2, 4)), np.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"give \[B, T \+ 1, 3\]"):
        exact_filter(np.zeros((5, 3)), np.zeros(4), np.zeros(4))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rounds": 0}, "rounds is 0, but must be a whole number from 1"),
        ({"common": 0.4}, "common is 0.4, but must be a number from 0.5 to 1"),
        ({"rich": 1.1}, "rich is 1.1"),
        ({"rich": 0.3, "poor": 0.3}, "rich is 0.3 and poor is 0.3.*greater"),
        ({"p_switch": -0.1}, "p_switch is -0.1"),
    ],
)
def test_bad_parameters_are_refused_with_the_mend(settings, message):
    with pytest.raises(ValueError, match=f"TwoStep: {message}"):
        TwoStepEnv(**settings)
