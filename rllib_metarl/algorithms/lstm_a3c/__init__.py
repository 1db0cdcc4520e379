"""LSTM-A3C (Wang et al. 2016, arXiv:1611.05763; Mnih et al. 2016, arXiv:1602.01783)."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules

from rllib_metarl.algorithms.lstm_a3c.lstm_a3c import LSTMA3C, LSTMA3CConfig

__all__ = ["LSTMA3C", "LSTMA3CConfig"]
