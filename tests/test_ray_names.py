"""Every private name of Ray's that this project relies on: a release that moves one fails here."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "rllib_metarl"

RLLIB = "ray.rllib."
TUNE = "ray.tune."
PRIVATE: dict[str, tuple[str, ...]] = {
    RLLIB + "algorithms.algorithm:Algorithm": (
        *("_check_component", "_export_model", "_last_result", "_storage"),
    ),
    RLLIB + "algorithms.algorithm_config:AlgorithmConfig": (
        *("_env_to_module_connector", "_module_to_env_connector", "_learner_connector"),
        *("_is_atari", "_is_frozen", "_is_online", "_learner_class", "_model_config"),
        *("_model_config_auto_includes", "_rl_module_spec", "_prior_exploration_config"),
        *("_torch_lr_scheduler_classes", "_train_batch_size_per_learner", "_validate_config"),
        *("_dont_auto_sync_env_runner_states", "_value_error"),
    ),
    RLLIB + "core.learner.torch.torch_learner:TorchLearner": (
        *("_check_component", "_check_is_built", "_device", "_make_modules_ddp_if_necessary"),
        *("_optimizer_lr_schedules", "_set_optimizer_lr", "_weights_seq_no"),
    ),
    RLLIB + "core.rl_module.torch.torch_rl_module:TorchRLModule": ("_forward", "_forward_train"),
    RLLIB + "env.env_runner_group:EnvRunnerGroup": ("_worker_manager",),
    RLLIB + "env.single_agent_env_runner:SingleAgentEnvRunner": (
        *("_callbacks", "_env_to_module", "_increase_sampled_metrics", "_log_env_steps"),
        *("_metrics_num_env_steps_sampled", "_module_to_env", "_needs_initial_reset"),
        *("_ongoing_episodes", "_ongoing_episodes_for_metrics", "_reset_envs_and_episodes"),
        *("_sample", "_try_env_reset", "_try_env_step"),
    ),
    RLLIB + "execution.rollout_ops:synchronous_parallel_sample": (
        *("_return_metrics", "_uses_new_env_runners"),
    ),
    "ray.experimental:internal_kv": (
        *("_internal_kv_del", "_internal_kv_get", "_internal_kv_list", "_internal_kv_put"),
    ),
    "ray._private.node:Node": ("start_api_server", "start_log_monitor", "start_monitor"),
    "ray._private:services": (
        *("ConsolePopen", "canonicalize_bootstrap_address_or_die", "find_node_ids"),
    ),
    "ray._private.worker:init": ("_node_ip_address",),
    "ray.train._internal.session:_TrainingResult": ("checkpoint", "metrics"),
    "ray.train._internal.checkpoint_manager:_CheckpointManager": (
        *("_checkpoint_results", "_latest_checkpoint_result"),
    ),
    TUNE + "execution.tune_controller:TuneController": (
        *("_cached_trial_decisions", "_queued_trial_decisions"),
    ),
    TUNE + "schedulers.async_hyperband:AsyncHyperBandScheduler": ("_trial_info",),
    TUNE + "schedulers.hyperband:HyperBandScheduler": ("_trial_info",),
    TUNE + "schedulers.pbt:PopulationBasedTraining": ("_burn_in_period", "_save_trial_state"),
}
NOT_RAYS = {
    *("_exit", "_extra_files", "_foreach_mul_", "_foreach_norm"),  # os and torch
    *("_foreach_add_", "_fused_adam_", "_init_group"),  # torch's Adam
    *("_max_episode_steps", "_replace", "_initializing"),  # gymnasium, named tuples, import specs
}


def text_of(place: str) -> str:
    """The source of what a place names, its ancestors' included."""
    module, _, name = place.partition(":")
    found = getattr(importlib.import_module(module), name)
    parts = [found]
    if inspect.isclass(found):
        parts = [one for one in inspect.getmro(found) if one.__module__.startswith("ray")]
    return "\n".join(map(inspect.getsource, parts))


@pytest.mark.parametrize("place", PRIVATE)
def test_every_private_name_is_still_there(place: str) -> None:
    text = text_of(place)
    assert not [name for name in PRIVATE[place] if name not in text]


def names(tree: ast.AST) -> tuple[set[str], set[str]]:
    """Private names that a file uses, and those that it defines itself."""
    used, defined = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            known = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            (defined if known and isinstance(node.ctx, ast.Store) else used).add(node.attr)
        elif isinstance(node, ast.keyword) and node.arg:
            used.add(node.arg)
        elif isinstance(node, ast.FunctionDef):
            overrides = any("override" in ast.unparse(d) for d in node.decorator_list)
            (used if overrides else defined).add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
    return tuple({n for n in s if n[0] == "_" and n[:2] != "__"} for s in (used, defined))


def test_no_other_is_used() -> None:
    found = [names(ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCE.rglob("*.py")]
    used, defined = (set().union(*sets) for sets in zip(*found, strict=True))
    listed = {name for place in PRIVATE.values() for name in place}
    unlisted = sorted(used - defined - listed - NOT_RAYS)
    assert not unlisted
