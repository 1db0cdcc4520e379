"""What the outer update differentiates: losses through the inner steps, and their curvature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rllib_metarl.algorithms.maml.adaptation import adapt, leaves
from rllib_metarl.ops.inner_step import (
    InnerPath,
    TaskSteps,
    Weights,
    finite_tasks,
    gradient,
    importance,
    stacked,
)
from rllib_metarl.ops.ppo import clipped_surrogate
from rllib_metarl.ops.trust_region import gauss_newton


@dataclass(frozen=True)
class Losses:
    """Of each task, `[N]`: the outer loss, and the KL of the adapted policy from what sampled."""

    outer: Tensor
    kl: Tensor


class Objective:
    """The outer loss of N tasks, and how it changes with the meta-learnt weights.

    Made before an outer update: `old` and `curvature` are of the weights that sampled.

    Args:
        module: a `MAMLModule`.
        phases: the steps before each inner step, and after the last.
        config: a `MAMLConfig`.
        scores: `[N]`, how well each task ended, standardised; what E-MAML credits.
    """

    def __init__(
        self, module: Any, phases: list[TaskSteps], config: Any, scores: Tensor | None = None
    ) -> None:
        self.module, self.phases, self.config = module, phases, config
        self.scores = scores
        self.loss_name = "importance" if config.outer_update == "promp" else "reinforce"
        self.sampled = self.chain(self.start(), graph=True)
        self.old = self._sampling_policies()
        """Inputs `[N, B, outputs]` of the distributions that actions were drawn from, by phase."""

    def __len__(self) -> int:
        return len(self.phases[0].advantage)

    def of(self, tasks: Tensor) -> Objective:
        """Only some tasks."""
        phases = [steps.of(tasks) for steps in self.phases]
        scores = None if self.scores is None else self.scores[tasks]
        return Objective(self.module, phases, self.config, scores)

    def start(self) -> Weights:
        """The meta-learnt weights, `[N, ...]`, each task's to be differentiated apart."""
        return leaves(stacked(self.module.policy.weights(), len(self)))

    def chain(self, weights: Weights, *, graph: bool) -> list[Weights]:
        """The weights in each phase; differentiable in the first ones where `graph` is true."""
        found = [weights]
        for steps in self.phases[:-1]:
            second = graph and not self.config.first_order
            rate, before = self.config.inner_lr, found[-1]
            after, _ = adapt(self.module, before, steps, rate, self.loss_name, graph=second)
            found.append(after if graph else leaves(after))
        return found

    @torch.no_grad()
    def _sampling_policies(self) -> list[Tensor]:
        pairs = zip(self.sampled, self.phases, strict=True)
        return [self.module.logits_of(weights, steps) for weights, steps in pairs]

    # --- losses ---------------------------------------------------------------------------------

    def losses(self, chain: list[Weights]) -> Losses:
        """At the weights that a `chain` leads through."""
        steps, codec = self.phases[-1], self.module.actions
        logits = self.module.logits_of(chain[-1], steps)
        log_prob = codec.log_prob(logits, steps.action)
        kl = (codec.kl(self.old[-1], logits) * steps.weight).sum(1)
        if self.config.outer_update in ("promp", "mame"):
            clip = self.config.clip_param
            clipped = clipped_surrogate(log_prob, steps.log_prob, steps.advantage, clip)
            return Losses((clipped.loss * steps.weight).sum(1), kl)
        outer = importance(log_prob, steps)
        if self.config.outer_update == "emaml":
            outer = outer + self._exploration(chain)
        return Losses(outer, kl)

    def _exploration(self, chain: list[Weights]) -> Tensor:
        """E-MAML's term, `[N]`: what was sampled before adapting is credited with what came of it.

        -mean[pi_theta(a) / pi_old(a)] times the task's score, for each phase that is adapted on
        (Stadie et al. 2018, eq. 5, with the ratio in place of the log-probability).
        """
        assert self.scores is not None
        total = torch.zeros_like(self.scores)
        for weights, steps in zip(chain[:-1], self.phases[:-1], strict=True):
            logits = self.module.logits_of(weights, steps)
            ratio = torch.exp(self.module.actions.log_prob(logits, steps.action) - steps.log_prob)
            total = total - (ratio * steps.weight).sum(1) * self.scores
        return total

    def inner_kl(self, chain: list[Weights]) -> Tensor:
        """KL of the policies before each inner step from those that sampled there, `[N]`, a mean
        over the phases (Rothfuss et al. 2019, eq. 15).
        """
        total = self.phases[0].advantage.new_zeros(len(self))
        for weights, steps, old in zip(chain[:-1], self.phases[:-1], self.old, strict=False):
            logits = self.module.logits_of(weights, steps)
            total = total + (self.module.actions.kl(old, logits) * steps.weight).sum(1)
        return total / max(1, len(self.phases) - 1)

    # --- derivatives ----------------------------------------------------------------------------

    def gradients(self) -> tuple[Losses, Weights]:
        """Losses, and their gradients in the meta-learnt weights, each task's apart."""
        losses = self.losses(self.sampled)
        return losses, gradient(losses.outer, self.sampled[0])

    def sound(self, gradients: Weights) -> Tensor:
        """Which tasks can be learnt from, `[N]` bool: nothing of them is NaN or infinite."""
        seen = [torch.isfinite(old).flatten(1).all(1) for old in self.old]
        return torch.stack([finite_tasks(gradients), *seen]).all(0)

    def curvature(self) -> Any:
        """Products of a vector (unstacked weights) with the sum over tasks of their KLs' Hessians.

        At the weights that sampled the Hessian is J^T F J, J of the inner steps and F the Fisher
        information of the adapted policy: no third derivatives.
        """
        path, stride = InnerPath(self.config.inner_lr), self.config.curvature_stride
        *before, weights = [leaves(weights) for weights in self.sampled]
        for one, steps in zip(before, self.phases, strict=False):
            if not self.config.first_order:
                fewer, rate = steps.every(stride), self.config.inner_lr
                _, curved = adapt(self.module, one, fewer, rate, self.loss_name, graph=True)
                path.add(one, curved)
        steps, codec = self.phases[-1].every(stride), self.module.actions
        logits = self.module.logits_of(weights, steps)
        old = logits.detach()

        def divergence(outputs: Tensor) -> Tensor:
            total: Tensor = (codec.kl(old, outputs) * steps.weight).sum()
            return total

        fisher = gauss_newton(logits, list(weights.values()), divergence)

        def product(vector: Weights) -> Weights:
            pushed = path.forward(stacked(vector, len(self)))
            back = fisher(list(pushed.values()))
            pulled = path.backward(dict(zip(pushed, back, strict=True)))
            return {name: value.sum(0) for name, value in pulled.items()}

        return product
