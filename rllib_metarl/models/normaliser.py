"""Running standardisation of network inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Unchanged(nn.Identity):
    """In a `Normaliser`'s place where inputs are of a fit size already."""

    def follow(self, x: Tensor) -> None:
        """Keeps no statistics of the inputs `[...]`."""


class Normaliser(nn.Module):
    """gain (x - mean) / std with running statistics that move only when `follow` is called.

    Statistics are buffers: they travel with the weights to the EnvRunners and into checkpoints.

    Args:
        size: width of x.
        slowest: the smallest weight that a new batch gets; the first batches are averaged evenly.
        smallest_std: below it a dimension is scaled no further, so that noise is not blown up.
        limit: outputs are clipped to +- this.
        gain: standard deviation of the outputs.
    """

    mean: Tensor
    std: Tensor
    batches: Tensor

    def __init__(
        self,
        size: int,
        *,
        slowest: float = 0.02,
        smallest_std: float = 0.05,
        limit: float = 5.0,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.slowest = slowest
        self.smallest_std = smallest_std
        self.limit = limit
        self.gain = gain
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """`[..., size]` -> `[..., size]`."""
        scale = self.std.reciprocal() * self.gain
        return ((x - self.mean) * scale).clamp(-self.limit, self.limit)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Hook: mean and variance, of the statistics' width, of `x [N, size]`."""
        return x.mean(0), x.var(0, unbiased=False)

    @torch.no_grad()
    def follow(self, x: Tensor) -> None:
        """Moves the statistics towards those of `x [N, size]`, unless those are not finite."""
        batches = self.batches + 1
        rate = torch.clamp_min(1.0 / batches, self.slowest)
        mean, newest = self.moments(x)
        difference = mean - self.mean
        variance = (1 - rate) * self.std.square() + rate * newest
        variance = variance + rate * (1 - rate) * difference.square()
        if batches == 1:
            variance = newest
        if not torch.isfinite(variance + difference).all():
            return
        self.batches.copy_(batches)
        self.mean += rate * difference
        self.std.copy_(variance.sqrt().clamp_min(self.smallest_std))
