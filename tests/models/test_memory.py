"""The recurrent memory: stepping is the sequence, and it remembers."""

from __future__ import annotations

import pytest
import torch

from rllib_metarl.models.memory import RecurrentMemory

B, T, WIDTH, A, H = 3, 7, 4, 2, 8


def _memory(cell: str, embedding: tuple[int, ...] = (8,)) -> RecurrentMemory:
    torch.manual_seed(0)
    return RecurrentMemory(WIDTH, A, H, embedding=embedding, cell=cell)


def _inputs() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for shape in ((B, T, WIDTH), (B, T, A), (B, T))]


@pytest.mark.parametrize("embedding", [(), (8,)])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_stepping_equals_the_whole_sequence(cell: str, embedding: tuple[int, ...]) -> None:
    memory = _memory(cell, embedding)
    start = {key: value.expand(B, -1) for key, value in memory.initial_state().items()}
    whole, last = memory(*_inputs(), start)
    state = start
    for t in range(T):
        features, state = memory.step(*(x[:, t] for x in _inputs()), state)
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
    features, _ = memory(observation, action, reward, start)
    features[:, -1].sum().backward()
    assert reward.grad is not None and (reward.grad[:, 0] != 0).all()


def test_an_unknown_cell_is_named() -> None:
    with pytest.raises(ValueError, match="recurrent_cell 'rnn' is unknown; use one of"):
        _memory("rnn")
