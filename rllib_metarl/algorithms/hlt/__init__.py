"""HLT-DynaMITE-RL: a top latent for what stays above the mid latent for what changes."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules

from rllib_metarl.algorithms.hlt.hlt import HLTDynaMITE, HLTDynaMITEConfig

__all__ = ["HLTDynaMITE", "HLTDynaMITEConfig"]
