"""MAME: an exploration policy finds what latent parameters adapt to (Gurumurthy et al. 2019)."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules

from rllib_metarl.algorithms.mame.mame import MAME, MAMEConfig

__all__ = ["MAME", "MAMEConfig"]
