"""What every algorithm shares, whatever RLlib algorithm it is based on."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules
