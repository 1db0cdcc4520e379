"""DynaMITE-RL's module: VariBAD's with a learnt session prior."""

from __future__ import annotations

from typing import Any

from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_metarl.algorithms.belief.module import BeliefModule
from rllib_metarl.algorithms.varibad.module import VariBADModule
from rllib_metarl.models.prior import ScaledSessionPrior, SessionPrior


class DynaMITEModule(VariBADModule):
    """Adds what the encoder knows of sessions, and p_theta(m^i | m^{i-1}) for the learner alone."""

    @override(VariBADModule)
    def encoder_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        ends = {key: settings[key] for key in ("prior_conditioning", "termination_threshold")}
        cut = settings.get("cut_memory", False)  # neither of the two is in older checkpoints
        needs_head = settings["prior_conditioning"] or cut
        held = settings.get("held_belief", "threshold") if needs_head else "threshold"
        ends |= super().encoder_settings(settings)
        return ends | {"held_belief": held, "cut_memory": cut}

    @override(BeliefModule)
    def get_non_inference_attributes(self) -> list[str]:
        return [*super().get_non_inference_attributes(), "session_prior"]

    @override(VariBADModule)
    def setup_decoders(self, settings: dict[str, Any]) -> None:
        super().setup_decoders(settings)
        self.session_prior: Any = None
        if settings["prior_conditioning"]:
            kind: Any = ScaledSessionPrior if by_rewards(settings) else SessionPrior
            self.session_prior = kind(settings["latent_size"])

    @override(BeliefModule)
    def follow(self, observation: Tensor, belief: Tensor) -> None:
        super().follow(observation, belief)
        if isinstance(self.session_prior, ScaledSessionPrior):
            self.session_prior.follow(belief[..., -2 * self.encoder.latent_size :])


def by_rewards(settings: dict[str, Any]) -> bool:
    """Whether the session prior learns from rewards; older checkpoints have no such setting."""
    return bool(settings.get("session_prior", "first_belief") == "rewards")
