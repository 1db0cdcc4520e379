"""What all belief-based algorithms share: config, module, learner and algorithm classes."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules
