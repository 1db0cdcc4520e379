"""DynaMITE-RL's session prior p_theta(m^i | m^{i-1})."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rllib_metarl.models.mlp import mlp


class SessionPrior(nn.Module):
    """A Gaussian over the new session's context, from the belief the session before ended with.

    Args:
        latent_size: L.
        hidden: widths of the hidden layers.
    """

    def __init__(
        self, latent_size: int, hidden: tuple[int, ...] = (32,), activation: str = "relu"
    ) -> None:
        super().__init__()
        self.net = mlp([2 * latent_size, *hidden, 2 * latent_size], activation, last=False)

    def forward(self, mean: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance `[..., L]` of the prior; the incoming belief is detached here."""
        prior = self.net(torch.cat([mean, log_var], dim=-1).detach())
        prior_mean, prior_log_var = prior.chunk(2, dim=-1)
        return prior_mean, prior_log_var.clamp(-8.0, 4.0)
