"""How a task's trajectories become its weights: in runners, learner and evaluation alike."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rllib_metarl.learning.batch import Rollout, rollout_from_meta_episodes
from rllib_metarl.ops.inner_step import (
    TaskSteps,
    Weights,
    finite_tasks,
    gradient,
    inner_step,
    n_step_returns,
    stacked,
    task_advantages,
)


@dataclass(frozen=True)
class Adaptation:
    """The settings of adaptation.

    Attributes:
        steps: gradient steps of an evaluation. rollouts: meta-episodes before each, and at the end.
        trained_steps: gradient steps that training takes.
        rate, later_rate: their sizes, and those of the others.
        gamma, lambda_: of the advantages.
        loss: key of `INNER_LOSSES`.
        return_steps: of the returns that a loss predicts; 0 where none does.
    """

    steps: int
    rollouts: int
    trained_steps: int
    rate: float
    later_rate: float
    gamma: float
    lambda_: float
    loss: str
    return_steps: int = 0

    @classmethod
    def of(cls, config: Any) -> Adaptation:
        """What a `MAMLConfig` says."""
        later = config.later_inner_lr
        return cls(
            steps=config.adaptation_steps,
            rollouts=config.adaptation_rollouts or config.rollouts_per_task,
            trained_steps=config.inner_steps,
            rate=config.inner_lr,
            later_rate=config.inner_lr / 2.0 if later is None else later,
            gamma=config.gamma,
            lambda_=config.lambda_,
            loss="importance" if config.outer_update == "promp" else "reinforce",
        )

    def rate_of(self, step: int) -> float:
        """The size of gradient step 0, 1, ..."""
        return self.rate if step < max(1, self.trained_steps) else self.later_rate


def task_steps(rollout: Rollout, tasks: int, adaptation: Adaptation) -> TaskSteps:
    """Rows that belong to tasks in equal blocks, as the steps of each task with its advantages."""
    data, gamma = rollout.trajectories, adaptation.gamma

    def of_tasks(x: Tensor) -> Tensor:
        return x.reshape(tasks, -1, *x.shape[1:])

    def steps(x: Tensor) -> Tensor:
        return x.reshape(tasks, -1, *x.shape[2:])

    observation = data.observation[:, :-1]
    advantage = task_advantages(
        of_tasks(observation),
        of_tasks(data.reward),
        of_tasks(data.valid),
        gamma,
        adaptation.lambda_,
    )
    valid, target = steps(data.valid).to(data.reward.dtype), None
    if adaptation.return_steps:
        target = n_step_returns(data.reward, data.valid, gamma, adaptation.return_steps)
    return TaskSteps(
        steps(observation),
        steps(rollout.action),
        steps(rollout.log_prob),
        steps(advantage.flatten(0, 1)),
        valid / valid.sum(1, keepdim=True).clamp_min(1.0),
        # Padding forbids everything, which has no distribution.
        None if rollout.mask is None else steps(rollout.mask | ~data.valid[..., None]),
        None if target is None else steps(target),
    )


def adapt(
    module: Any, weights: Weights, steps: TaskSteps, rate: float, loss: str, *, graph: bool = False
) -> tuple[Weights, Weights]:
    """One inner step of all tasks.

    Args:
        module: a `MAMLModule`.
        weights: `[N, ...]` each, with a gradient.
        steps: what is learnt from.
        rate: alpha. loss: key of `INNER_LOSSES`.
        graph: whether the step can be differentiated.

    Returns:
        The adapted weights, and the gradients.
    """
    gradients = gradient(module.inner_loss(weights, steps, loss), weights, create_graph=graph)
    return inner_step(weights, gradients, rate, module.step_scales()), gradients


def leaves(weights: Weights) -> Weights:
    """The same numbers, from which a gradient can be taken."""
    return {name: value.detach().clone().requires_grad_() for name, value in weights.items()}


def adapted(
    module: Any, weights: Weights, steps: TaskSteps, rate: float, loss: str
) -> tuple[Weights, Tensor]:
    """Weights after an inner step, without a graph; a task whose gradient is not finite keeps its.

    Returns:
        The weights, and which tasks have adapted, `[N]` bool.
    """
    with torch.enable_grad():
        before = leaves(weights)
        after, gradients = adapt(module, before, steps, rate, loss)
    sound = finite_tasks(gradients)
    kept = {}
    for name, value in after.items():
        choice = sound.view(-1, *[1] * (value.dim() - 1))
        kept[name] = torch.where(choice, value.detach(), weights[name].detach())
    return kept, sound


def adapted_module(
    module: Any, played: Sequence[Any], adaptation: Adaptation, step: int
) -> Any | None:
    """A copy of a `MAMLModule` after gradient step 0, 1, ... on meta-episodes of one task.

    None where the gradient is not finite.
    """
    rollout = rollout_from_meta_episodes(played, module)
    steps = task_steps(rollout, 1, adaptation)
    rate = adaptation.rate_of(step)
    weights, sound = adapted(module, shared(module, 1), steps, rate, adaptation.loss)
    if not sound.all():
        return None
    after = copy.deepcopy(module)
    own = {name: value[0] for name, value in weights.items()}
    after.policy.load_state_dict(own, strict=False)  # what adapts may be a part of it
    return after


def shared(module: Any, tasks: int) -> Weights:
    """The module's own weights for each of `tasks` tasks."""
    own = {name: value.detach() for name, value in module.policy.weights().items()}
    return {name: value.contiguous() for name, value in stacked(own, tasks).items()}
