"""MAME's module: a policy on observation and latent, what explores, and what predicts returns."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from rllib_metarl.algorithms.maml.module import MAMLModule, ModuleView
from rllib_metarl.models.latent_policy import LatentPolicy
from rllib_metarl.models.mlp import mlp
from rllib_metarl.models.task_policy import TaskPolicy
from rllib_metarl.ops.inner_step import TaskSteps, Weights


class MAMEModule(MAMLModule):
    """Acts by `policy` with the latent from which each task's adaptation begins.

    Attributes:
        explorer: acts in what the inner step learns from.
        predictor: (observation, action, latent) -> return of the next steps.
        step_scale: `[Z]`, learnt sizes of the inner step, in units of `inner_lr`.
    """

    def setup(self) -> None:
        super().setup()
        size = self.model_config["latent_size"]
        self.policy = self.make_policy(partial(LatentPolicy, latent_size=size), beside=size)
        self.explorer = self.make_policy(TaskPolicy)
        widths = [self.observation_width + self.action_width + size]
        hidden = self.model_config["predictor_hidden"]
        self.predictor = mlp([*widths, *hidden, 1], "tanh", last=False)
        self.step_scale = nn.Parameter(torch.ones(size))

    def inner_loss(self, weights: Weights, steps: TaskSteps, loss: str) -> Tensor:
        """Squared error of the predicted returns, a mean over the steps of each task, `[N]`."""
        return (self.errors(weights["latent"], steps) * steps.weight).sum(1)

    def errors(self, latent: Tensor, steps: TaskSteps) -> Tensor:
        """(M(o_t, a_t, z) - G_t)², `[N, B]`, with z `[N, Z]` and G_t the steps' targets."""
        assert steps.target is not None
        wide = latent[:, None].expand(*steps.target.shape, -1)
        inputs = torch.cat([steps.observation, self.encode_action(steps.action), wide], -1)
        predicted: Tensor = self.predictor(inputs).squeeze(-1)
        return (predicted - steps.target).square()

    def step_scales(self) -> Weights | None:
        return {"latent": self.step_scale}

    def explorer_logits(self, steps: TaskSteps) -> Tensor:
        """Inputs `[N, B, outputs]` of the explorer's action distributions."""
        logits: Tensor = self.explorer(steps.observation)
        return logits if steps.mask is None else self.actions.masked(logits, steps.mask)

    def collecting(self) -> ModuleView:
        return Exploring(self)


class Exploring(ModuleView):
    """Acts by a module's `explorer`."""

    def logits(self, observation: Tensor) -> Tensor:
        logits: Tensor = self._module.explorer(observation)
        return logits
