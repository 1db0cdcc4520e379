"""The outer update of MAME: the adapted policy, what it adapts by, and what explores for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_metarl.algorithms.base.settings import Condition
from rllib_metarl.algorithms.maml.learner import GROUP, MAMLLearner
from rllib_metarl.algorithms.maml.objective import Objective
from rllib_metarl.ops.gradients import clip_norm_
from rllib_metarl.ops.inner_step import TaskSteps, gradient, stacked, task_advantages
from rllib_metarl.ops.ppo import clipped_surrogate


def exploration_rewards(objective: Objective) -> Tensor:
    """What each step of exploration was worth, `[N, B]`.

    -(grad_z' J)ᵀ alpha ∘ grad_z l_t, the first-order change of the adapted policy's objective J
    that this step's share of the inner step has made (Gurumurthy et al. 2019), here with the
    outer loss as -J.
    """
    module, steps = objective.module, objective.phases[0]
    start, adapted = objective.chain(objective.start(), graph=False)
    slope = gradient(objective.losses([start, adapted]).outer, adapted)["latent"]
    way = objective.config.inner_lr * module.step_scale.detach() * slope
    latent = start["latent"]
    # Linear in `share`: its derivative is the part of each step, forwards by going back twice.
    share = torch.zeros_like(steps.weight, requires_grad=True)
    errors = (module.errors(latent, steps) * share).sum()
    (pulled,) = torch.autograd.grad(errors, latent, create_graph=True)
    (change,) = torch.autograd.grad(pulled, share, way)
    return change * steps.weight


class MAMELearner(MAMLLearner):
    """Steps everything with one Adam.

    Policy and latent are stepped through the inner step, as ProMP does it, the predictor and the
    inner step's sizes with them, and the explorer by PPO on `exploration_rewards`.
    """

    METRICS: ClassVar[dict[str, Condition | None]] = dict.fromkeys(
        ("prediction_loss", "exploration_reward", "policy_learning_rate")
    )

    @override(Learner)
    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        parameters = list(self.agent.parameters())
        self.register_optimizer(
            module_id=module_id,
            optimizer_name=GROUP,
            optimizer=torch.optim.Adam(parameters, eps=1e-8),
            params=parameters,
            lr_or_lr_schedule=self.config.lr,
        )

    @override(MAMLLearner)
    def _step(
        self, objective: Objective, flat: Tensor, loss: float, count: Tensor
    ) -> dict[str, Any]:
        explored, paid = self._explored(objective)
        for _ in range(self.config.num_epochs):
            chain = objective.chain(
                stacked(self.agent.policy.weights(), len(objective)), graph=True
            )
            losses = objective.losses(chain)
            prediction = self.agent.inner_loss(chain[-1], objective.phases[-1], "")
            total = losses.outer + self.config.prediction_coeff * prediction
            self._descend(total + self._exploration_loss(explored), objective, count)
        return {
            "mean_kl_loss": self._mean(losses.kl, count),
            "prediction_loss": self._mean(prediction, count),
            "exploration_reward": self._mean(paid.sum(1), count),
        }

    def _explored(self, objective: Objective) -> tuple[TaskSteps, Tensor]:
        """Exploration's steps with what came of each as `advantage`, and what they were paid."""
        steps, config = objective.phases[0], self.config
        paid = exploration_rewards(objective)

        def rows(x: Tensor) -> Tensor:
            return x.unflatten(1, (config.rollouts_per_task, -1))

        advantage = task_advantages(
            rows(steps.observation),
            rows(paid),
            rows(steps.weight) > 0,
            config.gamma,
            config.lambda_,
        )
        return replace(steps, advantage=advantage.flatten(1)), paid

    def _exploration_loss(self, explored: TaskSteps) -> Tensor:
        """PPO's, `[N]`."""
        log_prob = self.agent.actions.log_prob(
            self.agent.explorer_logits(explored), explored.action
        )
        clipped = clipped_surrogate(
            log_prob, explored.log_prob, explored.advantage, self.config.clip_param
        )
        return (clipped.loss * explored.weight).sum(1)

    def _descend(self, by_task: Tensor, objective: Objective, count: Tensor) -> None:  # type: ignore[override]
        """One step of Adam on the mean over the tasks of all learners of `[N]`."""
        parameters = dict(self.agent.named_parameters())
        slopes = torch.autograd.grad(
            by_task.sum(), list(parameters.values()), materialize_grads=True, allow_unused=True
        )
        vector = self._over_learners(torch.cat([slope.flatten() for slope in slopes])) / count
        parts = vector.split([slope.numel() for slope in slopes])
        for parameter, part in zip(parameters.values(), parts, strict=True):
            parameter.grad = part.view_as(parameter).clone()
        norm = clip_norm_(parameters.values(), self.config.grad_clip or float("inf"))
        if self.guard.passes(self._mean(by_task, count), [norm]):
            self.get_optimizer(DEFAULT_MODULE_ID, GROUP).step()
        else:
            self.guard.stop_if_too_many(objective.phases[-1], [GROUP], parameters.items())
