"""HLT-DynaMITE-RL's module: one latent (version 1) or two levels of them (version 2)."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_metarl.algorithms.belief.module import BeliefModule
from rllib_metarl.algorithms.dynamite.module import DynaMITEModule, by_rewards
from rllib_metarl.models.hierarchical import HierarchicalEncoder, HierarchicalPrior, SwitchHead
from rllib_metarl.models.prior import ScaledSessionPrior


class HLTModule(DynaMITEModule):
    """Version 1: VariBAD's networks and a switch head on its one latent, the top one.

    Version 2: DynaMITE-RL's networks on the mid latent; a top latent read from the same GRU, with
    decoders of its own; and p_theta(mid^i | top, mid^{i-1}) in place of p_theta(m^i | m^{i-1}).
    """

    @override(BeliefModule)
    def setup_encoder(self, settings: dict[str, Any]) -> None:
        self.two_levels = settings["hlt_version"] == 2
        if not self.two_levels:
            super().setup_encoder(_one_level(settings))
            return
        self.encoder: Any = HierarchicalEncoder(
            self.feature_width,
            self.action_width,
            settings["latent_size"],
            settings["top_latent_size"],
            hidden_size=settings["encoder_hidden"],
            embedding=tuple(settings["encoder_embedding"]),
            reader=self.reader(),
            **self.encoder_settings(settings),
        )
        self.belief_size = 2 * (settings["latent_size"] + settings["top_latent_size"])

    @override(DynaMITEModule)
    def setup_decoders(self, settings: dict[str, Any]) -> None:
        top = settings["top_latent_size"]
        super().setup_decoders(settings if self.two_levels else _one_level(settings))
        if self.two_levels:
            hidden = tuple(settings["decoder_hidden"])
            self.top_decoder = self.reward_decoder_from(top, hidden)
            if settings["prior_conditioning"]:
                kind: Any = ScaledSessionPrior if by_rewards(settings) else HierarchicalPrior
                self.session_prior = kind(settings["latent_size"], top)
        self.switch_head = SwitchHead(top) if settings["tell_switches"] else None

    @override(BeliefModule)
    def get_non_inference_attributes(self) -> list[str]:
        return [*super().get_non_inference_attributes(), "top_decoder", "switch_head"]

    @override(BeliefModule)
    def policy_belief(self, belief: Any) -> Tensor:
        """What the policy sees: mean and log-variance, the top latent's before the mid's."""
        seen = super().policy_belief(belief)
        if not self.two_levels:
            return seen
        return torch.cat([belief.top_mean, belief.top_log_var, seen], dim=-1)

    @property
    @override(DynaMITEModule)
    def latents(self) -> dict[str, slice]:
        top = self.model_config["top_latent_size"]
        if not self.two_levels:
            return {"top": slice(0, top)}
        return {"top": slice(0, top), "mid": slice(2 * top, 2 * top + self.encoder.latent_size)}


def _one_level(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of the one latent as those of VariBAD's."""
    off = {"prior_conditioning": False, "cut_memory": False}
    return settings | {"latent_size": settings["top_latent_size"]} | off
