"""Bernoulli bandits."""

from __future__ import annotations

from .env import BernoulliBanditEnv, BernoulliBanditSimulator, BernoulliBanditVectorEnv

__all__ = ["BernoulliBanditEnv", "BernoulliBanditSimulator", "BernoulliBanditVectorEnv"]
