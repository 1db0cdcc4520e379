"""The Algorithm class of all agents that are PPO on observation and belief."""

from __future__ import annotations

import logging

from ray.rllib.algorithms.ppo import PPO
from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.base.algorithm import MetaAlgorithm
from rllib_metarl.algorithms.belief.config import BeliefConfig

logger = logging.getLogger("rllib_metarl")


class BeliefPPO(MetaAlgorithm, PPO):
    """PPO's training step on meta-episodes."""

    CONFIG = BeliefConfig

    @override(MetaAlgorithm)
    def sample_and_learn(self) -> None:
        """PPO's own step: one batch from all EnvRunners and one update on it."""
        before, wanted = self.env_steps(), self.config.total_train_batch_size
        PPO.training_step(self)
        sampled = self.env_steps() - before
        if before == 0 and sampled > 1.5 * wanted:
            logger.warning(
                "the first batch holds %s env steps, not %s: meta-episodes come whole, one of each "
                "of the %s sub-envs at least; lower num_envs_per_env_runner, or raise "
                "train_batch_size_per_learner",
                *(f"{sampled:,}", f"{wanted:,}", self.config.num_envs_per_env_runner),
            )
