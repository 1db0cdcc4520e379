"""The generators that a whole process shares: Python's, numpy's and torch's.

Nothing in this project draws from them in training, but a user's env, callback or module may.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def generator_states() -> dict[str, Any]:
    """Their states, as plain data."""
    version, words, gauss = random.getstate()
    states = {
        "python": [version, list(words), gauss],
        "numpy": np.random.get_state(legacy=False),
        "torch": torch.get_rng_state().numpy(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = [state.numpy() for state in torch.cuda.get_rng_state_all()]
    return states


def set_generator_states(states: dict[str, Any]) -> None:
    """Lets them go on from `generator_states()`."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(states["numpy"])
    torch.set_rng_state(torch.as_tensor(states["torch"]))
    cuda = states.get("cuda", [])
    if cuda and torch.cuda.is_available() and torch.cuda.device_count() == len(cuda):
        torch.cuda.set_rng_state_all([torch.as_tensor(state) for state in cuda])
