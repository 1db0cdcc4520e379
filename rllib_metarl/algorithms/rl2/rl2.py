"""RL²: learning a learning algorithm in the weights of a recurrent policy."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.belief.algorithm import BeliefPPO
from rllib_metarl.algorithms.belief.config import BeliefConfig
from rllib_metarl.errors import UserError
from rllib_metarl.models.memory import CELLS

OWN_SETTINGS = ("recurrent_cell", "memory_steps", "whole_transitions")


class RL2Config(BeliefConfig):
    """Settings of RL²: PPO whose gradient runs through the memory of the whole trial.

    Attributes (beside `BeliefConfig`'s; `encoder_hidden` is the memory's width):
        recurrent_cell: ``gru`` or ``lstm``.
        memory_steps: start with units that forget over 1 to so many steps (the trial's length, say;
            at least 3); null for the cells' usual start, which forgets within ten steps.
        whole_transitions: the memory is fed o_{t-1} beside (a_{t-1}, r_{t-1}, o_t).
    """

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or RL2)
        self.recurrent_cell = "gru"
        self.memory_steps: int | None = None
        self.whole_transitions = False
        self.encoder_embedding = [64]
        self.policy_hidden = [64]
        self.belief_conditioning = "concat"
        self.policy_gradient_to_encoder = True

    @property
    @override(AlgorithmConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in OWN_SETTINGS}
        return super()._model_config_auto_includes | own

    @override(BeliefConfig)
    def module_class(self) -> type:
        from rllib_metarl.algorithms.rl2.module import RL2Module

        return RL2Module

    @override(BeliefConfig)
    def validate(self) -> None:
        super().validate()
        if self.recurrent_cell not in CELLS:
            raise UserError(f"recurrent_cell is {self.recurrent_cell!r}: use one of {list(CELLS)}.")
        if self.memory_steps is not None:
            self.check_range("memory_steps", 3)
        if not self.policy_gradient_to_encoder:
            raise UserError(
                "policy_gradient_to_encoder is false, but nothing else trains RL²'s memory: leave "
                "it at true."
            )


class RL2(BeliefPPO):
    """RL² on RLlib's PPO."""

    @classmethod
    @override(BeliefPPO)
    def get_default_config(cls) -> RL2Config:
        return RL2Config(algo_class=cls)
