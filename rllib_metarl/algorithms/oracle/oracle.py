"""OraclePPO: PPO that is given the true context, or the exact posterior, in place of a belief.

Not an agent, a ceiling: the context for everyone, the posterior for whoever must infer it.
"""

from __future__ import annotations

from typing import Any

from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.belief.algorithm import BeliefPPO
from rllib_metarl.algorithms.belief.config import BeliefConfig
from rllib_metarl.errors import UserError

ORACLE_SEES = ("context", "posterior")


class OracleConfig(BeliefConfig):
    """Settings of the oracle.

    Attributes (beside `BeliefConfig`'s):
        oracle_sees: ``context``, or ``posterior`` for the belief oracle: the exact filter's belief,
            on envs that put it into ``info["posterior"]``.
        context_size: width C of that label.
    """

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or OraclePPO)
        self.oracle_sees = "context"
        self.context_size = 1

    @override(BeliefConfig)
    def validate(self) -> None:
        super().validate()
        self.check_range("context_size", 1)
        if self.oracle_sees not in ORACLE_SEES:
            raise UserError(f"oracle_sees is {self.oracle_sees!r}: use one of {list(ORACLE_SEES)}.")
        if self.policy_gradient_to_encoder:
            raise UserError("the oracle has no encoder: set policy_gradient_to_encoder: false.")

    @property
    @override(BeliefConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        own = {"context_size": self.context_size, "oracle_sees": self.oracle_sees}
        return super()._model_config_auto_includes | own

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
