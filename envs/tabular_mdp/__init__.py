"""Random tabular MDPs."""

from __future__ import annotations

from .env import TabularMDPEnv, TabularMDPSimulator, TabularMDPVectorEnv

__all__ = ["TabularMDPEnv", "TabularMDPSimulator", "TabularMDPVectorEnv"]
