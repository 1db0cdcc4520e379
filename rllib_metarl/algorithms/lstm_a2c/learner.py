"""The advantage actor-critic's learner: the policy gradient as it is, one step a batch."""

from __future__ import annotations

import torch
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_metarl.algorithms.belief.learner import BeliefLearner
from rllib_metarl.learning.optimisers import RMSprop
from rllib_metarl.ops.ppo import ClippedSurrogate, policy_gradient


class ActorCriticLearner(BeliefLearner):
    """No ratio and no clipping; RMSProp or Adam."""

    @override(BeliefLearner)
    def surrogate(self, log_prob: Tensor, old: Tensor, advantage: Tensor) -> ClippedSurrogate:
        return policy_gradient(log_prob, advantage)

    @override(BeliefLearner)
    def optimiser(self, group: str, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        if self.config.optimiser == "adam":
            return super().optimiser(group, parameters)
        return RMSprop(parameters, alpha=0.99, eps=self.adam_epsilon(group))
