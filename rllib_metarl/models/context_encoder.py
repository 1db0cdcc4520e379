"""IIDA's networks: phi, whose mean over transitions is the context, and the model it is learnt by.

Evans, Thankaraj and Pinto 2022, arXiv:2203.05549.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rllib_metarl.models.mlp import mlp
from rllib_metarl.models.step import Inputs, State
from rllib_metarl.ops.forward_model import set_mean, window_means

LIMIT = 10.0
"""Standardised inputs are clipped to +- this: a trained agent goes where no random one has been."""


class TransitionUnits(nn.Module):
    """The units of states and of their changes, taken from data once.

    States are standardised, changes s' - s divided by their root mean square; entries that never
    change (a goal that stays) are left out of the latter and are 0.

    Args:
        size: O, width of a state.
    """

    mean: Tensor
    std: Tensor
    change: Tensor
    known: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.register_buffer("change", torch.ones(size))
        self.register_buffer("known", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def take(self, observation: Tensor, next_observation: Tensor) -> None:
        """Takes the units from transitions `[K, O]` and keeps them from then on."""
        self.mean.copy_(observation.mean(0))
        std = observation.std(0, unbiased=False)
        self.std.copy_(torch.where(std > 1e-6, std, 1.0))
        change = (next_observation - observation).double().square().mean(0).sqrt().float()
        self.change.copy_(torch.where(change > 1e-6, change, 0.0))
        self.known.fill_(True)

    @property
    def moves(self) -> Tensor:
        """`[O]` bool: which entries of the state ever change."""
        return self.change > 0.0

    def states(self, observation: Tensor) -> Tensor:
        """`[..., O]` standardised."""
        return ((observation - self.mean) / self.std).clamp(-LIMIT, LIMIT)

    def changes(self, observation: Tensor, next_observation: Tensor) -> Tensor:
        """`[..., O]`: s' - s in units of a usual change; not clipped."""
        return torch.where(self.moves, next_observation - observation, 0.0) / self._divisor()

    def _divisor(self) -> Tensor:
        return torch.where(self.moves, self.change, 1.0)


class ContextEncoder(nn.Module):
    """(1/N) sum phi(s, a, s') over the last N transitions, in any order; zeros before the first.

    Args:
        observation_size, action_size: O and A, widths of s and of the (one-hot) a.
        latent_size: L, width of the context.
        hidden: widths of phi's hidden layers.
        window: N.

    Raises:
        ValueError: for an empty window.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        latent_size: int,
        *,
        hidden: tuple[int, ...] = (256,),
        window: int = 128,
    ) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"context_window is {window}: use at least 1 transition")
        self.latent_size, self.window = latent_size, window
        self.observation_size = observation_size
        self.units = TransitionUnits(observation_size)
        widths = [2 * observation_size + action_size, *hidden, latent_size]
        self.phi = mlp(widths, last=False)

    def features(self, observation: Tensor, action: Tensor, next_observation: Tensor) -> Tensor:
        """phi of transitions, `[..., L]`; observations `[..., O]`, action `[..., A]`."""
        change = self.units.changes(observation, next_observation).clamp(-LIMIT, LIMIT)
        return self.phi(torch.cat([self.units.states(observation), action, change], dim=-1))

    def of_set(
        self, observation: Tensor, action: Tensor, next_observation: Tensor, mask: Tensor
    ) -> Tensor:
        """The context `[..., L]` of the transitions `[..., K, O or A]` that mask `[..., K]` has."""
        return set_mean(self.features(observation, action, next_observation), mask)

    def initial_state(self) -> State:
        """The state before the first observation, without a batch dimension."""
        return {
            "features": torch.zeros(self.window, self.latent_size),
            "last_observation": torch.zeros(self.observation_size),
            "transitions": torch.zeros(1),
            "began": torch.zeros(1),
        }

    def step(self, inputs: Inputs) -> tuple[Tensor, State]:
        """The context `[N, L]` with an observation `[N, O]`, and the next state.

        Args:
            inputs: their state has `features [N, window, L]` of the last transitions, the newest
                last; `last_observation [N, O]`, `transitions [N, 1]` in the window, `began [N, 1]`:
                0 before the first observation. Rewards are not looked at.
        """
        observation, action, _, state = inputs[:4]
        began = state["began"]
        new = self.features(state["last_observation"], action, observation) * began
        window = torch.cat([state["features"][:, 1:], new.unsqueeze(1)], dim=1)
        transitions = (state["transitions"] + began).clamp_max(self.window)
        context = window.sum(1) / transitions.clamp_min(1.0)
        return context, {
            "features": window,
            "last_observation": observation,
            "transitions": transitions,
            "began": torch.ones_like(began),
        }

    def forward(self, inputs: Inputs) -> Tensor:
        """Contexts `[B, T, L]` along whole meta-episodes, as `step` gives them."""
        observation, action = inputs[:2]
        features = self.features(observation[:, :-1], action[:, 1:], observation[:, 1:])
        return window_means(features, self.window)


class ForwardModel(nn.Module):
    """f(s, a, context) -> s' - s, in the units of `TransitionUnits`.

    Args:
        observation_size, action_size, context_size: O, A and C; C may be 0.
        hidden: widths of the hidden layers.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        context_size: int,
        *,
        hidden: tuple[int, ...] = (256, 256),
    ) -> None:
        super().__init__()
        widths = [observation_size + action_size + context_size, *hidden, observation_size]
        self.net = mlp(widths, last=False)

    def forward(self, state: Tensor, action: Tensor, context: Tensor) -> Tensor:
        """`[..., O]` standardised states, `[..., A]`, `[..., C]` -> `[..., O]` scaled changes."""
        return self.net(torch.cat([state, action, context], dim=-1))
