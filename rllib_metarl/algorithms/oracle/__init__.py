"""The oracle: a reference that learns, and sees the true context."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules

from rllib_metarl.algorithms.oracle.oracle import OracleConfig, OraclePPO

__all__ = ["OracleConfig", "OraclePPO"]
