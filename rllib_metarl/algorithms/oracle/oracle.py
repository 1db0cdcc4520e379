"""OraclePPO: PPO that is given the true context, or the exact posterior, in place of a belief.

Not an agent, a ceiling: the context for everyone, the posterior for anyone who must infer it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.base.settings import Choice, Setting, Whole
from rllib_metarl.algorithms.belief.algorithm import BeliefPPO
from rllib_metarl.algorithms.belief.config import BeliefConfig
from rllib_metarl.algorithms.oracle.module import OracleModule
from rllib_metarl.errors import UserError


class OracleConfig(BeliefConfig):
    """Settings of the oracle."""

    MODULE = OracleModule
    SETTINGS: ClassVar[dict[str, Setting]] = {
        "oracle_sees": Setting(
            Choice("context", "posterior"),
            "context, or posterior for the belief oracle: the exact filter's belief, on envs that "
            'put it into info["posterior"]',
            network=True,
        ),
        "context_size": Setting(Whole(1, 4096), "width C of that label", network=True),
    }

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or OraclePPO)
        self.oracle_sees = "context"
        self.context_size = 1

    @override(BeliefConfig)
    def validate(self) -> None:
        super().validate()
        if self.policy_gradient_to_encoder:
            raise UserError("the oracle has no encoder: set policy_gradient_to_encoder: false.")


class OraclePPO(BeliefPPO):
    """The oracle on RLlib's PPO."""

    CONFIG = OracleConfig
