"""What is measured beside the return."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rllib_metarl.envs import Stream, make_vector
from rllib_metarl.evaluation.knowledge import measures_of
from rllib_metarl.evaluation.protocol import evaluate_checkpoint
from rllib_metarl.sampling.held_out import HeldOut, inner_returns
from tests.algorithms.small import small_config, small_learner


def _trial(chances: list[float], actions: list[int]) -> SimpleNamespace:
    context = np.tile(np.array(chances, np.float32), (len(actions), 1))
    return SimpleNamespace(labels={"context": context}, actions=np.array(actions))


def test_regret_is_what_the_best_arm_would_have_paid_more() -> None:
    trials = [_trial([0.2, 0.7], [0, 0, 1]), _trial([0.9, 0.5], [0, 0, 0])]
    measured = measures_of(make_vector("Bandit/Bernoulli-v0", 1), trials)
    assert measured["regret_mean"] == pytest.approx((1.0 + 0.0) / 2, abs=1e-6)
    assert measured["regret_standard_error"] == pytest.approx(0.5, abs=1e-6)


def test_regret_follows_the_arms_where_they_change() -> None:
    env = make_vector("Bandit/Bernoulli-v0", 1)
    trial = _trial([0.2, 0.7], [1, 1])
    trial.labels["context"][1] = [0.8, 0.1]
    assert measures_of(env, [trial])["regret_mean"] == pytest.approx(0.7, abs=1e-6)


def test_an_inner_episodes_return_begins_where_the_one_before_has_ended() -> None:
    trial = SimpleNamespace(
        rewards=np.array([1.0, 2.0, 4.0, 8.0]), labels={"inner_done": np.array([0, 0, 1, 0])}
    )
    measured = inner_returns([trial])
    assert measured == {"inner_return_1": 3.0, "inner_return_2": 12.0, "last_inner_return": 12.0}


def test_inner_episodes_are_told_apart_in_held_out_play() -> None:
    world = {"size": 3, "inner_horizon": 4, "inner_episodes": 3}
    config = small_config("VariBAD", env="VariBAD/GridWorld-v0", env_config=world)
    played = HeldOut(config.env, world, 8).play(small_learner(config).agent)
    measured = inner_returns(played)
    total = sum(measured[f"inner_return_{k}"] for k in (1, 2, 3))
    assert total == pytest.approx(np.mean([e.rewards.sum() for e in played]))
    assert "inner_return_4" not in measured


def test_a_choice_that_ignores_the_last_round_has_no_interaction() -> None:
    env = make_vector("TwoStep-v0", 200, {"rounds": 30}, Stream(0))
    rng, observed, taken, paid = np.random.default_rng(0), [env.reset()[0]], [], []
    for _ in range(60):
        taken.append(rng.integers(2, size=200))
        observation, reward, _, done, infos = env.step(taken[-1])
        observed.append(infos["final_obs"] if done.any() else observation)
        paid.append(reward)
    columns = zip(*(np.stack(x, 1) for x in (observed, taken, paid)), strict=True)
    episodes = [SimpleNamespace(observations=o, actions=a, rewards=r) for o, a, r in columns]
    measured = measures_of(env, episodes)
    assert measured["interaction_low"] < 0 < measured["interaction_high"]
    assert measured["interaction_high"] - measured["interaction_low"] < 1.0
    assert measured.keys() >= {"reward_effect", "plain_interaction_low"}


def test_a_checkpoint_is_measured_and_can_be_tried_on_other_arguments(
    driver_ray: None, tmp_path: Path
) -> None:
    bandit = {"arms": 2, "pulls": 6, "structure": "dependent_easy"}
    config = small_config("RL2", env="Bandit/Bernoulli-v0", env_config=bandit)
    algorithm = config.build_algo()
    algorithm.train()
    path = Path(algorithm.save_to_path(str(tmp_path / "checkpoint_000000")))
    algorithm.stop()
    easy = evaluate_checkpoint(path, episodes=64)
    changed = {"structure": "dependent_hard"}
    hard = evaluate_checkpoint(path, episodes=64, env_config=changed, quick=True)
    assert easy["env_config"]["structure"] == "dependent_easy"
    assert hard["env_config"] == bandit | {"structure": "dependent_hard"}
    assert easy["belief"]["classes"] == ["arm 0 is good", "arm 1 is good"]
    assert "no termination head" in easy["absent"]["termination"]
    # The arms differ by 0.8 and by 0.2, and the policy knows nothing yet.
    assert 0 < hard["regret_mean"] < 1.2 < easy["regret_mean"] < 4.8


def test_strikers_score_is_what_the_env_says_of_its_last_state() -> None:
    config = {"horizon": 8, "grid": [(1.0, 0.5), (0.2, 0.1)]}
    env, said = make_vector("DLCMDP/Striker-v0", 3, config, Stream(1)), []
    observations, _ = env.reset()
    for _ in range(8):
        observations, *_, infos = env.step(np.full((3, 7), 3.0, np.float32))
    said = infos["final_info"]["final_distance"]
    episodes = [SimpleNamespace(observations=o[None]) for o in infos["final_obs"]]
    measured = measures_of(env, episodes)
    assert measured["final_distance_mean"] == pytest.approx(said.mean(), abs=1e-5)
    assert measured["final_distance_median"] == pytest.approx(np.median(said), abs=1e-5)
    assert said.mean() != pytest.approx(np.hypot(0.5, 1.3), abs=1e-3)  # the ball has moved
