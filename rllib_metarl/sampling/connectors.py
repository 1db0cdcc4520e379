"""What the belief module needs on RLlib's own EnvRunner."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.utils.annotations import override

from rllib_metarl.columns import PREVIOUS_ACTION, PREVIOUS_REWARD, PRIVILEGED
from rllib_metarl.envs.core.nested import rows_of
from rllib_metarl.errors import UserError
from rllib_metarl.sampling.collector import HOW_TO_LABEL


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
    at the start of a meta-episode; for an oracle also `privileged [B, 1, C]`, its label. Belief
    configs put it behind the user's own connectors wherever an agent runs on RLlib's own runner.
    """

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: Any, batch: dict[str, Any], episodes: Any, **kwargs: Any
    ) -> Any:
        if PREVIOUS_ACTION in batch:  # the user's connectors have one
            return batch
        label = rl_module.needs_privileged
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
        return batch


def privileged_label(episode: Any, label: str) -> np.ndarray:
    """The label `[C]` of an episode's newest observation.

    Raises:
        UserError: if the env does not give it.
    """
    info = episode.get_infos(-1)
    if label not in info:
        raise UserError(
            f"the env gives no info[{label!r}]: an oracle needs it. {HOW_TO_LABEL[label]}"
        )
    return np.asarray(info[label], np.float32)
