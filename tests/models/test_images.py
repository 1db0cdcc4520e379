"""What networks make of images within flat observations, in either order of the channels."""

from __future__ import annotations

import pytest
import torch

from rllib_metarl.models.images import FEATURES, ImageNormaliser, ImageReader
from rllib_metarl.models.observations import Image
from rllib_metarl.models.task_policy import TaskPolicy

NUMBERS, HEIGHT, WIDTH, CHANNELS = 2, 5, 6, 2
PIXELS = HEIGHT * WIDTH * CHANNELS
SIZE = NUMBERS + PIXELS + 1


def image(channels_first: bool) -> Image:
    shape = (CHANNELS, HEIGHT, WIDTH) if channels_first else (HEIGHT, WIDTH, CHANNELS)
    return Image(NUMBERS, NUMBERS + PIXELS, shape)


def observations(channels_first: bool, rows: int = 400) -> torch.Tensor:
    """Two numbers, an image whose channel c is around 100 c with deviation 1 + c, a number.

    Columns differ in their means, by which part of the deviation comes.
    """
    noise = torch.randn(rows, HEIGHT, WIDTH, CHANNELS, generator=torch.Generator().manual_seed(0))
    channel, column = torch.arange(CHANNELS), torch.arange(WIDTH)[:, None]
    spread = 0.6 * noise + 0.8 * (1 - 2 * (column % 2))
    pixels = 100.0 * channel + spread * (1 + channel)
    pixels = pixels.permute(0, 3, 1, 2) if channels_first else pixels
    numbers = torch.tensor([7.0, -7.0]).expand(rows, 2)
    return torch.cat([numbers, pixels.reshape(rows, -1), torch.full((rows, 1), 50.0)], 1)


@pytest.mark.parametrize("channels_first", [False, True])
def test_each_channel_has_a_mean_and_deviation_and_so_has_each_number(channels_first: bool) -> None:
    normaliser = ImageNormaliser(SIZE, [image(channels_first)])
    x = observations(channels_first)
    normaliser.follow(x)
    expected = torch.tensor([7.0, -7.0, 0.0, 100.0, 50.0])
    torch.testing.assert_close(normaliser.mean, expected, atol=0.1, rtol=0)
    torch.testing.assert_close(normaliser.std[2:4], torch.tensor([1.0, 2.0]), atol=0.05, rtol=0)
    out = normaliser(x)[:, NUMBERS:-1]
    assert out.mean().abs() < 0.05 and (out.std() - 1).abs() < 0.05
    assert normaliser(x + 1e6).max() == 5.0 and normaliser(x - 1e6).min() == -5.0


def test_both_orders_of_the_channels_are_the_same_image() -> None:
    last, first = ImageReader(SIZE, [image(False)]), ImageReader(SIZE, [image(True)])
    first.load_state_dict(last.state_dict())
    features = [r(observations(f, rows=4)) for r, f in ((last, False), (first, True))]
    torch.testing.assert_close(*features)
    assert features[0].shape == (4, last.width) and last.width == NUMBERS + 1 + FEATURES
    assert features[0][0, : NUMBERS + 1].tolist() == [7.0, -7.0, 50.0]


def test_a_task_policy_scales_pixels_to_one_and_nothing_else() -> None:
    reader, read = ImageReader(SIZE, [image(False)]), []
    reader.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    TaskPolicy(SIZE, 3, 0, reader=reader)(torch.full((1, SIZE), 255.0))
    expected = torch.full((1, SIZE), 255.0)
    expected[:, NUMBERS : NUMBERS + PIXELS] = 1.0
    torch.testing.assert_close(read[0], expected)
