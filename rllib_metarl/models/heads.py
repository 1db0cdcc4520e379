"""Policy and value networks over observation and belief."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rllib_metarl.models.mlp import mlp, orthogonal_

STD_RANGE = (0.007, 7.0)
"""A Gaussian policy's standard deviation is kept here: an entropy bonus alone would push it on."""


class BeliefNetwork(nn.Module):
    """Maps (observation, belief) to an output; used for the policy and for the value.

    Args:
        observation_size, belief_size, output_size: widths.
        hidden: widths of the hidden layers, at least one.
        conditioning: ``concat`` puts the belief beside the observation (VariBAD); ``film`` lets it
            scale and shift the first layer's features of the observation (Perez et al. 2018), so
            that what the observation means can depend on the context from the first step on.
        belief_embedding: width of the layer between the belief and FiLM's scales and shifts.
        reader: makes `observation_size` features of an observation that holds images.
        output_gain: orthogonal gain of the last layer; small for a policy that starts uniform.

    Raises:
        ValueError: for an unknown conditioning or no hidden layer.
    """

    def __init__(
        self,
        observation_size: int,
        belief_size: int,
        output_size: int,
        *,
        hidden: tuple[int, ...] = (128, 128),
        activation: str = "relu",
        conditioning: str = "concat",
        belief_embedding: int = 32,
        output_gain: float = 1.0,
        reader: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.reader = reader
        if conditioning not in ("concat", "film"):
            raise ValueError(f"belief_conditioning {conditioning!r} is unknown; use concat or film")
        if not hidden:
            raise ValueError("policy_hidden is empty; use at least one hidden layer, e.g. [128]")
        self.film = conditioning == "film"
        inputs = observation_size + (0 if self.film else belief_size)
        self.first = orthogonal_(mlp([inputs, hidden[0]], activation), 2**0.5)
        self.rest = orthogonal_(mlp(hidden, activation), 2**0.5)
        if self.film:
            embed = orthogonal_(mlp([belief_size, belief_embedding], activation), 2**0.5)
            to_features = orthogonal_(nn.Linear(belief_embedding, 2 * hidden[0]), 1.0)
            self.modulation = nn.Sequential(embed, to_features)
        self.output = nn.Linear(hidden[-1], output_size)
        orthogonal_(self.output, output_gain)

    def forward(self, observation: Tensor, belief: Tensor) -> Tensor:
        """`[..., O]`, `[..., D]` -> `[..., output_size]`."""
        if self.reader is not None:
            observation = self.reader(observation)
        if self.film:
            scale, shift = self.modulation(belief).chunk(2, dim=-1)
            features = self.first(observation) * (1.0 + scale) + shift
        else:
            features = self.first(torch.cat([observation, belief], dim=-1))
        return self.output(self.rest(features))


class ValueNetwork(nn.Module):
    """A value function that learns in units of the returns' standard deviation (PopArt).

    Returns of tens with a gradient clip of 0.5 starve whatever shares the clip, and make the
    critic crawl; here targets are standardised, and the last layer is rescaled whenever their mean
    and standard deviation move, so that predictions stay what they were (van Hasselt et al. 2016).

    Args:
        rate: how fast mean and standard deviation follow the newest batch.
    """

    mean: Tensor
    std: Tensor
    initialised: Tensor

    def __init__(
        self, observation_size: int, belief_size: int, *, rate: float = 0.1, **network: object
    ) -> None:
        super().__init__()
        self.rate = rate
        self.network = BeliefNetwork(observation_size, belief_size, 1, **network)  # type: ignore[arg-type]
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))

    def standardised(self, observation: Tensor, belief: Tensor) -> Tensor:
        """Values `[...]` in standardised units."""
        return self.network(observation, belief).squeeze(-1)

    def forward(self, observation: Tensor, belief: Tensor) -> Tensor:
        """Values `[...]` in units of the return."""
        return self.restore(self.standardised(observation, belief))

    def restore(self, value: Tensor) -> Tensor:
        """Standardised values `[...]` in units of the return."""
        return value * self.std + self.mean

    def standardise(self, target: Tensor) -> Tensor:
        """Returns `[...]` in standardised units."""
        return (target - self.mean) / self.std

    @torch.no_grad()
    def follow(self, target: Tensor) -> None:
        """Moves mean and standard deviation towards those of `target` `[...]`; predictions stay.

        Nothing moves if the result is not finite.
        """
        rate = self.rate if bool(self.initialised) else 1.0
        mean = self.mean + rate * (target.mean() - self.mean)
        std = (self.std + rate * (target.std() - self.std)).clamp_min(1e-3)
        if not torch.isfinite(mean + std):
            return
        output = self.network.output
        output.bias.mul_(self.std).add_(self.mean - mean).div_(std)
        output.weight.mul_(self.std / std)
        self.mean.copy_(mean)
        self.std.copy_(std)
        self.initialised.fill_(True)
