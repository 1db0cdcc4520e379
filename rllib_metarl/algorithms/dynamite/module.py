"""DynaMITE-RL's module: VariBAD's with a learnt session prior."""

from __future__ import annotations

from typing import Any

from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.belief.module import BeliefModule
from rllib_metarl.algorithms.varibad.module import VariBADModule
from rllib_metarl.models.prior import SessionPrior


class DynaMITEModule(VariBADModule):
    """Adds what the encoder knows of sessions, and p_theta(m^i | m^{i-1}) for the learner alone."""

    @override(BeliefModule)
    def encoder_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {key: settings[key] for key in ("prior_conditioning", "termination_threshold")}

    @override(BeliefModule)
    def get_non_inference_attributes(self) -> list[str]:
        return [*super().get_non_inference_attributes(), "session_prior"]

    @override(VariBADModule)
    def setup_decoders(self, settings: dict[str, Any]) -> None:
        super().setup_decoders(settings)
        self.session_prior: Any = None
        if settings["prior_conditioning"]:
            self.session_prior = SessionPrior(settings["latent_size"])
