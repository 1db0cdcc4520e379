"""Climbs the rungs of the debug ladder: settings for an unseen env, training, held-out play."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rllib_metarl.algorithms import ALGORITHMS, RUNGS
from rllib_metarl.envs import Stream
from rllib_metarl.errors import UserError
from rllib_metarl.evaluation.ladder.verdicts import (
    BELIEF,
    MEMORY,
    RUNG_LABELS,
    SESSIONS,
    Outcome,
    left_out,
)
from rllib_metarl.models.actions import ActionCodec
from rllib_metarl.models.observations import ObservationCodec
from rllib_metarl.sampling.collector import blamed
from rllib_metarl.sampling.envs import build_vector
from rllib_metarl.sampling.held_out import HeldOut
from rllib_metarl.sampling.patience import LONG, MEND, time_limit

Array = NDArray[Any]
Labels = dict[str, Any]

PROBE_ENVS = 16
PROBE_EPISODES = 64
PROBE_STEPS = 20_000  # of all sub-envs; one meta-episode of each is waited for
BATCH_STEPS = (1_920, 7_680)
MINIBATCH_STEPS = 480  # fewer are too noisy for these learning rates
MAX_ENVS = 128
VAE_UPDATES = 1_000  # in the whole run: a belief needs as many however soon it is wanted


@dataclass(frozen=True)
class Offer:
    """What an env offers, seen by acting at random in it.

    horizon: env steps of the longest meta-episode. context_size: width of info["context"], 0 where
    there is none. labels: names of the labels. continuous: whether actions are vectors.
    reward_scale: how far single rewards differ, their standard deviation where they do.
    random: the meta-episodes that were acted at random.
    """

    horizon: int
    context_size: int
    labels: frozenset[str]
    continuous: bool
    reward_scale: float
    random: Outcome


@dataclass(frozen=True)
class Plan:
    """What is climbed: the env, env steps per rung, held-out meta-episodes, seed, settings.

    others: name -> Algorithm class of what is climbed after the ladder's own rungs.
    """

    env: Any
    env_config: dict[str, Any]
    steps: int
    episodes: int = 256
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, str]:
        """Rung -> what it is called, in the order in which they are climbed."""
        return RUNG_LABELS | {name: name for name in self.others}

    def algorithm(self, rung: str) -> Any:
        """The Algorithm class of a rung."""
        return self.others.get(rung) or ALGORITHMS[RUNGS[rung].algorithm].algorithm()


def probe(plan: Plan) -> Offer:
    """Acts at random until meta-episodes have ended.

    Raises:
        UserError: if none ends, or the env's spaces are none that an agent here can have.
    """
    env = build_vector(plan.env, PROBE_ENVS, plan.env_config, Stream(plan.seed, evaluation=True))
    try:
        choices = sum(ActionCodec(env.single_action_space).categories)
        ObservationCodec(env.single_observation_space, choices)
        limit = time_limit(env)
        with blamed(env):
            acted = _act_at_random(env, limit, plan.env)
        return _offer(env, limit, *acted)
    finally:
        env.close()


def _act_at_random(env: gym.vector.VectorEnv, limit: int, name: Any) -> tuple[Array, Array, Labels]:
    """Rewards and ends `[T, N]` of random actions, and the labels of the last step."""
    env.reset()
    env.action_space.seed(0)
    rewards, ends = [], []
    ended = np.zeros(env.num_envs, np.int64)
    while True:
        _, reward, terminated, truncated, infos = env.step(env.action_space.sample())
        rewards.append(reward)
        ends.append(terminated | truncated)
        ended += ends[-1]
        acted = len(ends) * env.num_envs
        if ended.all() and (ended.sum() >= PROBE_EPISODES or acted >= PROBE_STEPS):
            return np.array(rewards), np.array(ends), infos
        if len(ends) > max(limit, LONG):
            break
    if ended.any():
        return np.array(rewards), np.array(ends), infos
    raise UserError(f"env {name}: no meta-episode ended within {len(ends):,} random steps. {MEND}")


def _offer(
    env: gym.vector.VectorEnv, limit: int, rewards: Array, ends: Array, infos: Labels
) -> Offer:
    labels = frozenset(infos).intersection(("context", "session", "switched"))
    context = np.reshape(infos.get("context", np.empty((env.num_envs, 0))), (env.num_envs, -1))
    played = [_episodes(rewards[:, i], ends[:, i]) for i in range(env.num_envs)]
    each = min(filter(None, map(len, played)))  # equally many of all, or short ones count for more
    scale = float(max(rewards.std(), 0.1 * abs(rewards.mean())))
    episodes = [episode for of_one in played for episode in of_one[:each]]
    return Offer(
        horizon=max(limit, *map(len, episodes)),
        context_size=context.shape[1],
        labels=labels,
        continuous=ActionCodec(env.single_action_space).numbers > 0,
        reward_scale=scale if scale > 1e-5 else 1.0,  # nothing paid yet: none is seen
        random=Outcome(np.array([episode.sum() for episode in episodes])),
    )


def _episodes(rewards: Array, ends: Array) -> list[Array]:
    """The rewards `[T]` of one sub-env, cut into its finished meta-episodes."""
    return np.split(rewards, np.flatnonzero(ends) + 1)[:-1]


def absence(rung: str, offer: Offer) -> str:
    """Why a rung cannot be climbed on such an env; empty if it can."""
    if rung == "oracle" and not offer.context_size:
        return "left out: the env gives no info['context']"
    missing = [name for name in ("session", "switched") if name not in offer.labels]
    if rung == SESSIONS and missing:
        return f"left out: the env gives no info['{missing[0]}']; rllib_metarl.envs.Sessions does"
    return ""


def settings(rung: str, offer: Offer, plan: Plan) -> dict[str, Any]:
    """Settings of a small run, scaled to the env's horizon and the steps there are.

    Rates and exploration end well above 0: where they are annealed within a small run, policies
    settle before the belief is there to be used. An algorithm that is not one of the ladder's own
    keeps what it has.
    """
    common = {
        "evaluate_every_steps": 0,
        "max_env_faults": 0,  # the ladder is climbed to find them
        "seed": plan.seed,
    }
    if rung in plan.others:
        return common | plan.settings
    trials = _trials(offer.horizon, plan.steps)
    batch = trials * offer.horizon
    recurrent = rung == MEMORY
    rate = 1e-3 if recurrent or offer.continuous else 2e-3
    entropy = 0.005 if offer.continuous else 0.05
    sight = float(np.clip(offer.horizon / 3, 20, 100))  # steps that the policy looks ahead
    chosen: dict[str, Any] = {
        "num_envs_per_env_runner": min(trials, MAX_ENVS),
        "train_batch_size_per_learner": batch,
        "minibatch_size": min(batch, max(batch // (8 if recurrent else 16), MINIBATCH_STEPS)),
        "num_epochs": 4,
        "gamma": 1 - 1 / sight,
        "lr": [[0, rate], [plan.steps, rate / 2]],
        "entropy_coeff": [[0, entropy], [plan.steps, 0.4 * entropy]],
        "vf_loss_coeff": 0.5,
    }
    if rung == "oracle":
        chosen["context_size"] = offer.context_size
    if recurrent:
        chosen["recurrent_cell"] = "lstm"
    if rung in (BELIEF, SESSIONS):
        chosen |= _belief_settings(offer, plan)
    return chosen | common | plan.settings


def _trials(horizon: int, steps: int) -> int:
    """Meta-episodes in a batch: large batches, but still some 80 of them."""
    return max(int(np.clip(steps // 80, *BATCH_STEPS)) // horizon, 4)


def _belief_settings(offer: Offer, plan: Plan) -> dict[str, Any]:
    """The ELBO's: rewards and observations are decoded, since either may tell the context."""
    batch = _trials(offer.horizon, plan.steps) * offer.horizon
    return {
        "vae_lr": [[0, 2e-3], [plan.steps, 1e-3]],
        "vae_updates": int(np.clip(VAE_UPDATES * batch / plan.steps, 6, 20)),
        "vae_batch_size": 32,
        "vae_max_pairs": 6000,
        "vae_buffer_size": int(np.clip(480_000 // offer.horizon, 100, 8000)),
        "vae_reward_scale": 0.5 * offer.reward_scale,
        "reward_decoder_inputs": ["observation", "action", "next_observation"],
        "decode_state": True,
        "kl_weight": 0.05,
    }


def check(offer: Offer, plan: Plan) -> None:
    """Finds out before the climb whether the settings suit every rung.

    Raises:
        UserError: if they do not.
    """
    for rung in plan.labels:
        if not absence(rung, offer):
            try:
                _config(rung, offer, plan).validate()
            except (TypeError, ValueError) as error:
                name = plan.algorithm(rung).__name__
                raise UserError(f"--config: {name} refuses it: {error}") from None


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
    try:
        while algorithm.env_steps() < plan.steps:
            result = algorithm.train()
            returns = result["env_runners"].get("episode_return_mean", float("nan"))
            progress(algorithm.env_steps(), float(returns))
        returns = _play(plan, algorithm.env_runner.module)
        return Outcome(returns, "", algorithm.env_steps(), time.perf_counter() - began)
    finally:
        algorithm.stop()


def _play(plan: Plan, module: Any) -> NDArray[np.float64]:
    """Returns `[N]` of the held-out meta-episodes, greedily."""
    held_out = HeldOut(plan.env, plan.env_config, plan.episodes, plan.seed)
    try:
        return np.array([episode.rewards.sum() for episode in held_out.play(module)])
    finally:
        held_out.close()


def references(plan: Plan) -> dict[str, float] | None:
    """The env's exact reference returns, or None where it has none."""
    held_out = HeldOut(plan.env, plan.env_config, 1, plan.seed)
    try:
        return held_out.references()
    finally:
        held_out.close()


def _config(rung: str, offer: Offer, plan: Plan) -> Any:
    config = plan.algorithm(rung).get_default_config()
    config.environment(plan.env, env_config=plan.env_config)
    chosen = settings(rung, offer, plan)
    # Not every rung has every setting: what is changed is changed where there is something.
    return config.update_from_dict({k: v for k, v in chosen.items() if has_setting(config, k)})


def has_setting(config: Any, name: str) -> bool:
    """Whether a config has a setting of this name, as an experiment file writes it."""
    return hasattr(config, "lambda_" if name == "lambda" else name)
