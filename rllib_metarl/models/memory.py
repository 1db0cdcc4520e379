"""The plain recurrent memory of RL² and of the LSTM actor-critics: its state is the belief."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rllib_metarl.models.mlp import mlp
from rllib_metarl.models.recurrent import (
    empty_memory,
    one_step,
    open_forget_gates,
    over_sequence,
    recurrent,
)
from rllib_metarl.models.step import Inputs, State


class RecurrentMemory(nn.Module):
    """Embeds (a_{t-1}, r_{t-1}, o_t) and runs a GRU or LSTM over them.

    Args:
        observation_size, action_size: widths of o_t and of the (one-hot) action.
        hidden_size: H, the width of the memory.
        embedding: widths of the layers between the inputs and the memory; none feeds it directly.
        cell: ``gru`` or ``lstm``.
        memory_steps: start with units that forget over 1 to so many steps, evenly spread (Tallec
            and Ollivier 2018, arXiv:1804.11188); None for the cells' usual start, after which
            little is left of what was seen ten steps ago.
        whole_transitions: o_{t-1} is an input too, so that what (a_{t-1}, r_{t-1}) was about need
            not be remembered first.

    Raises:
        ValueError: for an unknown cell, or memory_steps below 3.
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
        memory_steps: int | None = None,
        whole_transitions: bool = False,
        reader: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.reader = reader
        self.hidden_size, self.observation_size = hidden_size, observation_size
        self.whole_transitions = whole_transitions
        inputs = (1 + whole_transitions) * observation_size + action_size + 1
        self.embedding = mlp([inputs, *embedding], activation)
        self.memory = recurrent(cell, embedding[-1] if embedding else inputs, hidden_size)
        for name, parameter in self.memory.named_parameters():
            if "weight" in name:
                _orthogonal_gates(parameter, hidden_size)
            else:
                nn.init.zeros_(parameter)
        if memory_steps is not None:
            _forget_slowly(self.memory, memory_steps)
        elif cell == "lstm":
            open_forget_gates(self.memory)

    def initial_state(self) -> State:
        """The state before the first observation, without a batch dimension."""
        state = empty_memory(self.memory)
        if self.whole_transitions:
            state["last_observation"] = torch.zeros(self.observation_size)
        return state

    def forward(self, inputs: Inputs) -> tuple[Tensor, State]:
        """Runs over `[B, T, ...]` sequences.

        Args:
            inputs: their state has `hidden [B, H]`, for an LSTM `cell [B, H]`, and with whole
                transitions `last_observation [B, O]`.

        Returns:
            the memory after each observation, `[B, T, H]`, and the state after the last.
        """
        observation, action, reward, state = inputs[:4]
        if self.reader is not None:
            observation = self.reader(observation)
        parts = [observation, action, reward.unsqueeze(-1)]
        if self.whole_transitions:
            first = state["last_observation"].unsqueeze(1)
            parts.append(torch.cat([first, observation[:, :-1]], dim=1))
        embedded = self.embedding(torch.cat(parts, dim=-1))
        features, after = over_sequence(self.memory, embedded, state)
        return features, self._state(observation[:, -1], after)

    def step(self, inputs: Inputs) -> tuple[Tensor, State]:
        """`forward` for one step, without the time dimension: the same numbers, sooner."""
        observation, action, reward, state = inputs[:4]
        if self.reader is not None:
            observation = self.reader(observation)
        parts = [observation, action, reward.unsqueeze(-1)]
        if self.whole_transitions:
            parts.append(state["last_observation"])
        after = one_step(self.memory, self.embedding(torch.cat(parts, dim=-1)), state)
        return after["hidden"], self._state(observation, after)

    def _state(self, observation: Tensor, after: State) -> State:
        """The state after `observation [B, O]`."""
        return after | ({"last_observation": observation} if self.whole_transitions else {})


class NoMemory(nn.Module):
    """In a memory's place for agents that act on the present alone."""

    def initial_state(self) -> State:
        """A state nobody reads: RLlib wants one."""
        return {"unused": torch.zeros(1)}


@torch.no_grad()
def _forget_slowly(memory: Any, steps: int) -> None:
    """Biases by which unit i keeps its content for about u_i steps, u_i uniform in [1, steps - 1).

    The gate that keeps is the second of an LSTM's (forget) and of a GRU's (update); an LSTM's first
    lets in as much as is forgotten.
    """
    if steps < 3:
        raise ValueError(f"memory_steps is {steps}; give 3 or more, the length of a trial say.")
    size = memory.hidden_size
    bias = torch.empty(size).uniform_(1.0, steps - 1.0).log()
    gates = memory.bias_ih_l0
    gates[size : 2 * size] = bias
    if isinstance(memory, nn.LSTM):
        gates[:size] = -bias


@torch.no_grad()
def _orthogonal_gates(weight: Tensor, hidden_size: int) -> None:
    """Orthogonal initialisation of each gate's block of rows."""
    for gate in weight.split(hidden_size):
        nn.init.orthogonal_(gate)
