"""The oracle's module: its belief is the true context."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rllib_metarl.algorithms.belief.module import BeliefModule, Step
from rllib_metarl.errors import UserError
from rllib_metarl.models.encoder import State


class _NoEncoder(torch.nn.Module):
    """Keeps no state: the context is given anew at every step."""

    def initial_state(self) -> State:
        return {"unused": torch.zeros(1)}


class OracleModule(BeliefModule):
    """Observation ⊕ true context -> action. The only module that asks for privileged labels."""

    def setup_encoder(self, settings: dict[str, Any]) -> None:
        self.encoder: Any = _NoEncoder()
        self.belief_size = settings["context_size"]

    @property
    def needs_privileged(self) -> bool:
        return True

    def step(
        self,
        observation: Tensor,
        previous_action: Tensor,
        previous_reward: Tensor,
        state: State,
        privileged: Tensor | None = None,
    ) -> Step:
        if privileged is None or privileged.shape[-1] != self.belief_size:
            width = None if privileged is None else privileged.shape[-1]
            raise UserError(
                f"the oracle expects a context of context_size {self.belief_size} and got width "
                f"{width}: set context_size to the width of the env's info['context']."
            )
        return Step(privileged, self.act(observation, privileged), state)
