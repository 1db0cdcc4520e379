"""A policy without memory whose weights can be given from outside, one set for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from rllib_metarl.models.images import ImageReader
from rllib_metarl.models.mlp import activation


class TaskPolicy(nn.Module):
    """Observation -> inputs of the action distribution; its deviations depend on no observation.

    Images are scaled to [0, 1]; nothing else is, so that adapting does not move what it stands on.

    Args:
        observation_size: O. categories: how many logits. numbers: how many Gaussian numbers.
        hidden: widths of the hidden layers.
        init_std: the numbers' standard deviation at the start.
        reader: makes features of observations that hold images.
    """

    def __init__(
        self,
        observation_size: int,
        categories: int,
        numbers: int,
        *,
        hidden: Sequence[int] = (100, 100),
        activation_name: str = "relu",
        init_std: float = 1.0,
        least_log_std: float = -14.0,
        reader: ImageReader | None = None,
    ) -> None:
        super().__init__()
        self.reader = reader
        self._scale: Tensor
        widths = [observation_size if reader is None else reader.width, *hidden]
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.layers = nn.ModuleList(nn.Linear(one, other) for one, other in pairs)
        self.output = nn.Linear(widths[-1], categories + numbers)
        for layer in (*self.layers, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.log_std = nn.Parameter(torch.full((numbers,), float(init_std)).log())
        scale = torch.ones(observation_size)
        for image in [] if reader is None else reader.images:
            scale[image.begin : image.end] = 1.0 / 255.0
        self.register_buffer("_scale", scale, persistent=False)
        self._activation = activation(activation_name)
        self._least = least_log_std

    def weights(self) -> dict[str, Tensor]:
        """The parameters by name, themselves."""
        return dict(self.named_parameters())

    def forward(self, observation: Tensor) -> Tensor:
        """`[..., O]` -> `[..., outputs]`: logits, means, and log standard deviations."""
        x = observation if self.reader is None else self.reader(observation * self._scale)
        for layer in self.layers:
            x = self._activation(layer(x))
        return self._with_log_std(self.output(x), self.log_std)

    def of_tasks(self, weights: Mapping[str, Tensor], observation: Tensor) -> Tensor:
        """Each task's observations through its own weights, in one pass.

        Args:
            weights: as `weights`, each with a first dimension N.
            observation: `[N, B, O]`.

        Returns:
            `[N, B, outputs]`.
        """
        if self.reader is not None:
            each = vmap(lambda w, o: functional_call(self, w, (o,)))
            out: Tensor = each(dict(weights), observation)
            return out
        x = observation
        for i in range(len(self.layers)):
            x = self._activation(_linear(weights, f"layers.{i}", x))
        log_std = weights["log_std"][:, None]
        return self._with_log_std(_linear(weights, "output", x), log_std)

    def _with_log_std(self, out: Tensor, log_std: Tensor) -> Tensor:
        if not self.log_std.numel():
            return out
        log_std = log_std.clamp(min=self._least)
        return torch.cat([out, log_std.expand(*out.shape[:-1], log_std.shape[-1])], -1)


def _linear(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """A layer of N tasks: stacked matrices are twice as fast as `vmap` over the layer."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return torch.baddbmm(bias[:, None], x, weight.mT)
