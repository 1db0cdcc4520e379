"""Climbs the rungs of the debug ladder: settings for an unseen env, training, held-out play."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from rllib_metarl.algorithms import ALGORITHMS
from rllib_metarl.envs import Stream
from rllib_metarl.errors import UserError
from rllib_metarl.evaluation.ladder import Outcome, left_out
from rllib_metarl.sampling.envs import build_vector
from rllib_metarl.sampling.held_out import HeldOut

ALGORITHM_OF = {
    "blind": "BlindPPO",
    "oracle": "OraclePPO",
    "rl2": "RL2",
    "varibad": "VariBAD",
    "dynamite": "DynaMITE",
}
PROBE_ENVS = 16
PROBE_STEPS = 5_000
BATCH_STEPS = 3_840


@dataclass(frozen=True)
class Offer:
    """What an env offers, seen by acting at random in it.

    horizon: env steps of the longest meta-episode. context_size: width of info["context"], 0 where
    there is none. labels: names of the labels. continuous: whether actions are vectors.
    reward_scale: how far single rewards differ, their standard deviation where they do.
    random_return: mean return.
    """

    horizon: int
    context_size: int
    labels: frozenset[str]
    continuous: bool
    reward_scale: float
    random_return: float


@dataclass(frozen=True)
class Plan:
    """What is climbed: the env, env steps per rung, held-out meta-episodes, seed, settings."""

    env: Any
    env_config: dict[str, Any]
    steps: int
    episodes: int = 256
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


def probe(plan: Plan) -> Offer:
    """Acts at random until meta-episodes have ended.

    Raises:
        UserError: if none ends within `PROBE_STEPS` steps.
    """
    env = build_vector(plan.env, PROBE_ENVS, plan.env_config, Stream(plan.seed, evaluation=True))
    try:
        return _probe(env, plan.env)
    finally:
        env.close()


def _probe(env: gym.vector.VectorEnv, name: Any) -> Offer:
    _, infos = env.reset()
    labels = {key for key in ("context", "session", "switched") if key in infos}
    env.action_space.seed(0)
    rewards, ends = [], []
    while len(rewards) < PROBE_STEPS and not (ends and np.any(ends, axis=0).all()):
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        rewards.append(reward)
        ends.append(terminated | truncated)
    ended = np.array(ends)
    if not ended.any():
        raise UserError(
            f"env {name}: no meta-episode ended within {PROBE_STEPS:,} random steps. Give it an "
            "end: wrap it in gymnasium.wrappers.TimeLimit, or register it with max_episode_steps."
        )
    finished = np.flatnonzero(ended.any(axis=0))
    lengths = ended[:, finished].argmax(axis=0) + 1
    paid = np.array(rewards)
    returns = [paid[:length, i].sum() for i, length in zip(finished, lengths, strict=True)]
    return Offer(
        horizon=max(int(lengths.max()), _time_limit(name)),
        context_size=int(np.shape(infos["context"])[1]) if "context" in labels else 0,
        labels=frozenset(labels),
        continuous=isinstance(env.single_action_space, gym.spaces.Box),
        reward_scale=float(max(paid.std(), 0.1 * abs(paid.mean())) or 1.0),
        random_return=float(np.mean(returns)),
    )


def _time_limit(name: Any) -> int:
    """The env's registered time limit, or 0: acting at random may end much earlier."""
    spec = gym.registry.get(name.partition(":")[2] or name) if isinstance(name, str) else None
    return (spec.max_episode_steps if spec else None) or 0


def absence(rung: str, offer: Offer) -> str:
    """Why a rung cannot be climbed on such an env; empty if it can."""
    if rung == "oracle" and not offer.context_size:
        return "left out: the env gives no info['context']"
    missing = [name for name in ("session", "switched") if name not in offer.labels]
    if rung == "dynamite" and missing:
        return f"left out: the env gives no info['{missing[0]}']; rllib_metarl.envs.Sessions does"
    return ""


def settings(rung: str, offer: Offer, plan: Plan) -> dict[str, Any]:
    """Settings of a small run, scaled to the env's horizon and the steps there are."""
    envs = int(np.clip(BATCH_STEPS // offer.horizon, 4, 64))
    batch = envs * offer.horizon
    entropy = 0.005 if offer.continuous else 0.05
    chosen: dict[str, Any] = {
        "num_envs_per_env_runner": envs,
        "rollout_fragment_length": offer.horizon,
        "train_batch_size_per_learner": batch,
        "minibatch_size": max(batch // 8, min(batch, offer.horizon)),
        "num_epochs": 4,
        "lr": [[0, 1e-3], [plan.steps, 1e-4]],
        "entropy_coeff": [[0, entropy], [int(0.75 * plan.steps), 0.0]],
        "vf_loss_coeff": 0.5,
        "evaluate_every_steps": 0,
        "seed": plan.seed,
    }
    if rung == "oracle":
        chosen["context_size"] = offer.context_size
    if rung == "rl2":
        chosen["recurrent_cell"] = "lstm"
    if rung in ("varibad", "dynamite"):
        chosen |= _belief_settings(offer, plan)
    return chosen | plan.settings


def _belief_settings(offer: Offer, plan: Plan) -> dict[str, Any]:
    """The ELBO's: rewards and observations are decoded, since either may tell the context."""
    return {
        "vae_lr": [[0, 2e-3], [plan.steps, 2e-4]],
        "vae_updates": 6,
        "vae_batch_size": 32,
        "vae_max_pairs": 6000,
        "vae_buffer_size": int(np.clip(400_000 // offer.horizon, 100, 8000)),
        "vae_reward_scale": 0.5 * offer.reward_scale,
        "reward_decoder_inputs": ["observation", "action", "next_observation"],
        "decode_state": True,
        "kl_weight": 0.05,
    }


def climb(rung: str, offer: Offer, plan: Plan, progress: Callable[[int, float], None]) -> Outcome:
    """Trains one rung and plays it on the held-out tasks; Ray must have been started.

    Args:
        progress: called after every iteration with env steps and the training return.

    Raises:
        UserError: if the env or a setting does not fit.
    """
    why = absence(rung, offer)
    if why:
        return left_out(why)
    began = time.perf_counter()
    algorithm = _config(rung, offer, plan).build_algo()
    held_out = HeldOut(plan.env, plan.env_config, plan.episodes, plan.seed)
    try:
        while algorithm.env_steps() < plan.steps:
            result = algorithm.train()
            returns = result["env_runners"].get("episode_return_mean", float("nan"))
            progress(algorithm.env_steps(), float(returns))
        played = held_out.play(algorithm.env_runner.module)
        steps = algorithm.env_steps()
    finally:
        held_out.close()
        algorithm.stop()
    returns = np.array([episode.rewards.sum() for episode in played])
    return Outcome(returns, "", steps, time.perf_counter() - began)


def _config(rung: str, offer: Offer, plan: Plan) -> Any:
    config = empty_config(rung).environment(plan.env, env_config=plan.env_config)
    chosen = settings(rung, offer, plan)
    # Not every rung has every setting: what is changed is changed where there is something.
    return config.update_from_dict({k: v for k, v in chosen.items() if has_setting(config, k)})


def empty_config(rung: str) -> Any:
    """The default config of a rung's algorithm."""
    entry = ALGORITHMS[ALGORITHM_OF[rung]]
    return entry.config()(algo_class=entry.algorithm())


def has_setting(config: Any, name: str) -> bool:
    """Whether a config has a setting of this name, as an experiment file writes it."""
    return hasattr(config, "lambda_" if name == "lambda" else name)
