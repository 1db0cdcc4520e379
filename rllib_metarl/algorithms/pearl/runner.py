"""An EnvRunner whose sub-envs play tasks of a finite set, one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.annotations import override

from rllib_metarl.envs import Stream, draw_tasks
from rllib_metarl.errors import UserError
from rllib_metarl.sampling.collector import env_name
from rllib_metarl.sampling.runner import STREAMS, MetaEpisodeRunner

_ORDER_STREAM = 2**32 - 2
"""Of an EnvRunner's streams the one that shuffles tasks; no sub-env has such an index."""
_TASKS = 2**31 - 1
"""The worker whose stream the tasks are drawn from; no EnvRunner has such an index."""
ORDER = "task_order"


class TaskSetRunner(MetaEpisodeRunner):
    """Plays the `train_tasks` tasks of a run, of which all EnvRunners have the same ones.

    At each sample every sub-env is given another task, for the meta-episodes that begin from then
    on; the tasks come in a shuffled order, all of them before any comes again.
    """

    @override(MetaEpisodeRunner)
    def make_env(self) -> None:
        super().make_env()
        env = self.env.unwrapped
        require_tasks(self.env)
        seed = self.config.seed
        stream = Stream(self.stream.seed if seed is None else int(seed), worker_index=_TASKS)
        self._tasks = draw_tasks(self.config.train_tasks, env.task_width, stream)
        self._begin_order()

    def _begin_order(self) -> None:
        self._shuffle = self.stream.generator(_ORDER_STREAM)
        self._deck = np.zeros(0, np.int64)

    def _next_tasks(self, count: int) -> NDArray[np.int64]:
        while len(self._deck) < count:
            more = self._shuffle.permutation(len(self._tasks))
            self._deck = np.concatenate([self._deck, more])
        ids, self._deck = np.split(self._deck, [count])
        return ids

    @override(MetaEpisodeRunner)
    def _sample(self, **how: Any) -> list[SingleAgentEpisode]:
        if not self.config.in_evaluation:
            self.env.unwrapped.hold_tasks(self._tasks, self._next_tasks(self.num_envs))
        episodes = super()._sample(**how)
        if not self._module_redraws and not any(
            "inner_done" in e.extra_model_outputs for e in episodes
        ):
            raise UserError(
                f"env {env_name(self.env)} has no inner episodes, at whose starts this algorithm "
                "draws its latent anew: give it inner_episodes of 2 or more, wrap it in "
                "rllib_metarl.envs.MetaEpisode, or set resample_steps."
            )
        return episodes

    @property
    def _module_redraws(self) -> bool:
        return self.config.resample_steps is not None

    @override(MetaEpisodeRunner)
    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> Any:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if STREAMS in state:
            shuffle = self._shuffle.bit_generator.state
            state[STREAMS][ORDER] = {"shuffle": shuffle, "deck": self._deck.copy()}
        return state

    @override(MetaEpisodeRunner)
    def set_state(self, state: Any) -> None:
        before = self.stream if self.env is not None else None
        super().set_state(state)
        if self.env is None or self.config.in_evaluation:
            return
        streams = state.get(STREAMS, {})
        if streams.get("worker_index") == self.stream.worker_index:
            self._set_order(streams[ORDER])
        elif self.stream is not before:
            self._begin_order()

    @override(MetaEpisodeRunner)
    def set_own_state(self, state: dict[str, Any]) -> None:
        super().set_own_state(state)
        self._begin_order()
        self._set_order(state[STREAMS][ORDER])

    def _set_order(self, order: dict[str, Any]) -> None:
        self._shuffle.bit_generator.state = order["shuffle"]
        self._deck = np.array(order["deck"], np.int64)


def require_tasks(env: Any) -> None:
    """Makes sure that an env's tasks can be held.

    Raises:
        UserError: they cannot.
    """
    if not getattr(env.unwrapped, "task_width", 0):
        raise UserError(
            f"env {env_name(env)} has no tasks that can be held, and a replay by task plays each "
            "again: give it set_context(m) and wrap it in rllib_metarl.envs.Sessions, or let its "
            "reset take options['task'] and say task_width (docs/your-env.md)."
        )
