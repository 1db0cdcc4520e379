"""The recurrent memory: stepping is the sequence, and it remembers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rllib_metarl.models.memory import RecurrentMemory
from rllib_metarl.models.step import Inputs

B, T, WIDTH, A, H = 3, 7, 4, 2, 8


def _memory(cell: str, embedding: tuple[int, ...] = (8,), **settings: Any) -> RecurrentMemory:
    torch.manual_seed(0)
    return RecurrentMemory(WIDTH, A, H, embedding=embedding, cell=cell, **settings)


def _inputs() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for shape in ((B, T, WIDTH), (B, T, A), (B, T))]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("embedding", [(), (8,)])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_stepping_equals_the_whole_sequence(
    cell: str, embedding: tuple[int, ...], whole: bool
) -> None:
    memory = _memory(cell, embedding, whole_transitions=whole)
    start = {key: value.expand(B, -1) for key, value in memory.initial_state().items()}
    whole, last = memory(Inputs(*_inputs(), start))
    state = start
    for t in range(T):
        features, state = memory.step(Inputs(*_inputs()).at(t, state))
        torch.testing.assert_close(features, whole[:, t])
    assert state.keys() == last.keys() == start.keys()
    for key, value in last.items():
        torch.testing.assert_close(state[key], value)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_last_features_depend_on_the_first_reward(cell: str) -> None:
    memory = _memory(cell)
    observation, action, reward = _inputs()
    reward.requires_grad_()
    start = {key: value.expand(B, -1) for key, value in memory.initial_state().items()}
    features, _ = memory(Inputs(observation, action, reward, start))
    features[:, -1].sum().backward()
    assert reward.grad is not None and (reward.grad[:, 0] != 0).all()


def test_a_whole_transition_has_the_observation_that_it_began_with() -> None:
    memory = _memory("gru", whole_transitions=True)
    seen: list[torch.Tensor] = []
    memory.embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    observation, action, reward = _inputs()
    start = {key: value.expand(B, -1) for key, value in memory.initial_state().items()}
    memory(Inputs(observation, action, reward, start))
    assert (seen[0][:, 0, -WIDTH:] == 0).all()
    torch.testing.assert_close(seen[0][:, 1:, -WIDTH:], observation[:, :-1])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_units_that_start_slow_still_hold_what_came_a_trial_ago(cell: str) -> None:
    def held(memory_steps: int | None) -> float:
        torch.manual_seed(0)
        memory = RecurrentMemory(WIDTH, A, 64, cell=cell, memory_steps=memory_steps)
        reward = torch.full((1, 50), 0.5, requires_grad=True)
        start = {key: value.expand(1, -1) for key, value in memory.initial_state().items()}
        zeros = torch.zeros(1, 50, WIDTH), torch.zeros(1, 50, A)
        features, _ = memory(Inputs(*zeros, reward, start))
        (gradient,) = torch.autograd.grad(features[:, -1].square().sum(), reward)
        return float(gradient[0, 0].abs() / gradient.abs().max())

    assert held(100) > 1e-2 > 2e-3 > held(None)


def test_a_memory_too_short_to_be_slow_is_named() -> None:
    with pytest.raises(ValueError, match="memory_steps is 2; give 3 or more"):
        _memory("gru", memory_steps=2)


def test_an_unknown_cell_is_named() -> None:
    with pytest.raises(ValueError, match="recurrent_cell 'rnn' is unknown; use one of"):
        _memory("rnn")
