"""The blind module: a belief of width 0."""

from __future__ import annotations

from typing import Any

from ray.rllib.utils.annotations import override
from torch import Tensor, nn

from rllib_metarl.algorithms.belief.module import BeliefModule, Step
from rllib_metarl.models.encoder import State
from rllib_metarl.models.memory import NoMemory
from rllib_metarl.models.normaliser import Unchanged


class BlindModule(BeliefModule):
    """Observation -> action, whatever was seen before."""

    @override(BeliefModule)
    def setup_encoder(self, settings: dict[str, Any]) -> None:
        self.encoder: Any = NoMemory()
        self.belief_size = 0

    @override(BeliefModule)
    def belief_normaliser(self) -> nn.Module:
        return Unchanged()

    @override(BeliefModule)
    def step(
        self,
        observation: Tensor,
        previous_action: Tensor,
        previous_reward: Tensor,
        state: State,
        privileged: Tensor | None = None,
    ) -> Step:
        nothing = observation.new_zeros(len(observation), 0)
        return Step(nothing, self.act(observation, nothing), state)
