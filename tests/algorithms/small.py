"""Small configs of the algorithms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from rllib_metarl.algorithms import ALGORITHMS
from rllib_metarl.learning.batch import Trajectories
from rllib_metarl.sampling.runner import MetaEpisodeRunner

GRID = "DLCMDP/GridWorld-v0"
SMALL_GRID: dict[str, Any] = {"size": 3, "horizon": 6, "p_switch": 0.3}

SMALL: dict[str, Any] = {
    "train_batch_size_per_learner": 48,
    "minibatch_size": 24,
    "num_epochs": 2,
    "latent_size": 2,
    "encoder_hidden": 8,
    "encoder_embedding": [8],
    "policy_hidden": [8],
}
SMALL_VAE: dict[str, Any] = {
    "vae_batch_size": 4,
    "vae_updates": 2,
    "vae_buffer_size": 20,
    "decoder_hidden": [8],
}
SMALL_TASKS: dict[str, Any] = {
    "meta_batch_size": 2,
    "rollouts_per_task": 4,
    "inner_lr": 0.5,
    "adaptation_rollouts": 2,
    "policy_hidden": [8],
}
"""Of what plays tasks that are held: a batch is 8 meta-episodes before and 8 after adapting."""

SMALL_REPLAY: dict[str, Any] = {
    "train_batch_size_per_learner": 48,
    "train_tasks": 4,
    "updates": 2,
    "meta_batch_size": 2,
    "task_batch_size": 8,
    "context_size": 4,
    "replay_capacity": 100,
    "context_capacity": 20,
    "latent_size": 2,
    "resample_steps": 1,
    "encoder_layers": [8],
    "critic_hidden": [8],
    "policy_hidden": [8],
}
"""Of what learns from a replay by task: z is drawn at every step, whatever the env."""


def small_config(
    name: str = "DynaMITE", *, env: Any = GRID, runners: int = 0, **settings: Any
) -> Any:
    """A config with 8 sub-envs of 6 steps in all, so that a batch is 8 meta-episodes.

    `env_config` and `seed` may be among the settings; the others go to ``training()``.
    """
    config = ALGORITHMS[name].config()()
    env_config = settings.pop("env_config", SMALL_GRID if env == GRID else {})
    config.environment(env, env_config=env_config)
    if hasattr(config, "rollouts_per_task"):
        config.env_runners(num_env_runners=runners)
        config.debugging(seed=settings.pop("seed", 3))
        config.evaluate_every_steps = 0
        own = {key: value for key, value in settings.items() if key not in SMALL}
        if own.get("outer_update", config.outer_update) in ("trpo", "emaml"):
            own = {"curvature_stride": 1} | own  # of so few steps none is left out
        return config.training(**(SMALL_TASKS | own))
    config.env_runners(
        num_env_runners=runners,
        num_envs_per_env_runner=8 // max(runners, 1),
        rollout_fragment_length=6,
    )
    config.debugging(seed=settings.pop("seed", 3))
    config.evaluate_every_steps = 0
    if hasattr(config, "replay_capacity"):
        unused = ("minibatch_size", "num_epochs", "encoder_hidden", "encoder_embedding")
        own = {key: value for key, value in settings.items() if key not in unused}
        return config.training(**(SMALL_REPLAY | own))
    vae = SMALL_VAE if hasattr(config, "vae_updates") else {}
    return config.training(**(SMALL | vae | settings))


def small_runner(config: Any, worker_index: int = 1) -> MetaEpisodeRunner:
    torch.manual_seed(0)
    runner: MetaEpisodeRunner = config.env_runner_cls(
        config=config, worker_index=worker_index, num_workers=2
    )
    return runner


def small_learner(config: Any) -> Any:
    """The config's learner alone, its weights drawn with one seed whatever the algorithm."""
    runner = small_runner(config)
    spaces = (runner.env.single_observation_space, runner.env.single_action_space)
    torch.manual_seed(0)
    learner = config.build_learner(env=None, spaces={DEFAULT_MODULE_ID: spaces})
    learner.build()
    return learner


def small_batch(
    lengths: tuple[int, ...] = (6, 4, 1, 6), *, seed: int = 0, switches: float = 0.4
) -> Trajectories:
    """Meta-episodes of random numbers with sessions; zeros (and session 0) on the padding."""
    rng = np.random.default_rng(seed)
    rows, steps = len(lengths), max(lengths)
    valid = np.arange(steps) < np.array(lengths)[:, None]
    switched = (rng.random((rows, steps)) < switches) & valid
    switched[:, 0] = False
    observed = np.arange(steps + 1) <= np.array(lengths)[:, None]
    action = np.eye(5)[rng.integers(5, size=(rows, steps))] * valid[..., None]
    return Trajectories(
        observation=_float(rng.random((rows, steps + 1, 6)) * observed[..., None]),
        action=_float(action),
        reward=_float(rng.normal(size=(rows, steps)) * valid),
        valid=torch.as_tensor(valid),
        length=torch.as_tensor(lengths),
        session=torch.as_tensor(switched.cumsum(1) * valid),
        switched=torch.as_tensor(switched).long(),
    )


def _float(array: np.ndarray) -> torch.Tensor:
    return torch.as_tensor(array, dtype=torch.float32)


def numbers(result: dict[str, Any]) -> dict[str, Any]:
    """What the learner reported; RLlib counts parameters in the first iteration only."""
    reported = result["learners"]["default_policy"].items()
    return {key: value for key, value in reported if not key.endswith("trainable_parameters")}
