"""ContextPPO: PPO given nothing, everything, or what it infers (IIDA, arXiv:2203.05549)."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules

from rllib_metarl.algorithms.context.context import ContextConfig, ContextPPO

__all__ = ["ContextConfig", "ContextPPO"]
