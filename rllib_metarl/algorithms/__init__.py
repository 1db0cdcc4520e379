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
        return self.load(self.algorithm_name)

    def config(self) -> type:
        """The RLlib `AlgorithmConfig` class."""
        return self.load(self.config_name)

    def load(self, name: str) -> Any:
        """A class of the algorithm's file by its name."""
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
    "HLTDynaMITE": Entry(
        "hlt.hlt",
        "HLTDynaMITE",
        "HLTDynaMITEConfig",
        "DynaMITE-RL with a top latent for what stays above the one for what changes",
    ),
    "RL2": Entry(
        "rl2.rl2",
        "RL2",
        "RL2Config",
        "PPO through the memory of a recurrent policy (Duan et al. 2016)",
    ),
    "LSTMA2C": Entry(
        "lstm_a2c.lstm_a2c",
        "LSTMA2C",
        "LSTMA2CConfig",
        "advantage actor-critic with an LSTM, synchronous (Wang et al. 2016)",
    ),
    "LSTMA3C": Entry(
        "lstm_a3c.lstm_a3c",
        "LSTMA3C",
        "LSTMA3CConfig",
        "the same with asynchronous actors (Wang et al. 2016)",
    ),
    "MAML": Entry(
        "maml.maml",
        "MAML",
        "MAMLConfig",
        "weights from which gradient steps adapt to a task (Finn et al. 2017); ProMP and kin",
    ),
    "PEARL": Entry(
        "pearl.pearl",
        "PEARL",
        "PEARLConfig",
        "soft actor-critic on a task inferred from a set of transitions (Rakelly et al. 2019)",
    ),
    "MAME": Entry(
        "mame.mame",
        "MAME",
        "MAMEConfig",
        "an exploration policy and latent parameters that adapt (Gurumurthy et al. 2019)",
    ),
    "ContextPPO": Entry(
        "context.context",
        "ContextPPO",
        "ContextConfig",
        "PPO with a context that is hidden, given or inferred by IIDA (Evans et al. 2022)",
    ),
    "BlindPPO": Entry(
        "blind.blind",
        "BlindPPO",
        "BlindConfig",
        "reference: PPO on the present observation alone",
    ),
    "OraclePPO": Entry(
        "oracle.oracle",
        "OraclePPO",
        "OracleConfig",
        "reference: PPO that is given the true context, or the exact posterior",
    ),
}


@dataclass(frozen=True)
class Rung:
    """A rung of the debug ladder: what climbs it, what it is called, and what it acts on.

    acts_on: beside the observation: ``nothing``, the ``context``, a ``memory``, a ``belief``, or
        one that knows of ``sessions``.
    """

    algorithm: str
    label: str
    acts_on: str


RUNGS: dict[str, Rung] = {
    "blind": Rung("BlindPPO", "blind PPO", "nothing"),
    "oracle": Rung("OraclePPO", "oracle (sees m)", "context"),
    "rl2": Rung("RL2", "RL²", "memory"),
    "varibad": Rung("VariBAD", "VariBAD", "belief"),
    "dynamite": Rung("DynaMITE", "DynaMITE-RL", "sessions"),
}
"""In the order in which they are climbed."""
