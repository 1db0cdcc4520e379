"""DynaMITE-RL's session prior p_theta(m^i | m^{i-1})."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rllib_metarl.models.mlp import mlp
from rllib_metarl.models.normaliser import Normaliser


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


class ScaledSessionPrior(nn.Module):
    """The same in units of the beliefs themselves, wherever training moves them.

    Begins as one Gaussian about all beliefs. The log-variance is bounded smoothly: one at a hard
    limit has no gradient and stays there.

    Args:
        latent_size: L.
        above: width of what comes before the belief, such as a sample of a top latent.
        hidden: widths of the hidden layers.
    """

    SPREAD = 4.0
    """How far the log-variance can be from that of all beliefs."""

    def __init__(self, latent_size: int, above: int = 0, hidden: tuple[int, ...] = (64,)) -> None:
        super().__init__()
        self.normalise_belief = Normaliser(2 * latent_size, slowest=0.1)
        self.net = mlp([above + 2 * latent_size, *hidden, 2 * latent_size], "elu", last=False)
        for parameter in self.net[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, *seen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance `[..., L]` of the prior.

        Args:
            seen: what comes above `[..., A]`, if anything, then mean and log-variance `[..., L]` of
                the belief that the session before ended with; these are detached here.
        """
        *above, mean, log_var = seen
        before = self.normalise_belief(torch.cat([mean, log_var], dim=-1).detach())
        prior_mean, prior_log_var = self.net(torch.cat([*above, before], dim=-1)).chunk(2, dim=-1)
        centre, scale = (x[: mean.shape[-1]] for x in self._statistics())
        prior_log_var = self.SPREAD * torch.tanh(prior_log_var / self.SPREAD)
        return centre + scale * prior_mean, prior_log_var + 2 * scale.log()

    def _statistics(self) -> tuple[Tensor, Tensor]:
        return self.normalise_belief.mean, self.normalise_belief.std

    def follow(self, belief: Tensor) -> None:
        """Moves the units towards those of beliefs `[N, 2L]`."""
        self.normalise_belief.follow(belief)
