"""What networks make of the images within flat observations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rllib_metarl.models.mlp import orthogonal_
from rllib_metarl.models.normaliser import Normaliser
from rllib_metarl.models.observations import Image

FEATURES = 64
_SMALL = 4


class ImageNormaliser(Normaliser):
    """A `Normaliser` of flat observations with one mean and deviation for each image's channel.

    A pixel that hardly ever changes then stays as large as the others.

    Args:
        size: O. images: which entries are images.
    """

    group: Tensor

    def __init__(self, size: int, images: Sequence[Image], *, gain: float = 1.0) -> None:
        group = torch.zeros(size, dtype=torch.long)
        count = end = 0
        for image in [*images, None]:
            begin = size if image is None else image.begin
            group[end:begin] = torch.arange(count, count + begin - end)
            count += begin - end
            if image is not None:
                channel = torch.arange(image.channels).expand(_height_width(image) + (-1,))
                channel = channel.permute(2, 0, 1) if image.channels_first else channel
                group[begin : image.end] = count + channel.reshape(-1)
                count, end = count + image.channels, image.end
        super().__init__(count, gain=gain)
        self.register_buffer("group", group, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.std.reciprocal() * self.gain
        return ((x - self.mean[self.group]) * scale[self.group]).clamp(-self.limit, self.limit)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = self._grouped(x.mean(0))
        spread = (x.mean(0) - mean[self.group]).square()
        return mean, self._grouped(x.var(0, unbiased=False) + spread)

    def _grouped(self, x: Tensor) -> Tensor:
        """Means `[groups]` of `[size]`."""
        zeros = torch.zeros_like(self.mean)
        return zeros.index_add(0, self.group, x) / zeros.index_add(
            0, self.group, x.new_ones(len(x))
        )


class ImageReader(nn.Module):
    """Flat observations `[..., O]` with each image replaced by `FEATURES` features of a small CNN.

    3 × 3 convolutions of 16, 32, 32, ... channels, the first of stride 1 for images of at most 16
    pixels a side, the others of stride 2 until 4 × 4 are left, and one linear layer.

    Args:
        size: O. images: which entries are images.

    Attributes:
        width: of what comes out: the other entries in their order, then the features.
    """

    def __init__(self, size: int, images: Sequence[Image]) -> None:
        super().__init__()
        self.images = list(images)
        ends = [0, *(image.end for image in images)]
        begins = [*(image.begin for image in images), size]
        self._rest = [(e, b) for e, b in zip(ends, begins, strict=True) if e < b]
        self.networks = nn.ModuleList(_network(image) for image in images)
        self.width = sum(b - e for e, b in self._rest) + FEATURES * len(self.images)

    def forward(self, observation: Tensor) -> Tensor:
        """`[..., O]` -> `[..., width]`."""
        parts = [observation[..., begin:end] for begin, end in self._rest]
        for image, network in zip(self.images, self.networks, strict=True):
            pixels = observation[..., image.begin : image.end].reshape(-1, *image.shape)
            pixels = pixels if image.channels_first else pixels.permute(0, 3, 1, 2)
            parts.append(network(pixels).reshape(*observation.shape[:-1], FEATURES))
        return torch.cat(parts, dim=-1)


def _height_width(image: Image) -> tuple[int, int]:
    shape = image.shape[1:] if image.channels_first else image.shape[:2]
    return shape[0], shape[1]


def _network(image: Image) -> nn.Module:
    height, width = _height_width(image)
    channels, out, stride = image.channels, 16, 1 if max(height, width) <= 16 else 2
    layers: list[nn.Module] = []
    while not layers or max(height, width) > _SMALL:
        layers += [nn.Conv2d(channels, out, 3, stride, padding=1), nn.ReLU()]
        height, width = -(-height // stride), -(-width // stride)
        channels, out, stride = out, 32, 2
    linear = orthogonal_(nn.Linear(channels * height * width, FEATURES), 2**0.5)
    return nn.Sequential(*layers, nn.Flatten(), linear, nn.ReLU())
