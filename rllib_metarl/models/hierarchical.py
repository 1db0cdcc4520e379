"""Networks of the two-level belief: a top latent above the session's context, the mid latent."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rllib_metarl.models.encoder import Belief, BeliefEncoder
from rllib_metarl.models.mlp import mlp
from rllib_metarl.models.step import State


class HierarchicalBelief(NamedTuple):
    """What the encoder says after each observation; leading dimensions are `[B]` or `[B, T]`.

    mean, log_var: `[..., L]`, the posterior over the mid latent, the session's context.
    termination_logit: `[...]`, log-odds that the transition just observed opened a new session.
    top_mean, top_log_var: `[..., M]`, the posterior over the top latent, the meta-episode's.
    """

    mean: Tensor
    log_var: Tensor
    termination_logit: Tensor
    top_mean: Tensor
    top_log_var: Tensor


class HierarchicalEncoder(BeliefEncoder):
    """A `BeliefEncoder`, whose posterior is the mid latent's, that reads a top latent beside it.

    Both are read from the same memory, so the top latent costs one linear layer.

    Args:
        observation_size, action_size, latent_size, encoder: as in `BeliefEncoder`.
        top_size: M, the dimension of the top latent.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        latent_size: int,
        top_size: int,
        **encoder: Any,
    ) -> None:
        super().__init__(observation_size, action_size, latent_size, **encoder)
        self.top_size = top_size
        self.top = nn.Linear(self.hidden_size, 2 * top_size)

    def beliefs(
        self, features: Tensor, state: State, logit: Tensor | None = None
    ) -> tuple[HierarchicalBelief, State]:
        mid, remembered = super().beliefs(features, state, logit)
        return self._above(mid, features), remembered

    def belief_now(
        self, hidden: Tensor, state: State, logit: Tensor
    ) -> tuple[HierarchicalBelief, State]:
        mid, remembered = super().belief_now(hidden, state, logit)
        return self._above(mid, hidden), remembered

    def _above(self, mid: Belief, features: Tensor) -> HierarchicalBelief:
        mean, log_var = self.top(features).chunk(2, dim=-1)
        log_var = log_var.clamp(*self.log_var_range)
        return HierarchicalBelief(mid.mean, mid.log_var, mid.termination_logit, mean, log_var)


class HierarchicalPrior(nn.Module):
    """p_theta(mid^i | top, mid^{i-1}): how a session's context follows from what stays.

    Args:
        latent_size: L. top_size: M.
        hidden: widths of the hidden layers.
    """

    def __init__(
        self,
        latent_size: int,
        top_size: int,
        hidden: tuple[int, ...] = (32,),
        activation: str = "relu",
    ) -> None:
        super().__init__()
        sizes = [2 * latent_size + top_size, *hidden, 2 * latent_size]
        self.net = mlp(sizes, activation, last=False)

    def forward(self, top: Tensor, mean: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance `[..., L]` of the prior.

        Args:
            top: `[..., M]` a sample of the top latent; this is how it gets its gradient.
            mean, log_var: `[..., L]` the belief that the session before ended with; detached here.
        """
        before = torch.cat([mean, log_var], dim=-1).detach()
        prior_mean, prior_log_var = self.net(torch.cat([top, before], dim=-1)).chunk(2, dim=-1)
        return prior_mean, prior_log_var.clamp(-8.0, 4.0)


class SwitchHead(nn.Module):
    """P(a session ends after a step | top): the rate of change, which the top latent must tell.

    Args:
        top_size: M.
        hidden: widths of the hidden layers.
    """

    def __init__(
        self, top_size: int, hidden: tuple[int, ...] = (16,), activation: str = "relu"
    ) -> None:
        super().__init__()
        self.net = mlp([top_size, *hidden, 1], activation, last=False)

    def forward(self, top: Tensor) -> Tensor:
        """Log-odds `[...]` from samples of the top latent `[..., M]`."""
        return self.net(top).squeeze(-1)
