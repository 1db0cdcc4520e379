"""The policy of a checkpoint, without its algorithm."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_metarl.errors import UserError

MODULE_PATH = Path("learner_group", "learner", "rl_module", "default_policy")


def load_module(checkpoint: Path) -> Any:
    """The trained RLModule of a checkpoint, on the CPU.

    Raises:
        UserError: if the module is not one that acts on a belief, or its weights do not fit.
    """
    path = checkpoint / MODULE_PATH
    try:
        module = RLModule.from_checkpoint(str(path.resolve()))
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path}: the policy cannot be restored ({error}). The checkpoint is incomplete or of "
            "another version; use an older one."
        ) from None
    if not hasattr(module, "needs_privileged"):
        raise UserError(
            f"{checkpoint} holds a {type(module).__name__}, which has no belief: evaluate it with "
            "RLlib's own Algorithm.from_checkpoint(...).evaluate()."
        )
    return module
