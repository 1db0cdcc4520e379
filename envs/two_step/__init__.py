"""The two-step task."""

from __future__ import annotations

from .env import TwoStepEnv, TwoStepSimulator, TwoStepVectorEnv

__all__ = ["TwoStepEnv", "TwoStepSimulator", "TwoStepVectorEnv"]
