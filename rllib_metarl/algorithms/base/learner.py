"""What all learners share: an update on whole meta-episodes, as tensors made in one pass."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from rllib_metarl.algorithms.base.settings import Condition
from rllib_metarl.learning.batch import rollout_from_episodes


class MetaLearner(TorchLearner):
    """Hands each update's meta-episodes to `learn` as one batch; no learner connectors.

    A mixin: it comes before the RLlib learner whose parts are used, as in
    ``class BeliefLearner(MetaLearner, PPOTorchLearner)``.

    Attributes:
        METRICS: the metrics that a class adds, each with the settings under which it is reported;
            None for always. A subclass adds to them, or replaces an entry.
    """

    METRICS: ClassVar[dict[str, Condition | None]] = {}

    @property
    def agent(self) -> Any:
        """The one module this learner trains."""
        return self.module[DEFAULT_MODULE_ID].unwrapped()

    @override(TorchLearner)
    def update(
        self,
        training_data: TrainingData | None = None,
        *,
        episodes: list[Any] | None = None,
        timesteps: dict[str, Any] | None = None,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Learns from whole meta-episodes; returns the metrics that `learn` has logged."""
        self._check_is_built()
        timesteps = timesteps or {}
        self.before_gradient_based_update(timesteps=timesteps)
        if training_data is None:
            training_data = TrainingData(episodes=episodes)
        training_data.solve_refs()
        self._weights_seq_no += 1
        rollout = self.batch_of(training_data.episodes)
        steps = int(timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0))
        self.learn(rollout, steps, num_epochs, minibatch_size)
        self.after_gradient_based_update(timesteps=timesteps)
        return self.metrics.reduce()

    def batch_of(self, episodes: list[Any]) -> Any:
        """Hook: what `learn` gets of an update's meta-episodes."""
        return rollout_from_episodes(episodes, self.agent, self._device)

    def learn(self, rollout: Any, steps: int, epochs: int, minibatch_size: int | None) -> None:
        """Hook: one update.

        Args:
            rollout: what `batch_of` made of the meta-episodes; a `Rollout`, `[B, T, ...]`.
            steps: env steps sampled so far.
            epochs, minibatch_size: as configured.
        """
        raise NotImplementedError

    @override(TorchLearner)
    def compute_loss_for_module(self, **kwargs: Any) -> Any:
        """Not called: `learn` makes the losses."""
        raise NotImplementedError
