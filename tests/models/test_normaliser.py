from __future__ import annotations

import numpy as np
import torch

from rllib_metarl.models.normaliser import Normaliser


def _batches(count: int, rows: int = 40) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    scale, shift = np.array([1.0, 10.0, 0.3]), np.array([0.0, -4.0, 100.0])
    return [(rng.normal(size=(rows, 3)) + rng.normal(size=3)) * scale + shift for _ in range(count)]


def test_the_first_batches_are_averaged_as_one() -> None:
    normaliser = Normaliser(3, slowest=0.02).double()
    batches = _batches(10)
    for batch in batches:
        normaliser.follow(torch.as_tensor(batch))
    together = np.concatenate(batches)
    np.testing.assert_allclose(normaliser.mean, together.mean(0))
    np.testing.assert_allclose(normaliser.std, together.std(0))


def test_later_batches_weigh_no_less_than_slowest() -> None:
    normaliser = Normaliser(1, slowest=0.5)
    for value in (0.0, 0.0, 0.0, 8.0):
        normaliser.follow(torch.full((4, 1), value))
    assert normaliser.mean.item() == 4.0  # 0.5 * 8, not 8 / 4


def test_output_is_standardised_and_clipped() -> None:
    normaliser = Normaliser(3).double()
    (batch,) = _batches(1, rows=1000)
    normaliser.follow(torch.as_tensor(batch))
    out = normaliser(torch.as_tensor(batch)).numpy()
    np.testing.assert_allclose(out.mean(0), 0.0, atol=1e-9)
    np.testing.assert_allclose(out.std(0), 1.0, atol=1e-2)
    assert normaliser(torch.full((1, 3), 1e9)).tolist() == [[5.0, 5.0, 5.0]]


def test_a_constant_input_is_not_blown_up() -> None:
    normaliser = Normaliser(2, smallest_std=0.05)
    normaliser.follow(torch.full((10, 2), 3.0))
    assert normaliser.std.tolist() == [0.05000000074505806] * 2
    noise = normaliser(torch.full((1, 2), 3.001))
    assert noise.abs().max() < 0.03


def test_using_it_moves_nothing_and_statistics_travel_with_the_state() -> None:
    normaliser = Normaliser(3)
    normaliser(torch.randn(10, 3))
    assert normaliser.mean.tolist() == [0.0] * 3 and normaliser.batches.item() == 0
    normaliser.follow(torch.randn(10, 3) + 2.0)
    other = Normaliser(3)
    other.load_state_dict(normaliser.state_dict())
    x = torch.randn(4, 3)
    assert torch.equal(other(x), normaliser(x)) and not torch.equal(other(x), x)
