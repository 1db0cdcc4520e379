"""The context is a mean over a set of transitions, the same step by step and all at once."""

from __future__ import annotations

import pytest
import torch

from rllib_metarl.models.context_encoder import ContextEncoder, TransitionUnits
from rllib_metarl.models.step import Inputs


def _inputs(observation: torch.Tensor, action: torch.Tensor) -> Inputs:
    return Inputs(observation, action, torch.zeros(action.shape[:2]))


def _encoder(window: int = 4) -> ContextEncoder:
    torch.manual_seed(0)
    return ContextEncoder(3, 2, 5, hidden=(8,), window=window)


def _trajectory(steps: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    action = torch.randn(2, steps, 2, generator=generator)
    action[:, 0] = 0.0
    return torch.randn(2, steps, 3, generator=generator), action


@pytest.mark.parametrize("window", [1, 4, 50])
def test_steps_and_whole_meta_episodes_give_the_same_contexts(window: int) -> None:
    encoder, (observation, action) = _encoder(window), _trajectory()
    whole = encoder(_inputs(observation, action))
    state = {k: v.expand(2, *v.shape) for k, v in encoder.initial_state().items()}
    for t in range(observation.shape[1]):
        context, state = encoder.step(_inputs(observation, action).at(t, state))
        torch.testing.assert_close(context, whole[:, t], rtol=1e-5, atol=1e-6)
    assert not whole[:, 0].any() and whole[:, 1].any()


def test_the_order_of_transitions_makes_no_difference_and_others_do_not_count() -> None:
    encoder, (observation, action) = _encoder(), _trajectory()
    next_observation, mask = observation.roll(1, 0), torch.ones(2, 9, dtype=torch.bool)
    context = encoder.of_set(observation, action, next_observation, mask)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(2))
    turned = encoder.of_set(
        observation[:, order], action[:, order], next_observation[:, order], mask
    )
    torch.testing.assert_close(context, turned)
    mask[:, 3:] = False
    first = encoder.of_set(observation, action, next_observation, mask)
    observation[:, 3:] += 1.0
    assert torch.equal(first, encoder.of_set(observation, action, next_observation, mask))
    assert not torch.allclose(first, context)


def test_what_left_the_window_is_forgotten() -> None:
    encoder, (observation, action) = _encoder(window=4), _trajectory()
    changed = observation.clone()
    changed[:, :3] += 1.0
    old, new = (encoder(_inputs(seen, action)) for seen in (observation, changed))
    assert torch.allclose(old[:, 7:], new[:, 7:]) and not torch.allclose(old[:, 6], new[:, 6])


def test_units_standardise_and_leave_out_what_never_changes() -> None:
    units = TransitionUnits(3)
    generator = torch.Generator().manual_seed(3)
    observation = torch.randn(500, 3, generator=generator) * torch.tensor([2.0, 5.0, 0.0]) + 1.0
    next_observation = observation + torch.tensor([0.1, -4.0, 0.0])
    units.take(observation, next_observation)
    torch.testing.assert_close(
        units.states(observation)[:, :2].std(0), torch.ones(2), rtol=1e-2, atol=0
    )
    assert units.moves.tolist() == [True, True, False]
    expected = torch.tensor([1.0, -1.0, 0.0]).expand(500, 3)
    torch.testing.assert_close(units.changes(observation, next_observation), expected)
    far = units.states(torch.full((1, 3), 1e9))
    assert far.abs().max() == 10.0
