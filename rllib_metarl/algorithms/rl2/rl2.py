"""RL²: learning a learning algorithm in the weights of a recurrent policy."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.base.rllib_settings import MOST
from rllib_metarl.algorithms.base.settings import SWITCH, Choice, Setting, Whole, or_null
from rllib_metarl.algorithms.belief.algorithm import BeliefPPO
from rllib_metarl.algorithms.belief.config import BeliefConfig
from rllib_metarl.algorithms.rl2.module import RL2Module
from rllib_metarl.errors import UserError
from rllib_metarl.models.recurrent import CELLS


class RL2Config(BeliefConfig):
    """Settings of RL²: PPO whose gradient runs through the memory of the whole trial.
    `encoder_hidden` is the memory's width.
    """

    MODULE = RL2Module
    SETTINGS: ClassVar[dict[str, Setting]] = {
        "encoder_hidden": Setting(Whole(1, 8192), "width of the memory", network=True),
        "recurrent_cell": Setting(Choice(*CELLS), "the memory's cell", network=True),
        "memory_steps": Setting(
            or_null(Whole(3, MOST)),
            "start with units that forget over 1 to so many steps (the trial's length, say); null "
            "for the cells' usual start, which forgets within ten steps",
            network=True,
        ),
        "whole_transitions": Setting(
            SWITCH, "the memory is fed o_{t-1} beside (a_{t-1}, r_{t-1}, o_t)", network=True
        ),
    }

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or RL2)
        self.recurrent_cell = "gru"
        self.memory_steps: int | None = None
        self.whole_transitions = False
        self.encoder_embedding = [64]
        self.policy_hidden = [64]
        self.belief_conditioning = "concat"
        self.policy_gradient_to_encoder = True

    @override(BeliefConfig)
    def validate(self) -> None:
        super().validate()
        if not self.policy_gradient_to_encoder:
            raise UserError(
                "policy_gradient_to_encoder is false, but nothing else trains RL²'s memory: leave "
                "it at true."
            )


class RL2(BeliefPPO):
    """RL² on RLlib's PPO."""

    CONFIG = RL2Config
