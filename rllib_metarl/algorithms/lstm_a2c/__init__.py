"""LSTM-A2C (Wang et al. 2016, arXiv:1611.05763)."""

import ray.rllib  # noqa: F401  # first: registration runs inside it and imports this package's modules

from rllib_metarl.algorithms.lstm_a2c.lstm_a2c import LSTMA2C, LSTMA2CConfig

__all__ = ["LSTMA2C", "LSTMA2CConfig"]
