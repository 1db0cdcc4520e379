"""What the belief module needs on RLlib's own EnvRunner."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.utils.annotations import override
from ray.rllib.utils.spaces.space_utils import batch as stacked

from rllib_metarl.columns import ACTION_MASK, PREVIOUS_ACTION, PREVIOUS_REWARD, PRIVILEGED
from rllib_metarl.envs import EnvFault, plain_label
from rllib_metarl.envs.core.nested import joined_mask, rows_of
from rllib_metarl.errors import UserError
from rllib_metarl.sampling.collector import no_label


class ActionsToEnv(ConnectorV2):
    """Module-to-env connector: flat actions in the form of the env, always within its space.

    In the place of RLlib's `NormalizeAndClipActions`, which knows Boxes with both bounds alone.
    """

    @override(ConnectorV2)
    def __call__(self, *, rl_module: Any, batch: dict[str, Any], **kwargs: Any) -> Any:
        actions = rl_module.actions

        def to_env(action: Any, *ids: Any) -> Any:
            return rows_of(actions.space, actions.to_env(np.asarray(action)[None]))[0]

        batch[Columns.ACTIONS_FOR_ENV] = copy.deepcopy(batch[Columns.ACTIONS])
        self.foreach_batch_item_change_in_place(batch, Columns.ACTIONS_FOR_ENV, to_env)
        return batch


class AddPreviousTransition(ConnectorV2):
    """Env-to-module connector: adds the action and the reward that led to each observation.

    Columns: `previous_action [B, 1, A]` (one-hot if discrete) and `previous_reward [B, 1]`, zeros
    at the start of a meta-episode; for an oracle also `privileged [B, 1, C]`, its label; where the
    env masks actions `action_mask [B, 1, choices]`. Belief
    configs put it behind the user's own connectors wherever an agent runs on RLlib's own runner.
    """

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: Any, batch: dict[str, Any], episodes: Any, **kwargs: Any
    ) -> Any:
        if PREVIOUS_ACTION in batch:  # the user's connectors have one
            return batch
        label = rl_module.needs_privileged
        given: list[Any] = []
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False):
            action, reward = np.zeros(rl_module.action_width, np.float32), np.float32(0.0)
            if episode.t:
                taken = torch.as_tensor(np.asarray(episode.get_actions(-1)))
                action = rl_module.encode_action(taken).numpy()
                reward = np.float32(episode.get_rewards(-1))
            self.add_batch_item(batch, PREVIOUS_ACTION, action, episode)
            self.add_batch_item(batch, PREVIOUS_REWARD, reward, episode)
            if label:
                self.add_batch_item(batch, PRIVILEGED, privileged_label(episode, label), episode)
            given.append(self._mask(rl_module, episode))
            if given[-1] is not None:
                mask = rl_module.actions.mask_of(joined_mask(given[-1])[None], 1)[0]
                self.add_batch_item(batch, ACTION_MASK, mask, episode)
        if any(mask is None for mask in given) and any(mask is not None for mask in given):
            raise UserError(
                f"the env gives info['{rl_module.observations.mask_key}'] at some steps and not "
                "at others: give it in every reset and step, all ones where nothing is forbidden."
            )
        return batch

    @staticmethod
    def _mask(rl_module: Any, episode: Any) -> Any:
        codec = rl_module.observations
        within = codec.mask(episode.get_observations(-1))
        return episode.get_infos(-1).get(codec.mask_key) if within is None else within


class FlatObservations(ConnectorV2):
    """Env-to-module connector: observations as the module's networks read them, `[B, 1, O]`."""

    @override(ConnectorV2)
    def __call__(self, *, rl_module: Any, batch: dict[str, Any], **kwargs: Any) -> Any:
        codec = rl_module.observations
        if codec.plain and not codec.carries_mask:
            return batch

        def flat(observation: Any, *ids: Any) -> Any:
            return codec.flatten(stacked([observation]))[0]

        self.foreach_batch_item_change_in_place(batch, Columns.OBS, flat)
        return batch


def privileged_label(episode: Any, label: str) -> Any:
    """The label `[C]` of an episode's newest observation.

    Raises:
        UserError: if the env does not give it, or what cannot be used.
    """
    info = episode.get_infos(-1)
    if label not in info:
        raise UserError(no_label("the env", label))
    try:
        return plain_label(label, info[label])
    except EnvFault as fault:
        raise UserError(no_label("the env", label, f"it {fault}")) from None
