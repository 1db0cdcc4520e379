"""The recurrent cells: GRU and LSTM, over a sequence or one step, with their state as a dict."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rllib_metarl.models.step import State

CELLS = ("gru", "lstm")


def recurrent(cell: str, inputs: int, hidden_size: int) -> nn.RNNBase:
    """A layer of the cell, batch first, in torch's own initialisation.

    On a CPU an LSTM takes about half as long as a GRU where gradients pass: torch has a oneDNN
    kernel for it, and none for GRUs (`docs/performance.md`).

    Raises:
        ValueError: for an unknown cell.
    """
    if cell not in CELLS:
        raise ValueError(f"recurrent_cell {cell!r} is unknown; use one of {list(CELLS)}")
    kind = nn.LSTM if cell == "lstm" else nn.GRU
    return kind(inputs, hidden_size, batch_first=True)


@torch.no_grad()
def open_forget_gates(layer: nn.RNNBase) -> None:
    """An LSTM starts with forget gates open by 1: counting over a trial starts from remembering."""
    size = layer.hidden_size
    bias: Any = layer.bias_ih_l0
    nn.init.ones_(bias[size : 2 * size])


def empty_memory(layer: nn.RNNBase) -> State:
    """Zeros `[H]`: `hidden` and, of an LSTM, `cell`."""
    parts = ("hidden", "cell") if isinstance(layer, nn.LSTM) else ("hidden",)
    return {part: torch.zeros(layer.hidden_size) for part in parts}


def over_sequence(layer: nn.RNNBase, embedded: Tensor, state: State) -> tuple[Tensor, State]:
    """The memory after each of the inputs `[B, T, E]`: `[B, T, H]`, and the state after the last.

    Args:
        layer: see `recurrent`.
        embedded: `[B, T, E]`.
        state: `[B, H]` each, as in `empty_memory`; other parts are not read.
    """
    hidden: Any = state["hidden"].unsqueeze(0)
    if isinstance(layer, nn.LSTM):
        features, (hidden, cell) = layer(embedded, (hidden, state["cell"].unsqueeze(0)))
        return features, {"hidden": hidden[0], "cell": cell[0]}
    features, hidden = layer(embedded, hidden)
    return features, {"hidden": hidden[0]}


def one_step(layer: nn.RNNBase, embedded: Tensor, state: State) -> State:
    """`over_sequence` for one input `[B, E]`: the same numbers, sooner."""
    of: Any = layer
    weights = (of.weight_ih_l0, of.weight_hh_l0, of.bias_ih_l0, of.bias_hh_l0)
    if isinstance(layer, nn.LSTM):
        hidden, cell = torch.lstm_cell(embedded, (state["hidden"], state["cell"]), *weights)
        return {"hidden": hidden, "cell": cell}
    return {"hidden": torch.gru_cell(embedded, state["hidden"], *weights)}
