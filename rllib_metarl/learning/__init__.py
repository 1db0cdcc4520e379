"""Learning: from episodes to `[B, T]` tensors, minibatches and the trajectory buffer."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules
