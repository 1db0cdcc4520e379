"""Builds the envs of a config: a gymnasium id, a name known to Ray Tune, or a class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
from ray.rllib.env.env_context import EnvContext
from ray.tune.registry import ENV_CREATOR, _global_registry

from rllib_metarl.envs import BatchedEnvs, Guard, Stream, Tolerance, make_vector
from rllib_metarl.envs.core.calling import call_env, interruptible
from rllib_metarl.envs.core.checks import check_single
from rllib_metarl.envs.core.faults import described
from rllib_metarl.envs.core.vector import single_maker
from rllib_metarl.errors import UserError


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
    many faults of single envs are tolerated; None tolerates none.

    Raises:
        UserError: if the env cannot be made.
    """
    with making(env):
        creator = _creator(env)
        if creator is None:
            return make_vector(env, num_envs, dict(env_config or {}), stream, tolerance=tolerance)
        make = maker(env, env_config, stream.worker_index, num_workers)
        guard = None if tolerance is None else Guard(make, tolerance)
        batched = BatchedEnvs([make(index) for index in range(num_envs)], guard, said(env))
        batched.set_stream(stream)
        return batched


def maker(
    env: Any, env_config: dict[str, Any] | None, worker_index: int, num_workers: int
) -> Callable[[int], gym.Env]:
    """What makes the single env of an index."""
    creator = _creator(env)
    if creator is None:
        return single_maker(env, dict(env_config or {}))

    def make(index: int) -> gym.Env:
        context = EnvContext(
            dict(env_config or {}),
            worker_index=worker_index,
            vector_index=index,
            num_workers=num_workers,
        )
        return check_single(call_env(creator, context))

    return make


@contextmanager
def making(env: Any) -> Iterator[None]:
    """Turns whatever goes wrong while an env is made into one message.

    Raises:
        UserError: in place of any other exception.
    """
    try:
        with interruptible():
            yield
    except UserError:
        raise
    except gym.error.UnregisteredEnv as error:
        raise UserError(
            f"env {said(env)}: {error} Where it is registered by code of yours, that code has to "
            "run in every process that steps envs: name its module (module:Id-v0), register it "
            "with ray.tune.register_env, or give the class itself."
        ) from error
    except ValueError as error:
        raise UserError(f"env {said(env)} cannot be made: {error}") from error
    except Exception as error:  # an env's code can raise anything
        raise UserError(f"env {said(env)} cannot be made: it {described(error)}") from error


def said(env: Any) -> str:
    """An env as the user calls it."""
    return env if isinstance(env, str) else getattr(env, "__name__", type(env).__name__)


def _creator(env: Any) -> Callable[[Any], Any] | None:
    """What makes a registered env or one of a class; None for a gymnasium id."""
    if isinstance(env, str) and registered(ENV_CREATOR, env):
        env = _global_registry.get(ENV_CREATOR, env)
    return env if callable(env) else None


def registered(category: str, name: str) -> bool:
    """Whether Ray's registry knows a name; it fails where it is asked for one beyond ASCII."""
    return name.isascii() and bool(_global_registry.contains(category, name))
