"""HLT-DynaMITE-RL: DynaMITE-RL with a hierarchical latent."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.dynamite.dynamite import DynaMITE, DynaMITEConfig
from rllib_metarl.errors import UserError

VERSIONS = (1, 2)


class HLTDynaMITEConfig(DynaMITEConfig):
    """Settings of HLT-DynaMITE-RL.

    Attributes (beside `DynaMITEConfig`'s):
        hlt_version: 1, the policy acts on a belief over the top latent alone, the only one there
            is; 2, on beliefs over the top and the mid latent, which is DynaMITE-RL's context.
            Version 1 has none of DynaMITE-RL's terms: `latent_size`, `session_masking`,
            `prior_conditioning`, `consistency_weight` and `termination_weight` are the mid latent's
            and are not read.
        top_latent_size: dimension of the top latent.
        top_weight: weight of the top latent's own part of the ELBO (version 2).
        top_kl_weight: weight of the KL in that part; what keeps from top what does not stay.
        switch_weight: weight, in the top latent's part, of how often sessions end; 0 for none,
            which makes version 1 VariBAD.
    """

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
        own = {
            "hlt_version": self.hlt_version,
            "top_latent_size": self.top_latent_size,
            "tell_switches": self.switch_weight > 0,
        }
        return super()._model_config_auto_includes | own

    @override(DynaMITEConfig)
    def module_class(self) -> type:
        from rllib_metarl.algorithms.hlt.module import HLTModule

        return HLTModule

    @override(DynaMITEConfig)
    def get_default_learner_class(self) -> type:
        from rllib_metarl.algorithms.hlt.learner import HLTLearner

        return HLTLearner

    @override(DynaMITEConfig)
    def validate(self) -> None:
        super().validate()
        if self.hlt_version not in VERSIONS:
            raise UserError(f"hlt_version is {self.hlt_version!r}: use one of {list(VERSIONS)}.")
        self.check_range("top_latent_size", 1)
        for name in ("top_weight", "top_kl_weight", "switch_weight"):
            self.check_range(name, 0)

    @override(DynaMITEConfig)
    def unreported_metrics(self) -> dict[str, str]:
        missing = super().unreported_metrics()
        del missing["vae_top_*"]
        if self.hlt_version == 1:
            why = "hlt_version 1 has no mid latent; set hlt_version: 2"
            for key in ("kl", "reward_loss", "entropy"):
                missing[f"vae_top_{key}"] = "the top latent is the only one: see vae_kl and alike"
            missing |= {"vae_consistency": why, "vae_termination_*": why}
        if not self.switch_weight:
            missing["vae_top_switch_loss"] = "set switch_weight above 0"
        return missing


class HLTDynaMITE(DynaMITE):
    """HLT-DynaMITE-RL on RLlib's PPO."""

    @classmethod
    @override(DynaMITE)
    def get_default_config(cls) -> HLTDynaMITEConfig:
        return HLTDynaMITEConfig(algo_class=cls)
