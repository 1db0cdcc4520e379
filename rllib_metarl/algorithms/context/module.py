"""ContextPPO with a latent context: what IIDA's encoder infers takes the place of a belief."""

from __future__ import annotations

from functools import partial
from typing import Any

from ray.rllib.utils.annotations import override
from torch import Tensor, nn

from rllib_metarl.algorithms.belief.module import BeliefModule
from rllib_metarl.learning.iida_fit import Shape
from rllib_metarl.models.normaliser import Normaliser
from rllib_metarl.models.step import Inputs, Step


def shape_of(settings: Any) -> Shape:
    """The networks' widths in a config or in a module's settings."""
    get: Any = settings.get if isinstance(settings, dict) else partial(getattr, settings)
    return Shape(
        latent_size=get("latent_size"),
        context_window=get("context_window"),
        encoder_embedding=tuple(get("encoder_embedding")),
        forward_hidden=tuple(get("forward_hidden")),
    )


class ContextModule(BeliefModule):
    """Observation ⊕ (1/N) sum phi(s, a, s') over the last N transitions -> action.

    The encoder has units of its own, those of the data that it was fitted on; it reads observations
    as the env gives them.
    """

    @override(BeliefModule)
    def setup_encoder(self, settings: dict[str, Any]) -> None:
        self.shape = shape_of(settings)
        sizes = (self.observation_width, self.action_width)
        self.encoder: Any = self.shape.encoder(*sizes)
        self.trained = bool(settings["train_encoder"])
        self.encoder.phi.requires_grad_(self.trained)
        self.belief_size = self.shape.latent_size

    @override(BeliefModule)
    def belief_normaliser(self) -> nn.Module:
        # A frozen context changes its scale only as the policy does: what the policy reads as one
        # thing should not become another within a few updates.
        return super().belief_normaliser() if self.trained else Normaliser(self.belief_size)

    @override(BeliefModule)
    def setup_decoders(self, settings: dict[str, Any]) -> None:
        self.forward_model: nn.Module | None = None
        if self.trained:
            sizes = (self.observation_width, self.action_width)
            self.forward_model = self.shape.forward_model(*sizes)

    @override(BeliefModule)
    def get_non_inference_attributes(self) -> list[str]:
        return [*super().get_non_inference_attributes(), "forward_model"]

    @override(BeliefModule)
    def step(self, inputs: Inputs) -> Step:
        context, state = self.encoder.step(inputs)
        return Step(context, self.act(inputs.observation, context), state)

    @override(BeliefModule)
    def encode(self, inputs: Inputs) -> Tensor:
        """Contexts `[B, T, L]` along whole meta-episodes."""
        return self.encoder(inputs)

    @override(BeliefModule)
    def policy_belief(self, belief: Tensor) -> Tensor:
        return belief
