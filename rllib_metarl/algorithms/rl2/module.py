"""RL²'s module: what a recurrent network remembers is the belief."""

from __future__ import annotations

from typing import Any

from ray.rllib.utils.annotations import override
from torch import Tensor, nn

from rllib_metarl.algorithms.belief.module import BeliefModule
from rllib_metarl.models.memory import RecurrentMemory
from rllib_metarl.models.normaliser import Unchanged


class RL2Module(BeliefModule):
    """Policy and value read the memory's state `[..., H]`; both train it."""

    @override(BeliefModule)
    def setup_encoder(self, settings: dict[str, Any]) -> None:
        self.encoder: Any = RecurrentMemory(
            self.feature_width,
            self.action_width,
            settings["encoder_hidden"],
            embedding=tuple(settings["encoder_embedding"]),
            cell=settings["recurrent_cell"],
            memory_steps=settings.get("memory_steps"),  # older checkpoints have neither
            whole_transitions=settings.get("whole_transitions", False),
            reader=self.reader(),
        )
        self.belief_size = settings["encoder_hidden"]

    @override(BeliefModule)
    def belief_normaliser(self) -> nn.Module:
        # The memory's units lie in [-1, 1] and move with every gradient step.
        return Unchanged()

    @override(BeliefModule)
    def policy_belief(self, belief: Tensor) -> Tensor:
        return belief
