"""BlindPPO: PPO without memory or context. What a belief must beat to be worth its cost."""

from __future__ import annotations

from typing import Any

from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.belief.algorithm import BeliefPPO
from rllib_metarl.algorithms.belief.config import BeliefConfig
from rllib_metarl.algorithms.blind.module import BlindModule
from rllib_metarl.errors import UserError


class BlindConfig(BeliefConfig):
    """Settings of the blind reference: those of `BeliefConfig` that are not about a belief."""

    MODULE = BlindModule

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or BlindPPO)
        self.belief_conditioning = "concat"

    @override(BeliefConfig)
    def validate(self) -> None:
        super().validate()
        if self.policy_gradient_to_encoder or self.belief_conditioning != "concat":
            raise UserError(
                "BlindPPO has neither encoder nor belief: leave policy_gradient_to_encoder at "
                "false and belief_conditioning at concat."
            )


class BlindPPO(BeliefPPO):
    """The blind reference on RLlib's PPO."""

    CONFIG = BlindConfig
