"""An EnvRunner that plays a share of the tasks, adapting to each where its envs are."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.maml.adaptation import adapted, shared, task_steps
from rllib_metarl.algorithms.maml.module import AdaptedModule
from rllib_metarl.envs import Stream
from rllib_metarl.errors import UserError
from rllib_metarl.learning.batch import rollout_from_meta_episodes
from rllib_metarl.sampling.collector import MetaEpisodeData, env_name
from rllib_metarl.sampling.faults import carried
from rllib_metarl.sampling.runner import STREAMS, MetaEpisodeRunner

TASK, PHASE = "task", "phase"
"""Keys of an episode's custom data: (EnvRunner, task), and how many steps it has adapted by."""
_TASK_STREAM = 2**32 - 1
"""Of an EnvRunner's streams the one that tasks are drawn from; no sub-env has such an index."""


class TaskRunner(MetaEpisodeRunner):
    """Plays `meta_batch_size` tasks, or its share of them, `rollouts_per_task` times in each phase.

    Rows i K to (i + 1) K - 1 hold task i, K being `rollouts_per_task`. Phase 0 acts with the
    meta-learnt weights, phase j after j inner steps on the phases before. A sample is all phases.
    """

    @override(MetaEpisodeRunner)
    def make_env(self) -> None:
        super().make_env()
        require_tasks(self.env)
        self._task_stream = task_generator(self.stream)

    @property
    def tasks(self) -> int:
        """How many tasks this runner plays."""
        runners = max(1, self.config.num_env_runners)
        every, left = divmod(self.config.meta_batch_size, runners)
        return int(every + ((self.worker_index or 1) - 1 < left))

    @override(MetaEpisodeRunner)
    def rows(self) -> int:
        return self.tasks * int(self.config.rollouts_per_task)

    @override(MetaEpisodeRunner)
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
            self._task_stream = task_generator(self.stream)
        ids = np.repeat(np.arange(self.tasks), self.config.rollouts_per_task)
        width = self.env.unwrapped.task_width
        self.env.unwrapped.hold_tasks(self._task_stream.random((self.tasks, width)), ids)
        with carried(self.worker_index, self.tune_trial_id):
            phases = self._play_phases()
        finished = [meta for _, played in phases for meta in played]
        self._log_played(finished, phases[-1][1])  # the returns are the adapted policies'
        return [episode for episodes, _ in phases for episode in episodes]

    def _play_phases(self) -> list[tuple[list[SingleAgentEpisode], list[MetaEpisodeData]]]:
        adaptation, module = self.config.adaptation(), self.module
        weights = shared(module, self.tasks)
        phases: list[tuple[list[SingleAgentEpisode], list[MetaEpisodeData]]] = []
        self.collector.act_with(module.collecting())
        for phase in range(adaptation.trained_steps + 1):
            if phase:
                rollout = rollout_from_meta_episodes(phases[-1][1], module, self._device)
                steps = task_steps(rollout, self.tasks, adaptation)
                rate = adaptation.rate_of(phase - 1)
                weights, _ = adapted(module, weights, steps, rate, adaptation.loss)
                self.collector.act_with(AdaptedModule(module, weights))
            phases.append(self._play_phase(phase))
        self.collector.act_with(module)
        return phases

    def _play_phase(self, phase: int) -> tuple[list[SingleAgentEpisode], list[MetaEpisodeData]]:
        try:
            played = self.collector.collect_round()
        finally:
            self._log_faults()
        self._needs_initial_reset = False
        episodes = [self._to_episode(meta) for meta in played]
        for row, episode in enumerate(episodes):
            task = row // self.config.rollouts_per_task
            episode.custom_data.update({TASK: (self.worker_index or 0, task), PHASE: phase})
        return episodes, played

    @override(MetaEpisodeRunner)
    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> Any:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if STREAMS in state:
            state[STREAMS]["tasks"] = self._task_stream.bit_generator.state
        return state

    @override(MetaEpisodeRunner)
    def set_state(self, state: Any) -> None:
        before = self.stream if self.env is not None else None
        super().set_state(state)
        if self.env is None or self.config.in_evaluation:
            return
        streams = state.get(STREAMS, {})
        if streams.get("worker_index") == self.stream.worker_index:
            self._task_stream.bit_generator.state = streams["tasks"]
        elif self.stream is not before:
            self._task_stream = task_generator(self.stream)

    @override(MetaEpisodeRunner)
    def set_own_state(self, state: dict[str, Any]) -> None:
        super().set_own_state(state)
        self._task_stream = task_generator(self.stream)
        self._task_stream.bit_generator.state = state[STREAMS]["tasks"]


def task_generator(stream: Stream) -> np.random.Generator:
    """What the tasks of a stream's owner are drawn from."""
    return stream.generator(_TASK_STREAM)


def require_tasks(env: Any) -> None:
    """Makes sure that an env's tasks can be held.

    Raises:
        UserError: they cannot.
    """
    if not getattr(env.unwrapped, "task_width", 0):
        raise UserError(
            f"env {env_name(env)} has no tasks that can be held, and adaptation by gradient plays "
            "each again: give it set_context(m) and wrap it in rllib_metarl.envs."
            "Sessions, or let its reset take options['task'] and say task_width (docs/your-env.md)."
        )
