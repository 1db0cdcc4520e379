"""The plain recurrent memory of RL² and of the LSTM actor-critics: its state is the belief."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rllib_metarl.models.encoder import State
from rllib_metarl.models.mlp import mlp

CELLS = ("gru", "lstm")


class RecurrentMemory(nn.Module):
    """Embeds (a_{t-1}, r_{t-1}, o_t) and runs a GRU or LSTM over them.

    Args:
        observation_size, action_size: widths of o_t and of the (one-hot) action.
        hidden_size: H, the width of the memory.
        embedding: widths of the layers between the inputs and the memory; none feeds it directly.
        cell: ``gru`` or ``lstm``.

    Raises:
        ValueError: for an unknown cell.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        hidden_size: int,
        *,
        embedding: tuple[int, ...] = (),
        activation: str = "relu",
        cell: str = "gru",
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"recurrent_cell {cell!r} is unknown; use one of {list(CELLS)}")
        self.hidden_size = hidden_size
        self.lstm = cell == "lstm"
        inputs = observation_size + action_size + 1
        self.embedding = mlp([inputs, *embedding], activation)
        kind: Any = nn.LSTM if self.lstm else nn.GRU
        self.memory = kind(embedding[-1] if embedding else inputs, hidden_size, batch_first=True)
        for name, parameter in self.memory.named_parameters():
            if "weight" in name:
                _orthogonal_gates(parameter, hidden_size)
            else:
                nn.init.zeros_(parameter)
        if self.lstm:  # open forget gates: counting over a trial starts from remembering
            nn.init.ones_(self.memory.bias_ih_l0[hidden_size : 2 * hidden_size])

    def initial_state(self) -> State:
        """The state before the first observation, without a batch dimension."""
        state = {"hidden": torch.zeros(self.hidden_size)}
        return state | {"cell": torch.zeros(self.hidden_size)} if self.lstm else state

    def forward(
        self, observation: Tensor, previous_action: Tensor, previous_reward: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """Runs over `[B, T, ...]` sequences from a `[B, H]` state.

        Args:
            observation: `[B, T, O]`; previous_action: `[B, T, A]`; previous_reward: `[B, T]`.
            state: `hidden [B, H]` and, for an LSTM, `cell [B, H]`.

        Returns:
            the memory after each observation, `[B, T, H]`, and the state after the last.
        """
        inputs = torch.cat([observation, previous_action, previous_reward.unsqueeze(-1)], dim=-1)
        start: Any = state["hidden"].unsqueeze(0)
        if self.lstm:
            features, (hidden, cell) = self.memory(
                self.embedding(inputs), (start, state["cell"].unsqueeze(0))
            )
            return features, {"hidden": hidden[0], "cell": cell[0]}
        features, hidden = self.memory(self.embedding(inputs), start)
        return features, {"hidden": hidden[0]}

    def step(
        self, observation: Tensor, previous_action: Tensor, previous_reward: Tensor, state: State
    ) -> tuple[Tensor, State]:
        """`forward` for one step, without the time dimension: the same numbers, sooner."""
        inputs = torch.cat([observation, previous_action, previous_reward.unsqueeze(-1)], dim=-1)
        rnn, embedded = self.memory, self.embedding(inputs)
        weights = (rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0)
        if self.lstm:
            hidden, cell = torch.lstm_cell(embedded, (state["hidden"], state["cell"]), *weights)
            return hidden, {"hidden": hidden, "cell": cell}
        hidden = torch.gru_cell(embedded, state["hidden"], *weights)
        return hidden, {"hidden": hidden}


class NoMemory(nn.Module):
    """In a memory's place for agents that act on the present alone."""

    def initial_state(self) -> State:
        """A state nobody reads: RLlib wants one."""
        return {"unused": torch.zeros(1)}


@torch.no_grad()
def _orthogonal_gates(weight: Tensor, hidden_size: int) -> None:
    """Orthogonal initialisation of each gate's block of rows."""
    for gate in weight.split(hidden_size):
        nn.init.orthogonal_(gate)
