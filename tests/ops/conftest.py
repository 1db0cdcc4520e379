"""Random right-padded batches with sessions, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor


@dataclass
class Batch:
    """Beliefs ``[B, T, D]`` with their sessions; `lengths` are the rows' numbers of valid steps."""

    mean: Tensor
    log_var: Tensor
    session: Tensor
    valid: Tensor
    lengths: list[int]


def make_batch(seed: int, lengths: tuple[int, ...] = (7, 1, 5, 7), features: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    rows, steps = len(lengths), max(lengths)
    switched = torch.rand(rows, steps, generator=generator) < 0.35
    switched[:, 0] = False
    valid = torch.arange(steps)[None] < torch.tensor(lengths)[:, None]
    draw = torch.randn(2, rows, steps, features, generator=generator, dtype=torch.float64)
    return Batch(draw[0], 0.5 * draw[1], switched.cumsum(1), valid, list(lengths))


@pytest.fixture(params=range(5))
def batch(request: pytest.FixtureRequest) -> Batch:
    return make_batch(request.param)
