"""Learning pass marks: every algorithm and the belief's model, fast; the whole agent, slow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rllib_metarl.sampling.held_out import HeldOut
from tests.algorithms.small import numbers, small_config

# The best blind policy scores 0, the Bayes-optimal one 1.
PASS_MARK = 0.3

# Two goals next to each other, one pays all the time: telling which takes one step on either.
MEMORY_GAME = {
    "size": 2,
    "horizon": 12,
    "p_switch": 0.0,
    "goals": [[0, 0], [1, 1]],
    "step_reward": -0.2,
}
EPOCHS = {"minibatch_size": 192, "num_epochs": 4}
BELIEF = EPOCHS | {
    "vae_updates": 3,
    "vae_batch_size": 32,
    "vae_buffer_size": 1000,
    "vae_lr": 3e-3,
    "kl_weight": 0.05,
    "decoder_hidden": [16],
}
ACTOR_CRITIC = {
    "minibatch_size": None,
    "num_epochs": 1,
    "entropy_coeff": [[0, 0.1], [60_000, 0.0]],
    "optimiser": "adam",
}


def _memory_game(name: str, runners: int = 0, **settings: Any) -> Any:
    config = small_config(
        name,
        runners=runners,
        env_config=MEMORY_GAME,
        seed=0,
        train_batch_size_per_learner=768,
        lr=5e-3,
        gamma=0.9,
        encoder_hidden=16,
        encoder_embedding=[16],
        policy_hidden=[16],
        **settings,
    )
    envs = 64 // max(runners, 1)
    config.env_runners(num_envs_per_env_runner=envs, rollout_fragment_length=12)
    return config.build_algo()


def _learnt(name: str, iterations: int, enough: float = np.inf, **settings: Any) -> float:
    """The mean training return of the last five iterations; no more of them once it is enough."""
    algorithm, returns = _memory_game(name, **settings), []
    while len(returns) < iterations and not (len(returns) >= 5 and np.mean(returns[-5:]) > enough):
        returns.append(algorithm.train()["env_runners"]["episode_return_mean"])
    algorithm.stop()
    return float(np.mean(returns[-5:]))


# Half of these iterations is enough on most processors; their rounding decides when it is.
LEARNERS: list[tuple[str, int, dict[str, Any]]] = [
    ("RL2", 120, EPOCHS),
    ("LSTMA2C", 440, ACTOR_CRITIC),
    ("VariBAD", 120, BELIEF),
    ("DynaMITE", 120, BELIEF),
    ("HLTDynaMITE", 120, BELIEF),
    ("OraclePPO", 40, EPOCHS),
]


@pytest.mark.parametrize(
    ("name", "iterations", "settings"), LEARNERS, ids=[case[0] for case in LEARNERS]
)
def test_who_uses_what_it_saw_finds_out_which_goal_pays(
    name: str, iterations: int, settings: dict[str, Any], shared_ray: None
) -> None:
    """Staying on the goal that pays gives about 11 of 12; staying on either, 6."""
    assert _learnt(name, iterations, enough=8.5, **settings) > 8.5


def test_who_is_blind_does_not(shared_ray: None) -> None:
    assert 4.0 < _learnt("BlindPPO", 40, **EPOCHS) < 6.5


def test_asynchronous_actors_learn_too(shared_ray: None) -> None:
    """As many steps as it takes: what each actor sends when is up to the machine."""
    algorithm = _memory_game("LSTMA3C", runners=2, updates_per_iteration=10, **ACTOR_CRITIC)
    returns = 0.0
    while returns < 8.0 and algorithm.env_steps() < 500_000:
        returns = algorithm.train()["env_runners"]["episode_return_mean"]
    algorithm.stop()
    assert returns >= 8.0


def test_the_belief_learns_to_tell_the_reward(shared_ray: None) -> None:
    """Rewards on a 2 x 2 grid with fixed goals vary by which one pays: only the belief can tell."""
    config = small_config(
        env_config={"size": 2, "horizon": 12, "p_switch": 0.05, "goals": [[0, 0], [1, 1]]},
        seed=0,
        train_batch_size_per_learner=384,
        minibatch_size=384,
        num_epochs=1,
        encoder_hidden=32,
        encoder_embedding=[32],
        decoder_hidden=[32],
        latent_size=3,
        vae_lr=3e-3,
        vae_updates=12,
        vae_batch_size=32,
        vae_buffer_size=2000,
        kl_weight=0.02,
        consistency_weight=0.05,
        termination_weight=0.1,
        lr=0.0,  # the policy stays random: the belief alone learns
    )
    config.env_runners(num_envs_per_env_runner=32, rollout_fragment_length=12)
    algorithm = config.build_algo()
    errors = [numbers(algorithm.train())["vae_reward_error"] for _ in range(50)]
    rewards = np.concatenate(
        [e.get_rewards() for e in algorithm.env_runner.sample(num_timesteps=384, explore=True)]
    )
    algorithm.stop()
    # Without the belief the cell is known, and on a goal the reward is 1 or 0 by a coin: an error
    # of 0.125, two thirds of the variance.
    assert rewards.var() > 0.15
    assert np.mean(errors[-5:]) < 0.35 * rewards.var()


@pytest.mark.slow
def test_dynamite_beats_every_policy_that_is_blind_to_the_context(shared_ray: None) -> None:
    """The tuned example's settings on a smaller grid; about two minutes on one idle core."""
    grid = {"size": 3, "horizon": 30, "p_switch": 0.07}
    config = small_config(
        env_config=grid,
        seed=0,
        train_batch_size_per_learner=1920,
        minibatch_size=240,
        num_epochs=4,
        lr=2e-3,
        clip_param=0.2,
        entropy_coeff=[[0, 0.05], [400_000, 0.0]],
        vf_loss_coeff=0.5,
        policy_hidden=[128, 128],
        latent_size=5,
        encoder_embedding=[64],
        encoder_hidden=64,
        decoder_hidden=[64],
        reward_decoder_inputs=["next_observation", "action"],
        reward_likelihood="bernoulli",
        kl_weight=0.05,
        vae_lr=2e-3,
        vae_updates=6,
        vae_batch_size=32,
        vae_max_pairs=6000,
        vae_buffer_size=10_000,
        consistency_weight=0.1,
        termination_weight=0.1,
    )
    config.env_runners(num_envs_per_env_runner=64, rollout_fragment_length=30)
    algorithm = config.build_algo()
    held_out, score = HeldOut(config.env, grid, 256, seed=1), -1.0
    while score < PASS_MARK and algorithm.env_steps() < 600_000:
        for _ in range(20):
            algorithm.train()
        score = held_out.evaluate(algorithm.env_runner.module)["normalised_score"]
    held_out.close()
    algorithm.stop()
    assert score >= PASS_MARK
