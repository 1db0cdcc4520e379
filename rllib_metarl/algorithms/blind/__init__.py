"""Context-blind PPO: a reference that learns, and remembers nothing."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules
