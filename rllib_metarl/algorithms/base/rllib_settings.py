"""What this project does with each attribute of RLlib's `AlgorithmConfig`: honoured or refused.

A test goes through all attributes of RLlib's config, and fails where Ray adds one that is not here.
"""

from __future__ import annotations

import gymnasium as gym

from rllib_metarl.algorithms.base.settings import (
    BLOCK,
    CLASS,
    FUNCTION,
    SWITCH,
    TEXT,
    Choice,
    Condition,
    Either,
    Entry,
    Internal,
    Number,
    Of,
    Refused,
    Schedule,
    Setting,
    Whole,
    or_null,
)
from rllib_metarl.sampling.runner import MetaEpisodeRunner

MOST = 10**9
"""No count of steps, actors or bytes is larger: beyond it a slip of the pen is likelier."""
AMOUNT = Number(0, 100_000)
SECONDS = Number(0, 10**8)
COUNT = Whole(0, MOST)
PROCESSES = Whole(0, 100_000)
SEED = Whole(0, 2**31 - 1)

STEPWISE = Condition(
    "a connector or a per-step callback, which bring RLlib's own EnvRunner",
    lambda config: config.env_runner_cls is not MetaEpisodeRunner,
)
UNLIKE_NATIVE = Condition(
    STEPWISE.words,
    lambda config: (
        STEPWISE.holds(config)
        or gym.VectorizeMode(config.gym_env_vectorize_mode) is gym.VectorizeMode.VECTOR_ENTRY_POINT
    ),
)
OWN_LEARNER = Condition("learner_class", lambda config: config._learner_class is not None)

_NETWORKS = (
    "networks are config keys here (policy_hidden, policy_activation, encoder_hidden, "
    "encoder_embedding, latent_size)"
)
_OLD = "it belongs to RLlib's old API stack, which these algorithms do not run on"
GONE = "RLlib no longer has it"
_TF = "these algorithms run on PyTorch"
_COMPILE = "these modules are not compiled"
_OFFLINE = "these algorithms learn from their own envs, not from stored data"
_AGENTS = "these algorithms train one agent with one policy"
_LEARNER = "these learners batch and step by themselves"
_RUNTIME = "RLlib no longer reads it; give Ray a runtime_env"


def _all(entry: Entry, names: str) -> dict[str, Entry]:
    return dict.fromkeys(names.split(), entry)


API_STACK: dict[str, Entry] = _all(
    Refused("these algorithms run on RLlib's new API stack alone (both of its switches are true)"),
    "enable_rl_module_and_learner enable_env_runner_and_connector_v2",
)

ENVIRONMENT: dict[str, Entry] = {
    "env": Setting(
        Of("an id, a registered name or a class", lambda env: env is None or env != ""),
        "the environment: a gymnasium id, module:id, a registered name, or a class",
    ),
    "env_config": Setting(or_null(BLOCK), "arguments of the environment"),
    "normalize_actions": Setting(
        SWITCH,
        "a policy's numbers live in [-1, 1] and are scaled to the env's range; else they are the "
        "env's own, and are kept in it",
        network=True,
    ),
    "clip_actions": Refused("actions are kept in the env's space in any case"),
    "clip_rewards": Refused("rewards are learnt from as they are; scale them in the env"),
    "disable_env_checking": Refused("envs are checked in any case, as they are stepped"),
    "render_env": Refused("`rllib evaluate CHECKPOINT --video FILE` films an agent"),
    "action_mask_key": Setting(
        TEXT,
        "where an env says which actions there are, 1 or 0 for each: a key of its info, or of a "
        "Dict observation whose only other key is observations",
        network=True,
    ),
    **_all(Refused("spaces are the env's own"), "observation_space action_space"),
    "_is_atari": Internal("found out by RLlib"),
}

