"""ContextPPO's learner where encoder and policy are trained together."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_metarl.algorithms.base.settings import Condition
from rllib_metarl.algorithms.belief.learner import BeliefLearner
from rllib_metarl.learning.batch import Rollout
from rllib_metarl.learning.iida import TaskBatch, Transitions, cut_at_sessions, draw
from rllib_metarl.learning.iida_fit import prediction_errors
from rllib_metarl.ops.elbo import masked_mean


class ContextLearner(BeliefLearner):
    """PPO on stored contexts, then `forward_updates` steps on the forward model's error.

    The tasks of these steps are the sessions of the newest meta-episodes (whole meta-episodes where
    the env does not label sessions).
    """

    METRICS: ClassVar[dict[str, Condition | None]] = dict.fromkeys(
        ("forward_loss", "forward_grad_norm", "forward_learning_rate"),
        Condition("train_encoder: true with context: latent", lambda c: c.train_encoder),
    )

    @override(BeliefLearner)
    def build(self) -> None:
        super().build()
        seed = int(self.config.seed or 0)
        self._draws = torch.Generator(device=self._device).manual_seed(seed + 5)

    @override(BeliefLearner)
    def parameter_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        groups = super().parameter_groups()
        if not self.config.train_encoder:
            return groups
        forward = list(self.agent.forward_model.parameters())
        if not self.config.policy_gradient_to_encoder:  # else it is in the policy's group
            forward += list(self.agent.encoder.phi.parameters())
        return groups | {"forward": forward}

    @override(BeliefLearner)
    def learning_rate(self, group: str) -> Any:
        return self.config.forward_lr if group == "forward" else super().learning_rate(group)

    @override(BeliefLearner)
    def adam_epsilon(self, group: str) -> float:
        return 1e-8 if group == "forward" else super().adam_epsilon(group)

    @override(BeliefLearner)
    def learn_belief(self, rollout: Rollout, steps: int) -> None:
        if not self.config.train_encoder:
            return
        played = rollout.trajectories
        data = cut_at_sessions(played.observation, played.action, played.session, played.valid)
        if not self.agent.encoder.units.known:  # no fitted encoder was given: from the first batch
            self.agent.encoder.units.take(data.observation, data.next_observation)
        end_to_end = self.config.policy_gradient_to_encoder
        comparable = bool((data.lengths >= 2).any())  # a lone transition tells of no other
        for _ in range(self.config.forward_updates if comparable else 0):
            batch = self.forward_batch(data)
            loss = self.forward_loss(batch)
            groups = ("policy", "forward") if end_to_end else ("forward",)
            terms = batch.query_mask.sum()
            self.gradient_step(loss, terms, *groups, batch=batch.named())
            self.record({"forward_loss": loss})

    def forward_batch(self, data: Transitions) -> TaskBatch:
        """This learner's share of some drawn tasks; at least one task has two transitions."""
        config = self.config
        usable = torch.nonzero(data.lengths >= 2)[:, 0]
        rows = self._integers(0, len(usable), config.forward_tasks)
        support = self._integers(1, config.context_window + 1, config.forward_tasks)
        batch = draw(data, usable[rows], support, config.forward_targets, self._draws)
        return batch.take(self.rank.part(config.forward_tasks))

    def forward_loss(self, batch: TaskBatch) -> Tensor:
        """Mean squared error `[]` of predicted changes, in units of a usual one."""
        agent = self.agent
        context = agent.encoder.of_set(*batch.support, batch.support_mask)
        error = prediction_errors(agent.encoder, agent.forward_model, batch, context)
        return masked_mean(error, batch.query_mask)

    def _integers(self, low: int, high: int, count: int) -> Tensor:
        return torch.randint(low, high, (count,), generator=self._draws, device=self._device)

    @override(BeliefLearner)
    def extra_state(self) -> dict[str, Any]:
        return super().extra_state() | {"draws": self._draws.get_state().cpu().numpy()}

    @override(BeliefLearner)
    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._draws.set_state(torch.as_tensor(np.asarray(state["draws"])))
