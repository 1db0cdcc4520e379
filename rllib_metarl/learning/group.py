"""RLlib's group of learners, which here gives every learner every episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.annotations import override


@dataclass
class UndividedData(TrainingData):
    """Episodes that every learner gets all of.

    RLlib would sort them by length and cut them in the middle to make equal shards; a belief is
    learnt from whole meta-episodes, and `Share` divides the gradients' work instead.
    """

    @override(TrainingData)
    def shard(
        self, num_shards: int, len_lookback_buffer: int | None = None, **kwargs: Any
    ) -> list[tuple[TrainingData, dict[str, Any]]]:
        return [(TrainingData(episodes_refs=self.episodes_refs), {}) for _ in range(num_shards)]


class BeliefLearnerGroup(LearnerGroup):
    """Sends the same whole meta-episodes, once put into Ray's store, to all learners."""

    @override(LearnerGroup)
    def update(
        self,
        *,
        episodes: list[Any] | None = None,
        training_data: TrainingData | None = None,
        **kwargs: Any,
    ) -> list[dict[str, Any]]:
        data = training_data or TrainingData(episodes=episodes)
        if self.is_remote:
            references = data.episodes_refs or [ray.put(data.episodes)]
            data = UndividedData(episodes_refs=references)
        return super().update(training_data=data, **kwargs)
