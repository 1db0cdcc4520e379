"""The table of algorithms: the only place that knows them by name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """Where an algorithm lives; nothing is imported before it is asked for."""

    module: str
    algorithm_name: str
    config_name: str
    summary: str

    def algorithm(self) -> type:
        """The RLlib `Algorithm` class."""
        return self._load(self.algorithm_name)

    def config(self) -> type:
        """The RLlib `AlgorithmConfig` class."""
        return self._load(self.config_name)

    def _load(self, name: str) -> Any:
        return getattr(importlib.import_module(f"rllib_metarl.algorithms.{self.module}"), name)


ALGORITHMS: dict[str, Entry] = {
    "DynaMITE": Entry(
        "dynamite.dynamite",
        "DynaMITE",
        "DynaMITEConfig",
        "DynaMITE-RL: a belief over contexts that change between sessions (Liang et al. 2024)",
    ),
    "VariBAD": Entry(
        "varibad.varibad",
        "VariBAD",
        "VariBADConfig",
        "a variational belief over a task that stays (Zintgraf et al. 2020)",
    ),
    "OraclePPO": Entry(
        "oracle.oracle",
        "OraclePPO",
        "OracleConfig",
        "reference: PPO that is given the true context",
    ),
}
