"""HLT-DynaMITE-RL: DynaMITE-RL with a hierarchical latent."""

from __future__ import annotations

from typing import Any, ClassVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.base.settings import WEIGHT, Choice, Setting, Whole
from rllib_metarl.algorithms.dynamite.dynamite import DynaMITE, DynaMITEConfig
from rllib_metarl.algorithms.hlt.learner import HLTLearner
from rllib_metarl.algorithms.hlt.module import HLTModule


class HLTDynaMITEConfig(DynaMITEConfig):
    """Settings of HLT-DynaMITE-RL.

    Version 1 has none of DynaMITE-RL's terms: `latent_size`, `session_masking`,
    `prior_conditioning`, `consistency_weight` and `termination_weight` are the mid latent's and are
    not read.
    """

    MODULE = HLTModule
    LEARNER = HLTLearner
    SETTINGS: ClassVar[dict[str, Setting]] = {
        "hlt_version": Setting(
            Choice(1, 2),
            "1: the policy acts on a belief over the top latent alone, the only one there is; 2: "
            "on beliefs over the top and the mid latent, which is DynaMITE-RL's context",
            network=True,
        ),
        "top_latent_size": Setting(Whole(1, 4096), "dimension of the top latent", network=True),
        "top_weight": Setting(
            WEIGHT, "weight of the top latent's own part of the ELBO (version 2)"
        ),
        "top_kl_weight": Setting(
            WEIGHT,
            "weight of the KL in that part; what keeps from top what does not stay",
        ),
        "switch_weight": Setting(
            WEIGHT,
            "weight, in the top latent's part, of how often sessions end; 0 for none, which makes "
            "version 1 VariBAD",
        ),
    }

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or HLTDynaMITE)
        self.hlt_version = 2
        self.top_latent_size = 3
        self.top_weight = 0.03
        self.top_kl_weight = 1.0
        self.switch_weight = 0.3

    @property
    @override(AlgorithmConfig)
    def _model_config_auto_includes(self) -> dict[str, Any]:
        own = {"tell_switches": self.switch_weight > 0}
        return super()._model_config_auto_includes | own

    @override(DynaMITEConfig)
    def needed_labels(self) -> dict[str, str]:
        two_levels = self.hlt_version == 2
        ends = self.switch_weight or two_levels and self.termination_weight
        return self._with_mend({"session": two_levels, "switched": ends})

    @override(DynaMITEConfig)
    def termination_head(self) -> float | None:
        return super().termination_head() if self.hlt_version == 2 else None


class HLTDynaMITE(DynaMITE):
    """HLT-DynaMITE-RL on RLlib's PPO."""

    CONFIG = HLTDynaMITEConfig
