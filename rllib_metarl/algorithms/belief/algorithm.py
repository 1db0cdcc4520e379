"""The Algorithm class of all agents that are PPO on observation and belief."""

from __future__ import annotations

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.utils.annotations import override

from rllib_metarl.algorithms.base.algorithm import MetaAlgorithm
from rllib_metarl.algorithms.belief.config import BeliefConfig


class BeliefPPO(MetaAlgorithm, PPO):
    """PPO's training step on meta-episodes."""

    @classmethod
    @override(PPO)
    def get_default_config(cls) -> AlgorithmConfig:
        return BeliefConfig(algo_class=cls)
