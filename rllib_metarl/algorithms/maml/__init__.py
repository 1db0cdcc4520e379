"""Adaptation by gradient: MAML, E-MAML, ProMP, FOMAML and Reptile (Finn et al. 2017 and kin)."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules

from rllib_metarl.algorithms.maml.maml import MAML, MAMLConfig

__all__ = ["MAML", "MAMLConfig"]
