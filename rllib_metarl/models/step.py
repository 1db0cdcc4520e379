"""Inputs and outputs of an acting step."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

State = dict[str, Tensor]
"""What a network remembers, `[N, ...]` each."""


class Inputs(NamedTuple):
    """One step of N meta-episodes, or all T steps of N whole ones; `T` is left out for one step.

    observation: `[N, T, O]` o_t. previous_action: `[N, T, A]` a_{t-1} (one-hot if discrete), zeros
    at a meta-episode's start. previous_reward: `[N, T]` r_{t-1}, zero there. state: what was
    remembered before the first of these steps, `[N, ...]` each. privileged: `[N, T, C]`, the label
    that the module needs; None for one that needs none. inner_done: `[N, T]`, 1 where an inner
    episode ended with the step before; None where this is unknown. generator: the source of the
    agent's own random numbers; torch's default where None.
    """

    observation: Tensor
    previous_action: Tensor
    previous_reward: Tensor
    state: State = {}
    privileged: Tensor | None = None
    inner_done: Tensor | None = None
    generator: torch.Generator | None = None

    def at(self, t: int, state: State) -> Inputs:
        """Step t of these, with what is remembered from before it."""
        label, done = (None if x is None else x[:, t] for x in (self.privileged, self.inner_done))
        observation, action, reward = (column[:, t] for column in self[:3])
        return Inputs(observation, action, reward, state, label, done, self.generator)


class Step(NamedTuple):
    """One acting step of N meta-episodes: `belief [N, D]`, `logits [N, A]` and the next state."""

    belief: Tensor
    logits: Tensor
    state: State
