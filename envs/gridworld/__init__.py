"""Grid worlds: two goals of which one pays, a family of them, and one hidden goal."""

from __future__ import annotations

from .env import GridWorldEnv, GridWorldSimulator, GridWorldVectorEnv

__all__ = ["GridWorldEnv", "GridWorldSimulator", "GridWorldVectorEnv"]
