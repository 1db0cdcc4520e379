"""Builds the vector env of a config: a gymnasium id, a name known to Ray Tune, or a class."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from ray.rllib.env.env_context import EnvContext
from ray.tune.registry import ENV_CREATOR, _global_registry

from rllib_metarl.envs import BatchedEnvs, Guard, Stream, Tolerance, make_vector


def build_vector(
    env: Any,
    num_envs: int,
    env_config: dict[str, Any] | None,
    stream: Stream,
    *,
    num_workers: int = 0,
    tolerance: Tolerance | None = None,
) -> gym.vector.VectorEnv:
    """N sub-envs that draw from `stream`, resetting themselves in the step that ends them.

    A registered creator or a class gets an `EnvContext` (worker index, vector index) as RLlib's own
    runners give it; a gymnasium id gets `env_config` as keyword arguments. `tolerance` says how
    many faults of single envs are borne; None bears none.
    """
    if isinstance(env, str) and _global_registry.contains(ENV_CREATOR, env):
        env = _global_registry.get(ENV_CREATOR, env)
    if not callable(env):
        return make_vector(env, num_envs, dict(env_config or {}), stream, tolerance=tolerance)

    def make(index: int) -> gym.Env:
        made: gym.Env = env(
            EnvContext(
                dict(env_config or {}),
                worker_index=stream.worker_index,
                vector_index=index,
                num_workers=num_workers,
            )
        )
        return made

    guard = None if tolerance is None else Guard(make, tolerance)
    batched = BatchedEnvs([make(index) for index in range(num_envs)], guard)
    batched.set_stream(stream)
    return batched
