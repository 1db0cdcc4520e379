"""RL² (Duan et al. 2016, arXiv:1611.02779)."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules

from rllib_metarl.algorithms.rl2.rl2 import RL2, RL2Config

__all__ = ["RL2", "RL2Config"]
