"""RL² (Duan et al. 2016, arXiv:1611.02779)."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules
