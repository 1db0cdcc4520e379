"""A look into the environments of an experiment: arguments, spaces, an end, labels, one batch."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from rllib_metarl.cli.experiment.source import KeyPath
from rllib_metarl.cli.net import one_line
from rllib_metarl.envs.core.faults import described
from rllib_metarl.errors import UserError, shortened

ErrorAt = Callable[[KeyPath, str], UserError]
LOOK_STEPS = 5_000
"""How many steps an env is played at random to see whether it ends."""
TRIES = 3
"""How often a reset and a first step are tried: an env may fail now and then."""
LOOKS = 4
"""How many different environments of one experiment are played; all others are only made."""
PATIENCE_S = 20.0
MOST_BYTES = 2**40


def check_envs(
    variants: Iterable[dict[str, Any]], configs: list[Any], error_at: ErrorAt
) -> list[str]:
    """Make every environment that an experiment may use, and play some of them.

    Args:
        variants: configs as written, one for each value that is searched.
        configs: the AlgorithmConfigs of the first points.
        error_at: builds the error.

    Returns:
        What a person should know, in sentences.

    Raises:
        UserError: an environment cannot be made, cannot make one step, or these algorithms cannot
            learn in it.
    """
    checked: dict[str, Any] = {}
    notes: list[str] = []
    for config in configs:
        key = repr((config.env, config.env_config))
        if config.env is None or key in checked:
            continue
        checked[key] = config
        where = ("config", "env_config") if config.env_config else ("config", "env")
        try:
            look = partial(_look, config, play=len(checked) <= LOOKS)
            notes += _within(f"env {config.env}", look)
        except UserError as error:
            raise error_at(where, str(error)) from None
    for variant in variants:
        env, env_config = variant.get("env"), variant.get("env_config")
        key = repr((env, env_config or {}))
        if env is None or key in checked:
            continue
        checked[key] = None
        try:
            _within(f"env {env}", partial(_make, env, env_config, configs[0]))
        except UserError as error:
            raise error_at(("config", "env_config"), str(error)) from None
    return notes


def _within(name: str, look: Callable[[], Any]) -> Any:
    """What `look` returns, or nothing where an env does not answer; its UserErrors are raised."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(look())
        except UserError as error:
            result.append(error)
        except BaseException as error:  # an env's code runs here, in a thread of its own
            result.append([f"{name} could not be looked at: {_one_line(error)}"])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    if not result:
        return [f"{name} did not answer in {PATIENCE_S:g} s, so that it was not looked at"]
    if isinstance(result[0], UserError):
        raise result[0]
    return result[0]


def _make(env: Any, env_config: Any, config: Any) -> None:
    _made(env, env_config, config).close()


def _made(env: Any, env_config: Any, config: Any) -> Any:
    """An env as a runner makes it: for this project's algorithms, a vector env of one."""
    try:
        if _is_own(config):
            from rllib_metarl.envs import Stream
            from rllib_metarl.sampling.envs import build_vector

            return build_vector(env, 1, env_config, Stream(0))
        return _single(env, env_config)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        # Making it runs an environment's code, which can raise anything.
        raise UserError(f"env {env} cannot be made: {_one_line(error)}") from None


def _one_line(error: BaseException) -> str:
    """What an env raised, and where, in one short line that any terminal can show."""
    return shortened(one_line(described(error)), 400)


def _single(env: Any, env_config: Any) -> Any:
    import gymnasium as gym
    from ray.rllib.env.env_context import EnvContext
    from ray.tune.registry import ENV_CREATOR, _global_registry

    from rllib_metarl.sampling.envs import registered

    if isinstance(env, str) and registered(ENV_CREATOR, env):
        env = _global_registry.get(ENV_CREATOR, env)
    if isinstance(env, str) and env in gym.registry or ":" in str(env):
        return gym.make(env, **(env_config or {}))
    if isinstance(env, str):
        from rllib_metarl.cli.experiment.values import load_object

        env = load_object(env)
    return env(EnvContext(dict(env_config or {}), worker_index=0))


def _is_own(config: Any) -> bool:
    return hasattr(config, "needed_labels")


def _look(config: Any, play: bool) -> list[str]:
    env, name = _made(config.env, config.env_config, config), f"env {config.env}"
    try:
        if not play or not hasattr(env.action_space, "sample") or _has_several_agents(env):
            return []
        own = _is_own(config) and not config.acts_through_connectors()
        module = _module(config, env) if own else None
        if module is not None:
            config.check_env(env)
        observation, info, news = _first_step(name, env)
        if module is None:
            return news
        _check_labels(config, module, info)
        length, more = _length(name, env)
        news += more
        return news + (_batch_notes(config, length, np.asarray(observation).size) if length else [])
    finally:
        env.close()


