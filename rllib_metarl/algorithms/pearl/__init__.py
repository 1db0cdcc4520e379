"""PEARL: soft actor-critic on a latent task that is inferred from a set of transitions."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules

from rllib_metarl.algorithms.pearl.pearl import PEARL, PEARLConfig

__all__ = ["PEARL", "PEARLConfig"]
