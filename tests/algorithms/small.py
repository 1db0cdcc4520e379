"""Small configs of the algorithms, and the one Ray that all tests with workers share."""

from __future__ import annotations

from typing import Any

import ray

from rllib_metarl.algorithms import ALGORITHMS

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


def small_config(name: str = "DynaMITE", *, env: Any = GRID, runners: int = 0, **settings: Any) -> Any:
    """A config with 8 sub-envs of 6 steps in all, so that a batch is 8 meta-episodes.

    `env_config` and `seed` may be among the settings; the others go to ``training()``.
    """
    config = ALGORITHMS[name].config()()
    env_config = settings.pop("env_config", SMALL_GRID if env == GRID else {})
    config.environment(env, env_config=env_config)
    config.env_runners(
        num_env_runners=runners,
        num_envs_per_env_runner=8 // max(runners, 1),
        rollout_fragment_length=6,
    )
    config.debugging(seed=settings.pop("seed", 3))
    config.evaluate_every_steps = 0
    vae = {} if name == "OraclePPO" else SMALL_VAE
    return config.training(**(SMALL | vae | settings))


def start_ray() -> None:
    """Starts Ray once for the whole test session; it ends with the process."""
    if not ray.is_initialized():
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)


def numbers(result: dict[str, Any]) -> dict[str, Any]:
    """What the learner reported in an iteration."""
    return result["learners"]["default_policy"]
