"""VariBAD (Zintgraf et al., ICLR 2020, arXiv:1910.08348)."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules

from rllib_metarl.algorithms.varibad.varibad import VariBAD, VariBADConfig

__all__ = ["VariBAD", "VariBADConfig"]
