"""What the top latent must explain, against hand-computed numbers."""

from __future__ import annotations

import math

import pytest
import torch

from rllib_metarl.ops.hierarchy import other_sessions_mask, switch_rate_loss
from rllib_metarl.ops.sessions import same_session_mask

SESSION = torch.tensor([[0, 0, 1, 2], [0, 1, 1, 0]])
VALID = torch.tensor([[True] * 4, [True, True, True, False]])


def test_other_sessions_are_those_that_are_not_ones_own() -> None:
    mask = other_sessions_mask(SESSION, VALID)
    assert mask[0].tolist() == [
        [False, False, True, True],
        [False, False, True, True],
        [True, True, False, True],
        [True, True, True, False],
    ]
    assert mask[1].tolist() == [
        [False, True, True, False],
        [True, False, False, False],
        [True, False, False, False],
        [False, False, False, False],
    ]
    own = same_session_mask(SESSION, SESSION, VALID, VALID)
    assert torch.equal(mask | own, VALID[:, :, None] & VALID[:, None, :])
    assert not (mask & own).any()


def test_the_switch_rate_loss_counts_draws_and_switches() -> None:
    """Row 0: 3 draws, 2 switches; row 1: 2 draws, 1 switch (what stands on padding is no draw)."""
    switched = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1]])
    rates = torch.tensor([[0.5, 0.25, 2 / 3, 0.9], [0.5, 0.1, 0.3, 0.7]])
    loss = switch_rate_loss(torch.logit(rates), switched, VALID)
    for row, switches, stays in ((0, 2, 1), (1, 1, 1)):
        for t in range(4):
            p = rates[row, t].item()
            expected = -switches * math.log(p) - stays * math.log(1 - p)
            assert loss[row, t].item() == pytest.approx(expected if VALID[row, t] else 0.0)
    assert loss[0].argmin() == 2  # the rate that was


def test_the_first_entry_is_no_draw() -> None:
    switched = torch.tensor([[1, 0, 0, 0]])
    loss = switch_rate_loss(torch.zeros(1, 4), switched, torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(loss, torch.full((1, 4), 3 * math.log(2)))


def test_shapes_and_types_are_checked() -> None:
    with pytest.raises(ValueError, match="switched"):
        switch_rate_loss(torch.zeros(2, 4), torch.zeros(2, 3), VALID)
    with pytest.raises(TypeError, match="valid"):
        switch_rate_loss(torch.zeros(2, 4), torch.zeros(2, 4), VALID.int())
    with pytest.raises(ValueError, match="valid"):
        other_sessions_mask(SESSION, VALID[:1])