SAMPLING: dict[str, Entry] = {
    "env_runner_cls": Setting(or_null(CLASS), "what samples; chosen by itself"),
    "num_env_runners": Setting(PROCESSES, "processes that sample; 0: the main process does"),
    "num_envs_per_env_runner": Setting(
        Whole(1, 100_000), "sub-envs of one EnvRunner, stepped together"
    ),
    "create_local_env_runner": Refused("held-out evaluation acts with its module"),
    "create_env_on_local_worker": Setting(SWITCH, "an env in the main process too"),
    "gym_env_vectorize_mode": Setting(
        Choice(*(mode.value for mode in gym.VectorizeMode), *gym.VectorizeMode),
        "how RLlib's own EnvRunner steps sub-envs",
        UNLIKE_NATIVE,
    ),
    "num_cpus_per_env_runner": Setting(AMOUNT, "CPUs of one of these processes"),
    "num_gpus_per_env_runner": Setting(AMOUNT, "GPUs, or shares of one, of each of them"),
    "custom_resources_per_env_runner": Setting(BLOCK, "other Ray resources of each"),
    "validate_env_runners_after_construction": Setting(SWITCH, "wait until all of them are up"),
    "max_requests_in_flight_per_env_runner": Setting(Whole(1, 1000), "requests one may queue"),
    "sample_timeout_s": Setting(
        or_null(SECONDS), "seconds after which a sample that has not come is given up"
    ),
    "_env_to_module_connector": Setting(
        or_null(FUNCTION), "from Python: what changes observations before the policy sees them"
    ),
    "_module_to_env_connector": Setting(
        or_null(FUNCTION), "from Python: what changes actions before the env gets them"
    ),
    "add_default_connectors_to_env_to_module_pipeline": Setting(
        SWITCH, "RLlib's connectors behind your own", STEPWISE
    ),
    "add_default_connectors_to_module_to_env_pipeline": Setting(
        SWITCH, "RLlib's connectors before your own", STEPWISE
    ),
    "episodes_to_numpy": Setting(SWITCH, "episodes as arrays rather than lists", STEPWISE),
    "episode_lookback_horizon": Setting(COUNT, "steps kept of an episode cut before", STEPWISE),
    "merge_env_runner_states": Setting(
        Choice(True, False, "training_only"), "join what connectors have learnt"
    ),
    "broadcast_env_runner_states": Setting(SWITCH, "send that to all EnvRunners"),
    "use_env_runner_state_server": Setting(SWITCH, "EnvRunners fetch weights from a server actor"),
    "env_runner_state_server_max_concurrency": Setting(Whole(1, 10_000), "its requests at once"),
    "_dont_auto_sync_env_runner_states": Setting(SWITCH, "leave that out"),
    "rollout_fragment_length": Setting(
        Either(Choice("auto"), Whole(1, MOST)),
        "steps of each sub-env in a sample at least; meta-episodes come whole in any case",
    ),
    "batch_mode": Setting(
        Choice("truncate_episodes", "complete_episodes"), "leave it at truncate_episodes"
    ),
    "explore": Setting(SWITCH, "sample actions; else the likeliest one"),
    "remote_worker_envs": Refused("sub-envs are stepped in their EnvRunner"),
    **_all(
        Refused(_OLD),
        """exploration_config remote_env_batch_wait_ms compress_observations sample_collector
        preprocessor_pref observation_filter update_worker_filter_stats use_worker_filter_stats
        sampler_perf_stats_ema_coef fake_sampler""",
    ),
    "_prior_exploration_config": Internal("kept by RLlib for its old stack"),
    "_is_online": Internal("found out by RLlib"),
}

FAULTS: dict[str, Entry] = {
    "restart_failed_env_runners": Setting(SWITCH, "start EnvRunners that died again"),
    "ignore_env_runner_failures": Setting(SWITCH, "go on without them"),
    "max_num_env_runner_restarts": Setting(COUNT, "how often one is restarted"),
    "delay_between_env_runner_restarts_s": Setting(SECONDS, "seconds between"),
    "restart_failed_sub_environments": Setting(
        SWITCH, "make all envs again where one fails and max_env_faults is 0", STEPWISE
    ),
    "num_consecutive_env_runner_failures_tolerance": Setting(
        COUNT, "failures in a row that are tolerated"
    ),
    "env_runner_health_probe_timeout_s": Setting(SECONDS, "seconds to wait for a sign of life"),
    "env_runner_restore_timeout_s": Setting(SECONDS, "seconds to wait for one that starts again"),
    "sync_filters_on_rollout_workers_timeout_s": Setting(SECONDS, "seconds for joining states"),
}

LEARNING: dict[str, Entry] = {
    "num_learners": Setting(PROCESSES, "processes that learn; 0: the main process does"),
    "num_gpus_per_learner": Setting(AMOUNT, "GPUs, or shares of one, of each learner"),
    "num_cpus_per_learner": Setting(Either(Choice("auto"), AMOUNT), "CPUs of each learner"),
    "custom_resources_per_learner": Setting(BLOCK, "other Ray resources of each learner"),
    "local_gpu_idx": Setting(Whole(0, 1024), "the GPU of a learner in the main process"),
    "max_requests_in_flight_per_learner": Setting(Whole(1, 1000), "requests one may queue"),
    "gamma": Setting(Number(0, 1), "discount"),
    "lr": Setting(Schedule(Number(0, 1000)), "learning rate of policy and value"),
    "grad_clip": Setting(or_null(Number(0, 10**9)), "gradient norm at most; 0 or null: no limit"),
    "grad_clip_by": Setting(Choice("global_norm"), "each optimiser apart"),
    "_train_batch_size_per_learner": Setting(
        Whole(1, MOST), "env steps of one batch, times the learners; rounded up to meta-episodes"
    ),
    "num_epochs": Setting(Whole(1, 10_000), "passes over a batch"),
    "minibatch_size": Setting(
        or_null(Whole(1, MOST)), "env steps of a gradient step; null: the whole batch"
    ),
    "_learner_class": Setting(or_null(CLASS), "from Python: a learner of your own"),
    "learner_config_dict": Setting(BLOCK, "settings for it", OWN_LEARNER),
    "_model_config": Refused(_NETWORKS),
    "model": Refused(_NETWORKS),
    "_rl_module_spec": Refused(
        "the RLModule is the algorithm's own; override module_class() in a config class of yours"
    ),
    "train_batch_size": Refused("the new API stack's name is train_batch_size_per_learner"),
    "num_gpus": Refused("the new API stack's name is num_gpus_per_learner"),
    "_torch_lr_scheduler_classes": Refused("lr takes a schedule, [[0, value], [env steps, value]]"),
    "torch_skip_nan_gradients": Refused(
        "gradients that are no numbers are left out in any case, see max_skipped_updates"
    ),
    "optimizer": Refused("each part has its own Adam, whose rate is lr"),
    "log_gradients": Refused("gradient norms are reported in any case"),
    **_all(
        Refused(_LEARNER),
        """_learner_connector add_default_connectors_to_learner_pipeline shuffle_batch_per_epoch
        torch_ddp_kwargs _torch_grad_scaler_class num_aggregator_actors_per_learner
        max_requests_in_flight_per_aggregator_actor""",
    ),
    **_all(
        Refused(_COMPILE),
        """torch_compile_learner torch_compile_learner_what_to_compile
        torch_compile_learner_dynamo_backend torch_compile_learner_dynamo_mode torch_compile_worker
        torch_compile_worker_dynamo_backend torch_compile_worker_dynamo_mode""",
    ),
}

