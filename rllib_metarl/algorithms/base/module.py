"""What all modules share: the codecs of their spaces, and what they say they have."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from rllib_metarl.algorithms.base.distribution import distributions_of
from rllib_metarl.columns import ACTION_MASK, BELIEF, PREVIOUS_ACTION, PREVIOUS_REWARD, PRIVILEGED
from rllib_metarl.errors import UserError
from rllib_metarl.models.actions import ActionCodec
from rllib_metarl.models.observations import ObservationCodec
from rllib_metarl.models.step import Inputs, State, Step


class MetaModule(TorchRLModule):
    """Acts step by step on what it remembers of a meta-episode.

    A module sets `belief_size` in `setup`, after this one's, and has `initial_state`, `step` and
    `encode`.

    Attributes:
        belief_size: D, the width of what the policy sees of the past; 0 for an agent without.
        actions, observations: the codecs; the former has the action distribution.
        observation_width, action_width: O and A, of flat observations and encoded actions.
        draws: whether a step draws at random, beside the action that it leads to.
    """

    belief_size: int
    draws: bool = False

    @property
    def needs_privileged(self) -> str | None:
        """The label in `info` that acting needs, such as ``context``; None for an agent."""
        return None

    @property
    def latents(self) -> dict[str, slice]:
        """Which columns of what the policy sees are the means of which Gaussian latent.

        As many columns right behind are its log-variances. None where the belief is no such.
        """
        return {}

    @property
    def decodes(self) -> bool:
        """Whether it has `reward_decoder`, `state_decoder` (or None) and what they are given."""
        return False

    def setup(self) -> None:
        """Builds the networks from `model_config`; called by RLlib."""
        settings = self.model_config
        normalise = bool(settings.get("normalize_actions", True))  # not in older checkpoints
        self.actions = ActionCodec(self.action_space, normalise=normalise)
        self.action_width = self.actions.width
        mask_key = settings.get("action_mask_key", ACTION_MASK)
        choices = sum(self.actions.categories)
        self.observations = ObservationCodec(self.observation_space, choices, mask_key)
        self.observation_width = self.observations.size
        self.action_dist_cls: Any = distributions_of(self.actions)

    def initial_state(self, batch_size: int, device: torch.device | None = None) -> State:
        """The state before the first observation of `batch_size` meta-episodes, `[N, ...]` each."""
        raise NotImplementedError

    def step(self, inputs: Inputs) -> Step:
        """One acting step of N meta-episodes."""
        raise NotImplementedError

    def encode(self, inputs: Inputs) -> Any:
        """What is believed along whole meta-episodes from their start, `[B, T, ...]`."""
        raise NotImplementedError

    def policy_belief(self, belief: Any) -> Tensor:
        """What the policy sees `[..., D]` of what `encode` gives."""
        return belief

    def encode_action(self, action: Tensor) -> Tensor:
        """Flat actions `[...]` or `[..., P]` as encoder inputs `[..., A]`."""
        return self.actions.encode(action)

    def get_initial_state(self) -> dict[str, Any]:
        """The state before a meta-episode, arrays without a batch dimension."""
        return {key: value[0].numpy() for key, value in self.initial_state(1).items()}

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Acting on RLlib's stock EnvRunner: `[B, 1, ...]` columns from our connectors.

        Raises:
            UserError: a column is missing.
        """
        label = [PRIVILEGED] if self.needs_privileged else []
        for name in (PREVIOUS_ACTION, PREVIOUS_REWARD, Columns.STATE_IN, *label):
            if name not in batch:
                raise UserError(
                    f"forward_inference: the batch lacks {name!r}. Beside obs [B, 1, O] this "
                    f"module needs {PREVIOUS_ACTION} [B, 1, {self.action_width}] and "
                    f"{PREVIOUS_REWARD} [B, 1] of the transition that led there, zeros at the "
                    "start, and state_in. rllib_metarl.load_agent(checkpoint) keeps them for you: "
                    "docs/use-an-agent.md."
                )
        inputs = Inputs(
            batch[Columns.OBS].squeeze(1).float(),
            batch[PREVIOUS_ACTION].squeeze(1).float(),
            batch[PREVIOUS_REWARD].reshape(-1).float(),
            {key: value.float() for key, value in batch[Columns.STATE_IN].items()},
            batch[PRIVILEGED].squeeze(1) if self.needs_privileged else None,
        )
        step = self.step(inputs)
        logits, outputs = step.logits, {}
        if ACTION_MASK in batch:
            outputs[ACTION_MASK] = batch[ACTION_MASK]
            logits = self.actions.masked(logits, batch[ACTION_MASK].squeeze(1).bool())
        return outputs | {
            Columns.ACTION_DIST_INPUTS: logits.unsqueeze(1),
            Columns.STATE_OUT: step.state,
            BELIEF: step.belief.unsqueeze(1),
        }
