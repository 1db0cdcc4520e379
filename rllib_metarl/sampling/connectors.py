"""What the belief module needs on RLlib's stock EnvRunner."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.utils.annotations import override

from rllib_metarl.columns import PREVIOUS_ACTION, PREVIOUS_REWARD


class AddPreviousTransition(ConnectorV2):
    """Env-to-module connector: adds the action and the reward that led to each observation.

    Columns: `previous_action [B, 1, A]` (one-hot if discrete) and `previous_reward [B, 1]`, zeros
    at the start of a meta-episode. With it the belief agents run on RLlib's own runner, where
    `MetaEpisodeRunner` cannot be used (per-step callbacks, asynchronous envs)::

        config.env_runners(
            env_runner_cls=SingleAgentEnvRunner,
            env_to_module_connector=lambda env, spaces, device: AddPreviousTransition(),
        )

    Slower by an order of magnitude; RLlib's seeding and cuts of episodes apply, so
    `rollout_fragment_length` must be the horizon of the meta-episode.
    """

    @override(ConnectorV2)
    def __call__(
        self, *, rl_module: Any, batch: dict[str, Any], episodes: Any, **kwargs: Any
    ) -> Any:
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False):
            action, reward = np.zeros(rl_module.action_width, np.float32), np.float32(0.0)
            if episode.t:
                taken = torch.as_tensor(np.asarray(episode.get_actions(-1)))
                action = rl_module.encode_action(taken).numpy()
                reward = np.float32(episode.get_rewards(-1))
            self.add_batch_item(batch, PREVIOUS_ACTION, action, episode)
            self.add_batch_item(batch, PREVIOUS_REWARD, reward, episode)
        return batch