def _has_several_agents(env: Any) -> bool:
    from ray.rllib.env.multi_agent_env import MultiAgentEnv

    return isinstance(env.unwrapped, MultiAgentEnv)


def _first_step(name: str, env: Any) -> tuple[Any, Any, list[str]]:
    """Observation and info of a reset after which a step could be made; what failed before.

    Raises:
        UserError: none could, however often it was tried.
    """
    env.action_space.seed(0)
    news: list[str] = []
    for _ in range(TRIES):
        try:
            observation, info = env.reset()
        except (Exception, SystemExit) as error:
            news.append(f"{name} failed at its first reset: {_one_line(error)}")
            continue
        problem = _step(env)[0]
        if problem is None:
            return observation, info, news[:1]
        news.append(f"{name} {problem} at step 1 of a random play")
    raise UserError(f"{news[0]}; it did so {TRIES} times out of {TRIES}. Fix the env.")


def _step(env: Any) -> tuple[str | None, bool]:
    """What went wrong at a step with a random action, and whether the meta-episode has ended."""
    try:
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        if not np.all(np.isfinite(reward)):
            return "gave a reward that is not a finite number", False
        return None, bool(np.any(terminated) or np.any(truncated))
    except (Exception, SystemExit) as error:
        return f"failed ({_one_line(error)})", False


def _module(config: Any, env: Any) -> Any:
    """The RLModule for these spaces; it says what it cannot take."""
    import torch

    with torch.random.fork_rng():
        spec = config.get_default_rl_module_spec()
        spec.observation_space = env.single_observation_space
        spec.action_space = env.single_action_space
        spec.model_config = config._model_config_auto_includes
        spec.inference_only = True
        return spec.build()


def _check_labels(config: Any, module: Any, info: dict[str, Any]) -> None:
    for label, fix in config.needed_labels().items():
        if label not in info:
            raise UserError(
                f"env {config.env} gives no info[{label!r}], which these losses need: {fix}."
            )
    label = module.needs_privileged
    if label and label not in info:
        from rllib_metarl.sampling.collector import HOW_TO_LABEL

        raise UserError(f"env {config.env} gives no info[{label!r}]. {HOW_TO_LABEL[label]}")


def _length(name: str, env: Any) -> tuple[int | None, list[str]]:
    """Steps of a meta-episode that is played at random, and what is strange about it."""
    try:
        env.reset()
    except (Exception, SystemExit) as error:
        return None, [f"{name} failed at a reset: {_one_line(error)}"]
    env.action_space.seed(0)
    for step in range(1, LOOK_STEPS + 1):
        problem, ended = _step(env)
        if problem is not None:
            return None, [f"{name} {problem} at step {step} of a random play"]
        if ended:
            return step, []
    return None, [
        f"no meta-episode of {name} ended in {LOOK_STEPS:,} steps of a random play; learning "
        "begins at its end, so wrap the env in gymnasium.wrappers.TimeLimit where it may never end"
    ]


def _batch_notes(config: Any, length: int, width: int) -> list[str]:
    """Whether one batch will be larger than what is written: meta-episodes come whole.

    Raises:
        UserError: it does not fit into any machine.
    """
    runners = max(1, config.num_env_runners)
    envs, wanted = config.num_envs_per_env_runner, int(config.total_train_batch_size)
    fixed = config.meta_episodes_of_batch()
    one_round = runners * envs * length if fixed is None else fixed * length
    real = math.ceil(wanted / one_round) * one_round
    if fixed is not None and real * (width + 16) * 4 > MOST_BYTES:
        raise UserError(
            f"one batch would hold {real:,} env steps, more than a TiB: {fixed:,} meta-episodes of "
            f"{length:,} steps. Play fewer, or lower the env's horizon."
        )
    if real * (width + 16) * 4 > MOST_BYTES:
        raise UserError(
            f"one batch would hold {real:,} env steps, more than a TiB: meta-episodes have "
            f"{length:,} steps and come whole from {runners * envs:,} sub-envs. Lower "
            "num_envs_per_env_runner, train_batch_size_per_learner or the env's horizon."
        )
    if real <= 1.1 * wanted or fixed is not None:
        return []
    fewer = wanted // (runners * length)
    lower = f"lower num_envs_per_env_runner to {fewer:,}" if fewer else "shorten the meta-episodes"
    learners = max(1, config.num_learners)
    if hasattr(config, "fetch_timeout_s"):
        learners = runners
    return [
        f"a batch will hold about {real:,} env steps, not {wanted:,}: meta-episodes come whole, "
        f"and {runners} x {envs:,} sub-envs with {length:,} steps each give {one_round:,} at once. "
        f"For less, {lower}; or write train_batch_size_per_learner: {real // learners:,}"
    ]
