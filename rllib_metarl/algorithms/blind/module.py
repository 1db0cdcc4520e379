"""The blind module: a belief of width 0."""

from __future__ import annotations

from typing import Any

from ray.rllib.utils.annotations import override
from torch import nn

from rllib_metarl.algorithms.belief.module import BeliefModule
from rllib_metarl.models.memory import NoMemory
from rllib_metarl.models.normaliser import Unchanged
from rllib_metarl.models.step import Inputs, Step


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
    def step(self, inputs: Inputs) -> Step:
        nothing = inputs.observation[:, :0]
        return Step(nothing, self.act(inputs.observation, nothing), inputs.state)
