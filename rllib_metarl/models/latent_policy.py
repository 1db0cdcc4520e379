"""A policy without memory that is given a task's latent parameters beside its observation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rllib_metarl.models.task_policy import TaskPolicy


class LatentPolicy(TaskPolicy):
    """Observation and latent -> inputs of the action distribution; only the latent is a task's own.

    Args:
        width: O + Z, numbers of the observation and of the latent.
        latent_size: Z.
        given: as `TaskPolicy` takes them.
    """

    def __init__(self, width: int, *given: Any, latent_size: int, **settings: Any) -> None:
        super().__init__(width, *given, **settings)
        self.latent = nn.Parameter(torch.zeros(latent_size))

    def weights(self) -> dict[str, Tensor]:
        """What adapts, by name: the latent alone."""
        return {"latent": self.latent}

    def forward(self, observation: Tensor) -> Tensor:
        """As `TaskPolicy.forward`, with the latent that adaptation begins from."""
        return super().forward(self._with(observation, self.latent))

    def of_tasks(self, weights: Mapping[str, Tensor], observation: Tensor) -> Tensor:
        """As `TaskPolicy.of_tasks`: `[N, B, O]` and latents `[N, Z]` -> `[N, B, outputs]`."""
        return super().forward(self._with(observation, weights["latent"][:, None]))

    @staticmethod
    def _with(observation: Tensor, latent: Tensor) -> Tensor:
        wide = latent.expand(*observation.shape[:-1], latent.shape[-1])
        return torch.cat([observation, wide], -1)
