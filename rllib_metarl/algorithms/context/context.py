"""ContextPPO: one PPO that is told nothing of the context, all of it, or what it can infer."""

from __future__ import annotations

from typing import Any

from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.belief.algorithm import BeliefPPO
from rllib_metarl.algorithms.belief.config import BeliefConfig
from rllib_metarl.errors import UserError

CONTEXTS = ("none", "explicit")


class ContextConfig(BeliefConfig):
    """Settings of ContextPPO.

    Attributes (beside `BeliefConfig`'s):
        context: ``none``: the policy sees the observation alone; ``explicit``: and the true
            ``info["context"]``.
        context_size: width C of that label, for ``explicit``.
    """

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or ContextPPO)
        self.context = "none"
        self.context_size = 1
        self.belief_conditioning = "concat"

    @override(BeliefConfig)
    def validate(self) -> None:
        super().validate()
        if self.context not in CONTEXTS:
            raise UserError(f"context is {self.context!r}: use one of {list(CONTEXTS)}.")
        self.check_range("context_size", 1)
        if self.context == "none" and self.belief_conditioning != "concat":
            raise UserError(
                "context is none, so that there is nothing to condition on: leave "
                "belief_conditioning at concat."
            )
        if self.policy_gradient_to_encoder:
            raise UserError(
                f"context {self.context} has no encoder: set policy_gradient_to_encoder: false."
            )

    @property
    @override(BeliefConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        own = {"context": self.context, "context_size": self.context_size}
        return super()._model_config_auto_includes | own

    @override(BeliefConfig)
    def module_class(self) -> type:
        if self.context == "explicit":
            from rllib_metarl.algorithms.oracle.module import OracleModule

            return OracleModule
        from rllib_metarl.algorithms.blind.module import BlindModule

        return BlindModule


class ContextPPO(BeliefPPO):
    """PPO with a context that is given, inferred or hidden."""

    @classmethod
    @override(BeliefPPO)
    def get_default_config(cls) -> ContextConfig:
        return ContextConfig(algo_class=cls)
