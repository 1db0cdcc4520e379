"""The RLModule of every belief-based agent: encode what was seen, act on observation and belief."""

from __future__ import annotations

import math
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from torch import Tensor

from rllib_metarl.algorithms.base.module import MetaModule
from rllib_metarl.columns import ACTION_MASK, BELIEF, PREVIOUS_ACTION, PREVIOUS_REWARD
from rllib_metarl.models.encoder import Belief, BeliefEncoder
from rllib_metarl.models.heads import STD_RANGE, BeliefNetwork, ValueNetwork
from rllib_metarl.models.images import ImageNormaliser, ImageReader
from rllib_metarl.models.normaliser import Normaliser
from rllib_metarl.models.step import Inputs, State, Step
from rllib_metarl.models.unroll import unroll

LOG_STD_RANGE = tuple(map(math.log, STD_RANGE))


class BeliefModule(MetaModule, InferenceOnlyAPI, ValueFunctionAPI):
    """Encoder, policy and value; algorithms add their decoders in `setup_decoders`.

    The policy sees observation, posterior mean and posterior log-variance. Decoders and the value
    head never reach the EnvRunners. Settings come from `model_config` (see `BeliefConfig`).
    """

    min_std: Tensor | None

    def setup(self) -> None:
        """Builds the networks from `model_config`; called by RLlib."""
        super().setup()
        settings = self.model_config
        self.feature_width = self.observation_width
        if self.observations.images:
            self.feature_width = ImageReader(self.observation_width, self.observations.images).width
        self.end_to_end = bool(settings["policy_gradient_to_encoder"])
        self.reward_scale = float(settings.get("reward_input_scale", 1.0))
        self.longest_gradient = int(settings.get("max_sequence_length", 0))  # not in older ones
        self.setup_encoder(settings)
        heads = {
            "hidden": tuple(settings["policy_hidden"]),
            "activation": settings["policy_activation"],
            "conditioning": settings["belief_conditioning"],
            "belief_embedding": settings.get("belief_embedding", 32),  # not in older checkpoints
        }
        sizes = (self.feature_width, self.belief_size)
        of_policy = heads | {"reader": self.reader(), "output_gain": 0.01}
        self.policy = BeliefNetwork(*sizes, self.actions.outputs, **of_policy)
        # A buffer: weights and checkpoints take it along as its schedule moves it.
        self.register_buffer("min_std", None)
        if self.actions.numbers:
            self._setup_standard_deviation(settings)
        self.value = ValueNetwork(*sizes, **heads, reader=self.reader())
        self.normalise_observation = self.observation_normaliser()
        self.normalise_belief: Any = self.belief_normaliser()
        self.setup_decoders(settings)

    def _setup_standard_deviation(self, settings: dict[str, Any]) -> None:
        """Where the policy's standard deviation starts, and what it stays between."""
        std = settings.get("policy_init_std", 1.0)  # none of them is in older checkpoints
        least = settings.get("policy_min_std", 0.0)
        if least:
            least = least[0][1] if isinstance(least, list) else least
            std -= least
            self.min_std = torch.tensor(float(least))
        start = math.log(std)
        self.log_max_std = math.log(settings.get("policy_max_std", STD_RANGE[1]))
        if self.log_max_std < LOG_STD_RANGE[1]:  # softplus's inverse, see `_log_std`
            room = self.log_max_std - start
            start = self.log_max_std - math.log(math.expm1(room))
        torch.nn.init.constant_(self.policy.output.bias[-self.actions.numbers :], start)

    def reader(self) -> ImageReader | None:
        """A CNN of a network's own, trained by it alone; None where there is no image."""
        images = self.observations.images
        return ImageReader(self.observation_width, images) if images else None

    def observation_normaliser(self) -> Normaliser:
        """What scales flat observations for all networks."""
        # Coordinates spread to +-2 rather than +-1: their equality is learnt sooner.
        gain, images = 1.5, self.observations.images
        if images:
            return ImageNormaliser(self.observation_width, images, gain=gain)
        return Normaliser(self.observation_width, gain=gain)

    def setup_encoder(self, settings: dict[str, Any]) -> None:
        """Builds `self.encoder` and sets `self.belief_size`, the width of what the policy sees."""
        self.encoder: Any = BeliefEncoder(
            self.feature_width,
            self.action_width,
            settings["latent_size"],
            hidden_size=settings["encoder_hidden"],
            embedding=tuple(settings["encoder_embedding"]),
            reader=self.reader(),
            **self.encoder_settings(settings),
        )
        self.belief_size = 2 * settings["latent_size"]

    def encoder_settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Hook: what else the encoder is made with."""
        return {}

    def belief_normaliser(self) -> torch.nn.Module:
        """Hook: what scales the belief for policy and value."""
        return Normaliser(self.belief_size, slowest=0.1)

    def setup_decoders(self, settings: dict[str, Any]) -> None:
        """Hook: builds networks that only the learner needs."""

    def get_non_inference_attributes(self) -> list[str]:
        """Names of the networks that only the learner needs."""
        return ["value"]

    def get_initial_state(self) -> dict[str, Any]:
        """The state before a meta-episode, arrays without a batch dimension."""
        return {key: value.numpy() for key, value in self.encoder.initial_state().items()}

    # --- acting ---------------------------------------------------------------------------------

    def initial_state(self, batch_size: int, device: torch.device | None = None) -> State:
        """The state before the first observation of `batch_size` meta-episodes."""
        return {
            key: value.to(device).expand(batch_size, *value.shape).clone()
            for key, value in self.encoder.initial_state().items()
        }

    def step(self, inputs: Inputs) -> Step:
        """Updates beliefs with a transition each; gives the action distribution's inputs."""
        scaled = self._scaled(inputs)
        belief, state = self.encoder.step(scaled)
        seen = self.policy_belief(belief)
        return Step(seen, self._to_distribution(scaled.observation, seen), state)

    def _scaled(self, inputs: Inputs) -> Inputs:
        """What the encoder sees of them."""
        observation = self.normalise_observation(inputs.observation)
        reward = self.reward_scale * inputs.previous_reward
        return inputs._replace(observation=observation, previous_reward=reward)

    def act(self, observation: Tensor, belief: Tensor) -> Tensor:
        """Action distribution's inputs `[..., A]`; observation `[..., O]`, belief `[..., D]`."""
        return self._to_distribution(self.normalise_observation(observation), belief)

    def _to_distribution(self, scaled: Tensor, belief: Tensor) -> Tensor:
        output = self.policy(scaled, self.normalise_belief(belief))
        numbers = self.actions.numbers
        if not numbers:
            return output
        before, log_std = output[..., :-numbers], output[..., -numbers:]
        return torch.cat([before, self._log_std(log_std)], dim=-1)

    def _log_std(self, output: Tensor) -> Tensor:
        """Logarithm `[..., A]` of the policy's standard deviation from the network's outputs."""
        smallest, largest = LOG_STD_RANGE
        log_std = output.clamp(min=smallest)
        if self.log_max_std < largest:  # smooth: a policy at its limit still learns
            log_std = self.log_max_std - torch.nn.functional.softplus(self.log_max_std - log_std)
        else:
            log_std = log_std.clamp(max=largest)
        if self.min_std is not None:
            log_std = torch.log(self.min_std + log_std.exp())
        return log_std

    def standardised_values(self, observation: Tensor, belief: Tensor) -> Tensor:
        """Values `[...]` in the units that the critic learns in."""
        scaled = self.normalise_observation(observation)
        return self.value.standardised(scaled, self.normalise_belief(belief))

    def values(self, observation: Tensor, belief: Tensor) -> Tensor:
        """Values `[...]` in units of the return."""
        return self.value.restore(self.standardised_values(observation, belief))

    def follow(self, observation: Tensor, belief: Tensor) -> None:
        """Moves the statistics of the inputs `[..., O]`, `[..., D]`; call between updates."""
        self.normalise_observation.follow(observation)
        self.normalise_belief.follow(belief)

    def policy_belief(self, belief: Belief) -> Tensor:
        """What the policy sees of the belief, `[..., 2L]`: mean and log-variance."""
        return torch.cat([belief.mean, belief.log_var], dim=-1)

    def encode(self, inputs: Inputs) -> Belief:
        """Beliefs `[B, T, ...]` over whole meta-episodes from their start.

        Their gradient reaches back over `max_sequence_length` steps at most.
        """
        start = self.initial_state(len(inputs.observation), inputs.observation.device)
        scaled = self._scaled(inputs)._replace(state=start)
        belief: Belief = unroll(self.encoder, scaled, self.longest_gradient)
        return belief

    # --- RLlib's forwards -----------------------------------------------------------------------

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """PPO's forward on flat steps with stored beliefs, or through the encoder if end to end.

        Flat: OBS `[N, O]`, BELIEF `[N, D]`. End to end: OBS `[B, T, O]` and the columns of
        the transitions that led to each observation.
        """
        if not self.end_to_end:
            belief = batch[BELIEF].detach()
            return {Columns.ACTION_DIST_INPUTS: self._trained(batch, belief)}
        columns = (batch[Columns.OBS], batch[PREVIOUS_ACTION], batch[PREVIOUS_REWARD])
        posterior = self.encode(Inputs(*columns))
        seen = self.policy_belief(posterior)
        return {
            Columns.ACTION_DIST_INPUTS: self._trained(batch, seen),
            Columns.EMBEDDINGS: seen,
            "posterior": posterior,
        }

    def _trained(self, batch: dict[str, Any], belief: Tensor) -> Tensor:
        """The action distribution's inputs, with the mask that the action was drawn with."""
        logits, mask = self.act(batch[Columns.OBS], belief), batch.get(ACTION_MASK)
        return logits if mask is None else self.actions.masked(logits, mask)

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Values `[...]` of (observation, belief)."""
        belief = batch[BELIEF] if embeddings is None else embeddings
        return self.values(batch[Columns.OBS], belief)
