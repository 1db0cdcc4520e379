"""VariBAD (Zintgraf et al., ICLR 2020, arXiv:1910.08348)."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules
