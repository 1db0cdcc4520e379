"""DynaMITE-RL's module: VariBAD's with a learnt session prior."""

from __future__ import annotations

from typing import Any

from rllib_metarl.algorithms.varibad.module import VariBADModule
from rllib_metarl.models.prior import SessionPrior


class DynaMITEModule(VariBADModule):
    """Adds p_theta(m^i | m^{i-1}), which only the learner has."""

    def setup_decoders(self, settings: dict[str, Any]) -> None:
        super().setup_decoders(settings)
        self.session_prior: Any = None
        if settings["prior_conditioning"]:
            self.session_prior = SessionPrior(settings["latent_size"])
