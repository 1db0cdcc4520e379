"""What all learners share: an update on whole meta-episodes, as tensors made in one pass."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.core import ALL_MODULES, DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_MODULE_STEPS_TRAINED,
    NUM_MODULE_STEPS_TRAINED_LIFETIME,
)
from torch import Tensor

from rllib_metarl.algorithms.base.settings import Condition
from rllib_metarl.compiler import no_compiler
from rllib_metarl.learning.batch import rollout_from_episodes
from rllib_metarl.learning.guard import UpdateGuard
from rllib_metarl.ops.gradients import clip_norm_


class MetaLearner(TorchLearner):
    """Hands each update's meta-episodes to `learn` as one batch; no learner connectors.

    A mixin: it comes before the RLlib learner whose parts are used, as in
    ``class BeliefLearner(MetaLearner, PPOTorchLearner)``.

    Attributes:
        METRICS: the metrics that a class adds, each with the settings under which it is reported;
            None for always. A subclass adds to them, or replaces an entry.
    """

    METRICS: ClassVar[dict[str, Condition | None]] = {}

    @override(TorchLearner)
    def __init__(self, **kwargs: Any) -> None:
        with no_compiler():
            super().__init__(**kwargs)

    @override(TorchLearner)
    def build(self) -> None:
        super().build()
        self.guard = UpdateGuard(self.config.max_skipped_updates)

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

    def descend(self, loss: Tensor, batch: Any = None) -> None:
        """One step of the module's one optimiser, with the gradient's norm clipped (`grad_clip`).

        A step whose loss or gradient is not finite is left out and counted.

        Args:
            loss: a scalar.
            batch: what it is of, to be saved if too many steps in a row are left out.

        Raises:
            UserError: they are (`max_skipped_updates`).
        """
        optimiser = self.get_optimizer(DEFAULT_MODULE_ID)
        trained = [p for group in optimiser.param_groups for p in group["params"]]
        optimiser.zero_grad()
        loss.backward()
        norm = clip_norm_(trained, self.config.grad_clip or float("inf"))
        if self.guard.passes(loss, [norm]):
            optimiser.step()
        else:
            self.guard.stop_if_too_many(batch, ["default"], self.agent.named_parameters())
        values = {"grad_norm": norm.item(), "skipped_updates": self.guard.take_skipped()}
        self.metrics.log_dict(values, key=DEFAULT_MODULE_ID, window=1)

    def log_steps_trained(self, steps: int) -> None:
        """Adds to RLlib's counts of env steps learnt from; this learner's own part of them."""
        for key in (DEFAULT_MODULE_ID, ALL_MODULES):
            self.metrics.log_value((key, NUM_MODULE_STEPS_TRAINED), steps, reduce="sum")
            self.metrics.log_value(
                (key, NUM_MODULE_STEPS_TRAINED_LIFETIME), steps, reduce="lifetime_sum"
            )

    @override(Learner)
    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> Any:
        state = super().get_state(components, not_components=not_components, **kwargs)
        extra = self.extra_state()
        if extra and self._check_component("learner_extras", components, not_components):
            state["learner_extras"] = extra
        return state

    @override(Learner)
    def set_state(self, state: Any) -> None:
        super().set_state(state)
        if "learner_extras" in state:
            self.set_extra_state(state["learner_extras"])

    def extra_state(self) -> dict[str, Any]:
        """Hook: what RLlib's learner state leaves out; stored in checkpoints."""
        return {}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Hook: restores `extra_state()`."""

    @override(TorchLearner)
    def compute_loss_for_module(self, **kwargs: Any) -> Any:
        """The loss of the RLlib learner that this one stands before, where `learn` wants it."""
        return super().compute_loss_for_module(**kwargs)  # type: ignore[safe-super]
