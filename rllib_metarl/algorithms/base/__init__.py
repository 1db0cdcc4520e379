"""What every algorithm shares, whatever RLlib algorithm it stands on."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules
