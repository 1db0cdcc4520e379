"""LSTM-A2C: "Learning to reinforcement learn", synchronous."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.base.settings import Choice, Entry, Refused, Setting
from rllib_metarl.algorithms.lstm_a2c.learner import ActorCriticLearner
from rllib_metarl.algorithms.rl2.rl2 import RL2, RL2Config
from rllib_metarl.errors import UserError


class LSTMA2CConfig(RL2Config):
    """Settings of LSTM-A2C: one gradient step a batch on the policy gradient as it is.

    `entropy_coeff` takes a schedule, as the paper anneals it.
    """

    LEARNER = ActorCriticLearner
    SETTINGS: ClassVar[dict[str, Setting]] = {
        "optimiser": Setting(Choice("rmsprop", "adam"), "what steps along the gradient"),
    }
    RLLIB_SETTINGS: ClassVar[dict[str, Entry]] = {
        "clip_param": Refused("an actor-critic clips no ratio; RL2 does"),
    }

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or LSTMA2C)
        self.recurrent_cell = "lstm"
        self.encoder_hidden = 48
        self.encoder_embedding = []
        self.standardise_advantages = False
        self.optimiser = "rmsprop"
        self.lr = 7e-4
        self.gamma = 0.9
        self.lambda_ = 1.0
        self.vf_loss_coeff = 0.5
        self.entropy_coeff = 0.05
        self.num_epochs = 1
        self.minibatch_size: Any = None

    @override(RL2Config)
    def validate(self) -> None:
        super().validate()
        if self.num_epochs != 1 or self.minibatch_size is not None:
            raise UserError(
                f"num_epochs is {self.num_epochs} and minibatch_size {self.minibatch_size}, but an "
                "actor-critic takes one gradient step on each batch, for only there its gradient "
                "is right: leave them at 1 and null, or use RL2."
            )


class LSTMA2C(RL2):
    """LSTM-A2C: RL2 with the actor-critic's learner."""

    CONFIG = LSTMA2CConfig
