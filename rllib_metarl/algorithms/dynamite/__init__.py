"""DynaMITE-RL (Liang et al., NeurIPS 2024, arXiv:2402.15957)."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules

from rllib_metarl.algorithms.dynamite.dynamite import DynaMITE, DynaMITEConfig

__all__ = ["DynaMITE", "DynaMITEConfig"]
