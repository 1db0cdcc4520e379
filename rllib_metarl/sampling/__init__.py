"""Sampling: stepping vector envs with a recurrent belief, one episode per meta-episode."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules
