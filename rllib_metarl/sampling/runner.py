"""An RLlib EnvRunner that steps a whole vector env with batched arrays."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import ray
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core.columns import Columns
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from rllib_metarl.columns import BELIEF, FINAL_BELIEF
from rllib_metarl.compiler import no_compiler
from rllib_metarl.envs import Stream, Tolerance
from rllib_metarl.sampling.collector import Collector, MetaEpisodeData
from rllib_metarl.sampling.envs import build_vector
from rllib_metarl.sampling.faults import carried, note_faults

STREAMS = "random_streams"


class MetaEpisodeRunner(SingleAgentEnvRunner):
    """Samples whole meta-episodes; one RLlib episode is one meta-episode.

    Differs from `SingleAgentEnvRunner`: one batched forward and env step at a time without
    per-env connectors or per-step callbacks; the vector env resets itself (SAME_STEP); every
    sub-env has its own random stream, derived from (seed, worker index, sub-env index, training or
    evaluation), which no later reset rewinds; a restarted worker gets a fresh stream. The labels
    `context`, `session`, `switched` and the belief travel as columns of the episode.
    """

    env: Any

    @override(SingleAgentEnvRunner)
    def __init__(self, **kwargs: Any) -> None:
        with no_compiler():
            super().__init__(**kwargs)

    @override(SingleAgentEnvRunner)
    def make_env(self) -> None:
        if self.env is not None:
            self.env.close()
        self.stream = stream_of(self.config, self.worker_index)
        with carried(self.worker_index, self.tune_trial_id):
            self.env = build_vector(
                self.config.env,
                self.rows(),
                self.config.env_config,
                self.stream,
                num_workers=self.num_workers,
                tolerance=tolerance_of(self.config),
            )
        self._faults = 0
        self.num_envs = self.env.num_envs
        self._needs_initial_reset = True
        self._collector: Collector | None = None
        created(self)

    def rows(self) -> int:
        """Hook: how many sub-envs this runner has."""
        return int(self.config.num_envs_per_env_runner)

    @property
    def collector(self) -> Collector:
        """The acting loop over this runner's env and module."""
        if self._collector is None:
            stream = self.stream
            words = [stream.seed, stream.worker_index, int(stream.evaluation), 1]
            words += [stream.incarnation] if stream.incarnation else []
            seed = np.random.SeedSequence(words).generate_state(1, np.uint64)[0]
            self._collector = Collector(
                self.env,
                self.module,
                seed=int(seed >> np.uint64(1)),
                device=self._device,
                max_steps=self.config.max_meta_episode_steps,
            )
        return self._collector

    def hold_tasks(self, tasks: Any, ids: Any = ()) -> None:
        """Row i plays task ``ids[i]`` from the next sample on; what is under way is dropped.

        Each meta-episode then has the column ``task_id``. Through all runners:
        ``env_runner_group.foreach_env_runner(lambda runner: runner.hold_tasks(tasks, ids))``.

        Args:
            tasks: uniforms `[count, task_width]`, see `rllib_metarl.envs.draw_tasks`; None lets
                each meta-episode have a new task again.
            ids: `[num_envs]`.
        """
        self.env.unwrapped.hold_tasks(tasks, ids)
        self._needs_initial_reset = True

    @override(SingleAgentEnvRunner)
    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[SingleAgentEpisode]:
        if self.config.in_evaluation and num_episodes is not None:
            self.env.unwrapped.set_stream(self.stream)  # the same held-out tasks each time
            force_reset = True
        with carried(self.worker_index, self.tune_trial_id):
            finished = self._collect(num_timesteps or 0, num_episodes or 0, explore, force_reset)
        self._log_played(finished, finished)
        return [self._to_episode(meta_episode) for meta_episode in finished]

    def _log_played(self, finished: list[MetaEpisodeData], scored: list[MetaEpisodeData]) -> None:
        """Counts all meta-episodes, and logs the returns of those that are scored."""
        steps = sum(map(len, finished))
        self._log_env_steps(metric=self._metrics_num_env_steps_sampled, num_steps=steps)
        self._increase_sampled_metrics(steps, len(finished))
        self._log_returns(scored)

    def _collect(
        self, steps: int, episodes: int, explore: bool, force_reset: bool
    ) -> list[MetaEpisodeData]:
        try:
            if force_reset or self._needs_initial_reset:
                self.collector.reset()
                self._needs_initial_reset = False
            return self.collector.collect(steps, min_episodes=episodes, explore=explore)
        finally:
            self._log_faults()

    def _log_faults(self) -> None:
        faults = getattr(self.env.unwrapped, "faults", 0)
        new, self._faults = faults - self._faults, faults
        log_faults(self, new, self.env.unwrapped.fault_news() if new else [])

    def _log_returns(self, finished: list[MetaEpisodeData]) -> None:
        """Means over this sample, logged once instead of once an episode."""
        returns = np.array([episode.rewards.sum() for episode in finished])
        self.metrics.log_dict(
            {
                "episode_return_mean": float(returns.mean()),
                "episode_return_max": float(returns.max()),
                "episode_return_min": float(returns.min()),
                "episode_len_mean": float(np.mean([len(episode) for episode in finished])),
            },
            window=1,
        )
        unstable = [episode.unstable for episode in finished if episode.unstable is not None]
        if unstable:
            self.metrics.log_value("unstable_episodes", sum(unstable), reduce="sum")

    def _to_episode(self, meta: MetaEpisodeData) -> SingleAgentEpisode:
        extra = {
            Columns.ACTION_DIST_INPUTS: meta.logits,
            Columns.ACTION_LOGP: meta.log_prob,
            BELIEF: meta.belief,
            **meta.labels,
        }
        episode = SingleAgentEpisode(
            observation_space=self.module.observations.flat_space,
            action_space=self.module.actions.flat_space,
            observations=meta.observations,
            infos=[{}] * (len(meta) + 1),
            actions=meta.actions,
            rewards=meta.rewards,
            terminated=meta.terminated,
            truncated=meta.truncated,
            extra_model_outputs=extra,
            len_lookback_buffer=0,
        )
        episode.custom_data[FINAL_BELIEF] = meta.final_belief
        return episode

    @override(SingleAgentEnvRunner)
    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> Any:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self.env is not None and self._check_component(STREAMS, components, not_components):
            own = {"worker_index": self.stream.worker_index}
            state[STREAMS] = self.collector.state() | own
        return state

    @override(SingleAgentEnvRunner)
    def set_state(self, state: Any) -> None:
        """Restores `get_state()`; streams and meta-episodes only if they are this worker's own.

        RLlib also hands over the local worker's state, to restarted workers and, when a run is
        resumed, to all. A worker that so joins a run under way leaves the beginning of its stream,
        which the run has seen.
        """
        super().set_state(state)
        if self.env is None or self.config.in_evaluation:
            return
        steps = int(state.get(NUM_ENV_STEPS_SAMPLED_LIFETIME) or 0)
        if state.get(STREAMS, {}).get("worker_index") == self.stream.worker_index:
            self.collector.set_state(state[STREAMS])
            self._needs_initial_reset = not self.collector.has_begun
        elif self._needs_initial_reset and steps and not self.stream.incarnation:
            self.stream = replace(self.stream, incarnation=steps % 2**32)
            self.env.unwrapped.set_stream(self.stream)
            self._collector = None

    def own_state(self) -> dict[str, Any]:
        """What of this runner's state is no other's: streams and meta-episodes under way."""
        return self.get_state(components=[STREAMS])

    def set_own_state(self, state: dict[str, Any]) -> None:
        """Goes on from `own_state()` of the runner that had this one's index."""
        self.stream = stream_of(self.config, self.worker_index)
        self.env.unwrapped.set_stream(self.stream)
        self._collector = None
        self.collector.set_state(state[STREAMS])
        self._needs_initial_reset = not self.collector.has_begun


def created(runner: Any) -> None:
    """Calls what the user wants called once an EnvRunner has its envs."""
    config = runner.config
    context = EnvContext(
        config.env_config or {}, runner.worker_index or 0, num_workers=runner.num_workers
    )
    make_callback(
        "on_environment_created",
        callbacks_objects=runner._callbacks,
        callbacks_functions=config.callbacks_on_environment_created,
        kwargs={
            "env_runner": runner,
            "metrics_logger": runner.metrics,
            "env": runner.env.unwrapped,
            "env_context": context,
        },
    )


def stream_of(config: Any, worker_index: int | None) -> Stream:
    """The random streams of the sub-envs of one EnvRunner."""
    # Without a seed, or after this actor was restarted, the stream must be a fresh one.
    fresh = int.from_bytes(os.urandom(4), "little")
    seed = config.held_out_seed if config.in_evaluation else config.seed
    return Stream(
        seed=fresh if seed is None else int(seed),
        worker_index=worker_index or 0,
        evaluation=bool(config.in_evaluation),
        incarnation=fresh if _reconstructed() else 0,
    )


def log_faults(runner: Any, new: int, news: list[str]) -> None:
    """Counts the faults of an EnvRunner's envs since the last time, and notes them."""
    runner.metrics.log_value("env_faults", new, reduce="sum")  # 0 too: no number would be NaN
    if new:
        where = f"EnvRunner {runner.worker_index or 0}, "
        note_faults(runner.tune_trial_id, [where + one for one in news])


def tolerance_of(config: Any) -> Tolerance | None:
    """How many faults of an env a runner tolerates; a step may take half of what a sample may."""
    if not config.max_env_faults:
        return None
    timeout = config.sample_timeout_s
    return Tolerance(timeout and timeout / 2, config.max_env_faults)


def _reconstructed() -> bool:
    """Whether this process is an actor that Ray started again after a failure."""
    if not ray.is_initialized():
        return False
    context = ray.get_runtime_context()
    try:
        return context.get_actor_id() is not None and context.was_current_actor_reconstructed
    except Exception:  # outside an actor Ray raises instead of answering
        return False
