"""OraclePPO: PPO that is given the true context in place of a belief. Not an agent, a ceiling."""

from __future__ import annotations

from typing import Any

from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.belief.algorithm import BeliefPPO
from rllib_metarl.algorithms.belief.config import BeliefConfig
from rllib_metarl.errors import UserError


class OracleConfig(BeliefConfig):
    """Settings of the oracle.

    Attributes (beside `BeliefConfig`'s):
        context_size: width C of ``info["context"]``.
    """

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or OraclePPO)
        self.context_size = 1

    @override(BeliefConfig)
    def validate(self) -> None:
        super().validate()
        self.check_range("context_size", 1)
        if self.policy_gradient_to_encoder:
            raise UserError("the oracle has no encoder: set policy_gradient_to_encoder: false.")

    @property
    @override(BeliefConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {"context_size": self.context_size}

    @override(BeliefConfig)
    def module_class(self) -> type:
        from rllib_metarl.algorithms.oracle.module import OracleModule

        return OracleModule


class OraclePPO(BeliefPPO):
    """The oracle on RLlib's PPO."""

    @classmethod
    @override(BeliefPPO)
    def get_default_config(cls) -> OracleConfig:
        return OracleConfig(algo_class=cls)