MACHINE: dict[str, Entry] = {
    "num_cpus_for_main_process": Setting(AMOUNT, "CPUs of a trial's main process"),
    "custom_resources_for_main_process": Setting(BLOCK, "other Ray resources of it"),
    "placement_strategy": Setting(
        Choice("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"), "how Ray spreads a trial"
    ),
    "seed": Setting(or_null(SEED), "seed of the run; null: another one each time"),
    "log_level": Setting(
        Choice("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL"), "of RLlib's messages"
    ),
    "framework_str": Setting(Choice("torch"), "PyTorch"),
    "log_sys_usage": Refused("Ray's dashboard shows it"),
    **_all(Refused(_RUNTIME), "extra_python_environs_for_driver extra_python_environs_for_worker"),
    **_all(
        Refused(_TF),
        """eager_tracing eager_max_retraces tf_session_args local_tf_session_args
        enable_tf1_exec_eagerly _tf_policy_handles_more_than_one_loss""",
    ),
    **_all(
        Refused(_OLD),
        """_fake_gpus export_native_model_files checkpoint_trainable_policies_only
        _use_msgpack_checkpoints _disable_preprocessor_api _disable_action_flattening
        _disable_initialize_loss_from_dummy_batch""",
    ),
    "algo_class": Internal("the Algorithm class"),
    "_validate_config": Setting(SWITCH, "look at all these values before anything starts"),
    "_is_frozen": Internal("whether RLlib lets the config be changed"),
}

CALLBACKS: dict[str, Entry] = {
    "callbacks_class": Setting(
        Of("a class of callbacks, or a list of such", lambda v: FUNCTION.test(v)),
        "RLlib callbacks of your own",
    ),
    **_all(
        Setting(or_null(FUNCTION), "called then"),
        """callbacks_on_algorithm_init callbacks_on_env_runners_recreated
        callbacks_on_checkpoint_loaded callbacks_on_environment_created callbacks_on_evaluate_start
        callbacks_on_evaluate_end callbacks_on_sample_end callbacks_on_train_result""",
    ),
    **_all(
        Setting(or_null(FUNCTION), "called then, by RLlib's own EnvRunner, which is slower"),
        """callbacks_on_episode_created callbacks_on_episode_start callbacks_on_episode_step
        callbacks_on_episode_end""",
    ),
    **_all(
        Refused(_OFFLINE),
        """callbacks_on_offline_eval_runners_recreated callbacks_on_evaluate_offline_start
        callbacks_on_evaluate_offline_end""",
    ),
}

EVALUATION: dict[str, Entry] = {
    "evaluation_interval": Setting(
        or_null(Whole(0, MOST)), "iterations between RLlib's own evaluations, beside the held-out"
    ),
    "evaluation_duration": Setting(Either(Choice("auto"), Whole(1, MOST)), "how long one is"),
    "evaluation_duration_unit": Setting(Choice("episodes", "timesteps"), "in what"),
    "evaluation_sample_timeout_s": Setting(or_null(SECONDS), "seconds to wait for its samples"),
    **_all(
        Setting(Whole(1, MOST), "env steps of its samples where its duration is auto"),
        """evaluation_auto_duration_min_env_steps_per_sample
        evaluation_auto_duration_max_env_steps_per_sample""",
    ),
    "evaluation_parallel_to_training": Setting(SWITCH, "beside training, not after it"),
    "evaluation_unhealthy_workers_timeout_s": Setting(SECONDS, "seconds for workers to recover"),
    "evaluation_error_after_n_consecutive_skips": Setting(
        or_null(Whole(1, MOST)), "evaluations without a result before training stops"
    ),
    "evaluation_force_reset_envs_before_iteration": Setting(SWITCH, "new episodes for each"),
    "evaluation_config": Setting(
        Of("a block of keys and values", lambda v: v is None or hasattr(v, "items")),
        "config keys that differ in it",
    ),
    "evaluation_num_env_runners": Setting(PROCESSES, "processes for it"),
    "custom_evaluation_function": Setting(or_null(FUNCTION), "a function in its place"),
    "in_evaluation": Internal("whether RLlib made this config for an evaluation"),
}

REPORTING: dict[str, Entry] = {
    "metrics_num_episodes_for_smoothing": Setting(
        Whole(1, MOST), "episodes that a mean return is over", STEPWISE
    ),
    "min_time_s_per_iteration": Setting(or_null(SECONDS), "seconds of an iteration at least"),
    "min_train_timesteps_per_iteration": Setting(COUNT, "env steps learnt from at least"),
    "min_sample_timesteps_per_iteration": Setting(COUNT, "env steps sampled at least"),
    "stats_cls_lookup": Setting(BLOCK, "from Python: classes that reduce metrics"),
    **_all(Refused(_OLD), "keep_per_episode_custom_metrics metrics_episode_collection_timeout_s"),
}

