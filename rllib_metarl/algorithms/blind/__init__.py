"""Context-blind PPO: a reference that learns, and remembers nothing."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules

from rllib_metarl.algorithms.blind.blind import BlindConfig, BlindPPO

__all__ = ["BlindConfig", "BlindPPO"]
