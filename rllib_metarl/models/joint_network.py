"""Networks on observations together with what else they are given: actions, rewards, latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from rllib_metarl.models.images import ImageReader
from rllib_metarl.models.mlp import mlp
from rllib_metarl.models.observations import Image

LEAST_VARIANCE = 1e-7
"""Of a transition's Gaussian factor."""
_OUTPUT_RANGE = 3e-3
LOG_STD_RANGE = (-20.0, 2.0)


class JointNetwork(nn.Module):
    """A perceptron on flat observations and other vectors; images are scaled to [0, 1] and read.

    Args:
        observation_size: O. images: which of its entries are images.
        others: the width of all other inputs together.
        hidden: widths of the hidden layers. outputs: of the linear layer behind them, whose weights
            start small, so that values start near 0.
        observations: how many observations it is given.
    """

    def __init__(
        self,
        observation_size: int,
        images: Sequence[Image],
        others: int,
        hidden: Sequence[int],
        outputs: int,
        *,
        activation_name: str = "relu",
        observations: int = 1,
    ) -> None:
        super().__init__()
        self.reader = ImageReader(observation_size, images) if images else None
        width = observation_size if self.reader is None else self.reader.width
        self._scale: Tensor
        scale = torch.ones(observation_size)
        for image in images:
            scale[image.begin : image.end] = 1.0 / 255.0
        self.register_buffer("_scale", scale, persistent=False)
        widths = [width * observations + others, *hidden]
        self.layers = mlp(widths, activation_name)
        self.output = nn.Linear(widths[-1], outputs)
        for parameter in self.output.parameters():
            nn.init.uniform_(parameter, -_OUTPUT_RANGE, _OUTPUT_RANGE)

    def forward(self, observation: Tensor, *others: Tensor) -> Tensor:
        """`[..., O]` and `[..., W]` each -> `[..., outputs]`."""
        parts = [self.read(observation), *others]
        out: Tensor = self.output(self.layers(torch.cat(parts, -1)))
        return out

    def read(self, observation: Tensor) -> Tensor:
        """What the perceptron is given of observations `[..., O]`."""
        if self.reader is None:
            return observation
        features: Tensor = self.reader(observation * self._scale)
        return features


class FactorEncoder(JointNetwork):
    """A transition (s, a, r) or (s, a, r, s') as a Gaussian factor of the posterior over the task.

    Args:
        observation_size, images, hidden: as `JointNetwork`. action_width: A.
        latent_size: L. next_observation: whether it is given s' too.
    """

    def __init__(
        self,
        observation_size: int,
        images: Sequence[Image],
        action_width: int,
        hidden: Sequence[int],
        latent_size: int,
        *,
        activation_name: str = "relu",
        next_observation: bool = False,
    ) -> None:
        super().__init__(
            *(observation_size, images, action_width + 1, hidden, 2 * latent_size),
            activation_name=activation_name,
            observations=1 + next_observation,
        )
        self.next_observation = next_observation

    def factor(
        self, observation: Tensor, action: Tensor, reward: Tensor, after: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance `[..., L]` of `[..., O]`, `[..., A]`, `[...]` and `[..., O]`."""
        others = [action, reward.unsqueeze(-1)]
        if self.next_observation:
            others.append(self.read(after))
        mean, raw = self(observation, *others).chunk(2, -1)
        return mean, softplus(raw).clamp_min(LEAST_VARIANCE)


class SoftPolicy(JointNetwork):
    """Observation and latent -> inputs of a `SoftActions` distribution.

    Args:
        observation_size, images, hidden: as `JointNetwork`. latent_size: L.
        categories: how many logits. numbers: how many numbers.
    """

    def __init__(
        self,
        observation_size: int,
        images: Sequence[Image],
        latent_size: int,
        hidden: Sequence[int],
        categories: int,
        numbers: int,
        *,
        activation_name: str = "relu",
    ) -> None:
        outputs = categories + 2 * numbers
        super().__init__(
            *(observation_size, images, latent_size, hidden, outputs),
            activation_name=activation_name,
        )
        self._numbers = numbers

    def forward(self, observation: Tensor, *others: Tensor) -> Tensor:
        """`[..., O]` and `[..., L]` -> `[..., outputs]`: logits, means, log standard deviations."""
        out = super().forward(observation, *others)
        if not self._numbers:
            return out
        rest, log_std = out[..., : -self._numbers], out[..., -self._numbers :]
        return torch.cat([rest, log_std.clamp(*LOG_STD_RANGE)], -1)