AGENTS: dict[str, Entry] = {
    "policies": Setting(
        Of(
            "one agent with one policy: MultiAgentEnvs and several policies are not trained here, "
            "so leave multi_agent() out",
            lambda value: hasattr(value, "__iter__") and set(value) == {"default_policy"},
        ),
        "the one policy",
    ),
    **_all(
        Refused(_AGENTS),
        """policy_mapping_fn policies_to_train count_steps_by policy_map_capacity
        policy_states_are_swappable observation_fn algorithm_config_overrides_per_module
        _per_module_overrides""",
    ),
}

OFFLINE: dict[str, Entry] = _all(
    Refused(_OFFLINE),
    """input_ offline_data_class input_read_method input_read_method_kwargs input_read_schema
    input_read_episodes input_read_sample_batches input_read_batch_size input_filesystem
    input_filesystem_kwargs input_compress_columns input_spaces_jsonable materialize_data
    materialize_mapped_data map_batches_kwargs iter_batches_kwargs ignore_final_observation
    prelearner_class prelearner_buffer_class prelearner_buffer_kwargs
    prelearner_module_synch_period prelearner_use_recorded_module_states
    dataset_num_iters_per_learner input_config actions_in_input_normalized postprocess_inputs
    shuffle_buffer_size output output_config output_compress_columns output_max_file_size
    output_max_rows_per_file output_write_remaining_data output_write_method
    output_write_method_kwargs output_filesystem output_filesystem_kwargs output_write_episodes
    offline_sampling off_policy_estimation_methods ope_split_batch_by_episode
    offline_evaluation_interval num_offline_eval_runners offline_evaluation_type
    offline_eval_runner_class offline_loss_for_module_fn offline_evaluation_duration
    offline_evaluation_parallel_to_training offline_evaluation_timeout_s
    num_cpus_per_offline_eval_runner num_gpus_per_offline_eval_runner
    custom_resources_per_offline_eval_runner restart_failed_offline_eval_runners
    ignore_offline_eval_runner_failures max_num_offline_eval_runner_restarts
    offline_eval_runner_restore_timeout_s max_requests_in_flight_per_offline_eval_runner
    validate_offline_eval_runners_after_construction offline_eval_runner_health_probe_timeout_s
    offline_eval_rl_module_inference_only broadcast_offline_eval_runner_states
    offline_eval_batch_size_per_runner dataset_num_iters_per_eval_runner""",
)

REMOVED: dict[str, Entry] = {
    **_all(
        Refused(GONE),
        """env_task_fn enable_connectors monitor evaluation_num_episodes metrics_smoothing_episodes
        timesteps_per_iteration min_iter_time_s collect_metrics_timeout min_time_s_per_reporting
        min_train_timesteps_per_reporting min_sample_timesteps_per_reporting input_evaluation
        policy_map_cache worker_cls synchronize_filters enable_async_evaluation
        custom_async_evaluation_function _enable_rl_module_api auto_wrap_old_gym_envs
        always_attach_evaluation_results buffer_size prioritized_replay learning_starts
        replay_batch_size replay_sequence_length replay_mode prioritized_replay_alpha
        prioritized_replay_beta prioritized_replay_eps _disable_execution_plan_api""",
    ),
    "simple_optimizer": Internal("set by RLlib as it validates"),
}

COMMON: dict[str, Entry] = {
    **API_STACK,
    **AGENTS,
    **ENVIRONMENT,
    **SAMPLING,
    **FAULTS,
    **LEARNING,
    **MACHINE,
    **CALLBACKS,
    **EVALUATION,
    **REPORTING,
    **OFFLINE,
    **REMOVED,
}
"""Whatever RLlib algorithm is built upon."""
