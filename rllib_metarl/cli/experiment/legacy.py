"""Key names of older RLlib versions and what they are called on the new API stack."""

from __future__ import annotations

from typing import Any

from rllib_metarl.cli.experiment.source import KeyPath

CONFIG_KEYS = {
    "num_workers": "num_env_runners",
    "num_rollout_workers": "num_env_runners",
    "num_envs_per_worker": "num_envs_per_env_runner",
    "num_cpus_per_worker": "num_cpus_per_env_runner",
    "num_gpus_per_worker": "num_gpus_per_env_runner",
    "num_cpus_for_driver": "num_cpus_for_main_process",
    "num_cpus_per_learner_worker": "num_cpus_per_learner",
    "num_gpus_per_learner_worker": "num_gpus_per_learner",
    "num_learner_workers": "num_learners",
    "num_sgd_iter": "num_epochs",
    "sgd_minibatch_size": "minibatch_size",
    "mini_batch_size_per_learner": "minibatch_size",
    "train_batch_size": "train_batch_size_per_learner",
    "evaluation_num_workers": "evaluation_num_env_runners",
    "evaluation_num_episodes": "evaluation_duration",
    "recreate_failed_workers": "restart_failed_env_runners",
    "ignore_worker_failures": "ignore_env_runner_failures",
    "create_env_on_driver": "create_env_on_local_worker",
    "model": "_model_config",
    "model_config": "_model_config",
}
"""Old config key -> new one. ``_model_config`` is how RLlib stores the new ``model_config``."""

RESULT_KEYS = {
    "episode_reward_mean": "env_runners/episode_return_mean",
    "episode_reward_max": "env_runners/episode_return_max",
    "episode_reward_min": "env_runners/episode_return_min",
    "episode_len_mean": "env_runners/episode_len_mean",
    "episode_return_mean": "env_runners/episode_return_mean",
    "sampler_results/episode_reward_mean": "env_runners/episode_return_mean",
    "env_runners/episode_reward_mean": "env_runners/episode_return_mean",
    "evaluation/episode_reward_mean": "evaluation/env_runners/episode_return_mean",
    "evaluation/env_runners/episode_reward_mean": "evaluation/env_runners/episode_return_mean",
    "timesteps_total": "num_env_steps_sampled_lifetime",
    "num_env_steps_sampled": "num_env_steps_sampled_lifetime",
    "num_agent_steps_sampled": "num_env_steps_sampled_lifetime",
    "episodes_total": "env_runners/num_episodes_lifetime",
}
"""Old result key -> new one, in ``stop`` and ``checkpoint_score_attribute``."""

_CHECKPOINT_KEYS = {
    "checkpoint_freq": "checkpoint_frequency",
    "checkpoint_at_end": "checkpoint_at_end",
    "keep_checkpoints_num": "num_to_keep",
    "checkpoint_score_attr": "checkpoint_score_attribute",
}


class Translation:
    """New keys in place of old ones, with a note for each and the place each came from.

    Attributes:
        notes: sentences for the person, one for each translated key.
        moved: new key path -> the path it was written under, to find its line.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.moved: dict[KeyPath, KeyPath] = {}

    def rename(self, table: dict[str, str], old: dict[str, Any], path: KeyPath) -> dict[str, Any]:
        """``old`` with the keys in ``table`` renamed; a new name already there wins."""
        new: dict[str, Any] = {}
        for key, value in old.items():
            target = table.get(key, key)
            if target != key:
                if target in old:
                    continue
                shown = target.removeprefix("_")
                if shown != key:
                    self.notes.append(f"'{key}' is called '{shown}' on the new API stack")
                self.moved[(*path, target)] = (*path, key)
            new[target] = value
        return new

    def experiment(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        """One experiment with all old names replaced; ``spec`` is left as it is."""
        new = dict(spec)
        self._storage(name, new)
        self._checkpoints(name, new)
        if isinstance(new.get("stop"), dict):
            new["stop"] = self.rename(RESULT_KEYS, new["stop"], (name, "stop"))
        if isinstance(new.get("config"), dict):
            new["config"] = self.rename(CONFIG_KEYS, new["config"], (name, "config"))
        return new

    def _storage(self, name: str, new: dict[str, Any]) -> None:
        if "local_dir" in new:
            self.notes.append("'local_dir' is called 'storage_path'")
            self.moved[(name, "storage_path")] = (name, "local_dir")
            new.setdefault("storage_path", new.pop("local_dir"))

    def _checkpoints(self, name: str, new: dict[str, Any]) -> None:
        old_keys = [key for key in _CHECKPOINT_KEYS if key in new]
        settings = new.get("checkpoint_config", {})
        if not isinstance(settings, dict):
            return
        settings = dict(settings)
        for key in old_keys:
            target = _CHECKPOINT_KEYS[key]
            self.notes.append(f"'{key}' is called 'checkpoint_config: {{{target}: ...}}'")
            self.moved[(name, "checkpoint_config", target)] = (name, key)
            settings.setdefault(target, new.pop(key))
        score = settings.get("checkpoint_score_attribute")
        if isinstance(score, str) and score in RESULT_KEYS:
            self.notes.append(f"'{score}' is called '{RESULT_KEYS[score]}' on the new API stack")
            settings["checkpoint_score_attribute"] = RESULT_KEYS[score]
        if settings or "checkpoint_config" in new:
            new["checkpoint_config"] = settings
