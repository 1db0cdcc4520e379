"""VariBAD's module: the belief agent with decoders, which only the learner has."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.utils.annotations import override
from torch import Tensor

from rllib_metarl.algorithms.base.module import MetaModule
from rllib_metarl.algorithms.belief.module import BeliefModule
from rllib_metarl.learning.batch import Trajectories
from rllib_metarl.models.decoders import PairDecoder


class VariBADModule(BeliefModule):
    """Adds a reward decoder and, by a switch, a state decoder."""

    @override(BeliefModule)
    def encoder_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        return {"cell": settings.get("recurrent_cell", "gru")}  # not in older checkpoints

    def setup_decoders(self, settings: dict[str, Any]) -> None:
        widths = {
            "observation": self.feature_width,
            "action": self.action_width,
            "next_observation": self.feature_width,
        }
        self.decoder_reader = self.reader()
        self.reward_inputs = tuple(settings["reward_decoder_inputs"])
        hidden = tuple(settings["decoder_hidden"])
        latent = settings["latent_size"]
        self.reward_features_size = sum(widths[name] for name in self.reward_inputs)
        self.reward_decoder = self.reward_decoder_from(latent, hidden)
        self.state_decoder = None
        if settings["decode_state"]:
            size = widths["observation"] + widths["action"]
            self.state_decoder = PairDecoder(latent, size, self.observation_width, hidden=hidden)

    def reward_decoder_from(self, latent: int, hidden: tuple[int, ...]) -> PairDecoder:
        """A decoder of rewards from `latent` numbers and `reward_features`."""
        size, scale = self.reward_features_size, 1.0 / self.reward_scale
        return PairDecoder(latent, size, 1, hidden=hidden, output_scale=scale)

    @override(BeliefModule)
    def get_non_inference_attributes(self) -> list[str]:
        inherited = super().get_non_inference_attributes()
        return [*inherited, "reward_decoder", "state_decoder", "decoder_reader"]

    @property
    @override(MetaModule)
    def decodes(self) -> bool:
        return not self.inference_only

    @property
    def latents(self) -> dict[str, slice]:
        """Which columns of what the policy sees are the means of which latent."""
        return {"belief": slice(0, self.encoder.latent_size)}

    def reward_features(self, data: Trajectories) -> Tensor:
        """What rewards are decoded from beside the latent, `[B, T, F]`."""
        observation = self._read(data.observation)
        columns = {
            "observation": observation[:, :-1],
            "action": data.action,
            "next_observation": observation[:, 1:],
        }
        return torch.cat([columns[name] for name in self.reward_inputs], dim=-1)

    def _read(self, observation: Tensor) -> Tensor:
        """What decoders see of observations `[..., O]`."""
        scaled = self.normalise_observation(observation)
        return scaled if self.decoder_reader is None else self.decoder_reader(scaled)

    def state_features(self, data: Trajectories) -> Tensor:
        """What next observations are decoded from beside the latent, `[B, T, F]`."""
        observation = self._read(data.observation[:, :-1])
        return torch.cat([observation, data.action], dim=-1)
