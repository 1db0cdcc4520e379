"""The policy of a checkpoint, without its algorithm, and without running code that a file holds.

RLlib's checkpoints are pickles, and reading a pickle runs whatever it says. Beside them stand here
``policy.json`` (which algorithm, its settings, its spaces) and ``policy.npz`` (the weights), which
are numbers and names only. Classes are this project's, or of plugins that are imported already.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_metarl import checkpoints
from rllib_metarl.algorithms.belief.stored_spaces import plain_space, space_of
from rllib_metarl.algorithms.settings import own_settings
from rllib_metarl.errors import UserError

MODULE_PATH = Path("learner_group", "learner", "rl_module", "default_policy")
_OURS = "rllib_metarl."
POLICY, WEIGHTS = "policy.json", "policy.npz"
_BROKEN = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, EOFError),
    zipfile.BadZipFile,
)


@dataclasses.dataclass(frozen=True)
class Policy:
    """What ``policy.json`` tells.

    Attributes:
        algorithm: the Algorithm class.
        config: the env, its arguments, and the settings that the algorithm adds to PPO's.
        module: the RLModule class, its spaces and its `model_config`.
    """

    algorithm: Any
    config: dict[str, Any]
    module: dict[str, Any]


def write_policy(folder: Path, algorithm: Any) -> bool:
    """Writes what acts; whether it could, which is not so where plain values do not tell it all.

    Raises:
        OSError: it cannot be written.
    """
    (folder / POLICY).unlink(missing_ok=True)
    config, module = algorithm.config, algorithm.env_runner.module
    settings = _plain_settings(config)
    if config.acts_through_connectors() or settings is None:
        return False
    told = {
        "algorithm": _name(type(algorithm)),
        "config": settings,
        "module": {
            "class": _name(type(module)),
            "observation_space": plain_space(module.observation_space),
            "action_space": plain_space(module.action_space),
            "model_config": module.model_config,
        },
    }
    np.savez(folder / WEIGHTS, **algorithm.learner_group.get_weights()["default_policy"])
    checkpoints.write_whole(folder / POLICY, json.dumps(told, indent=1).encode())
    return True


def read_policy(checkpoint: Path) -> Policy | None:
    """What a checkpoint's ``policy.json`` tells; None where there is none.

    Raises:
        UserError: it is damaged, or of a plugin that is not imported.
    """
    path = checkpoint / POLICY
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_bytes())
        policy = Policy(_imported(told["algorithm"]), dict(told["config"]), dict(told["module"]))
    except _BROKEN as error:
        raise UserError(
            f"{path} cannot be read ({error}): the checkpoint is damaged. Use an older one."
        ) from None
    return _checked(policy, checkpoint)


def load_module(checkpoint: Path) -> Any:
    """The trained RLModule of a checkpoint, on the CPU.

    Raises:
        UserError: if the module is not one that acts on a belief, its weights do not fit, or it
            can only be had from pickles that are not trusted (see `checkpoints.require_trust`).
    """
    policy = read_policy(checkpoint)
    path = checkpoint / (MODULE_PATH if policy is None else WEIGHTS)
    try:
        if policy is None:
            module = _unpickled(checkpoint)
        else:
            module = _built(policy)
            with np.load(path, allow_pickle=False) as weights:
                module.set_state(dict(weights))
    except (*_BROKEN, pickle.UnpicklingError) as error:
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


def _checked(policy: Policy, checkpoint: Path) -> Policy:
    """The policy without settings that could name code."""
    defaults = policy.algorithm.get_default_config()
    known = {"env", "env_config", *own_keys(defaults)}
    config = {key: value for key, value in policy.config.items() if key in known}
    place, _, env = str(config.get("env", "")).rpartition(":")
    if place and place not in sys.modules and not checkpoints.is_trusted(checkpoint):
        raise UserError(
            f"{checkpoint}: its env {env} is in the module {place}, and this user's `rllib train` "
            f"did not write it here: add --plugin {place} if that is the module you mean."
        )
    return dataclasses.replace(policy, config=config)


def _unpickled(checkpoint: Path) -> Any:
    checkpoints.require_trust(checkpoint)
    return RLModule.from_checkpoint(str((checkpoint / MODULE_PATH).resolve()))


def _built(policy: Policy) -> Any:
    told = policy.module
    module: Any = _imported(told["class"])
    return module(
        observation_space=space_of(told["observation_space"]),
        action_space=space_of(told["action_space"]),
        inference_only=False,
        learner_only=False,
        model_config=told["model_config"],
        catalog_class=None,
    )


# --- classes, settings and spaces as plain values -------------------------------------------------


def _name(one: type) -> str:
    return f"{one.__module__}:{one.__qualname__}"


def _imported(name: str) -> type:
    """A class by its name.

    Of this project, or of a module that is imported already: to import another one would be to run
    code of a stranger's choice.
    """
    place, _, label = name.partition(":")
    if place.startswith(_OURS):
        with contextlib.suppress(ImportError):
            importlib.import_module(place)
    found = getattr(sys.modules.get(place), label, None)
    # Only what an algorithm or a module is may be called with what the file says.
    if not (isinstance(found, type) and issubclass(found, (RLModule, _algorithm_class()))):
        raise UserError(
            f"the checkpoint refers to {name}, which is not here: name the plugin that the run "
            "used with --plugin, or use the version of rllib_metarl that wrote the checkpoint."
        )
    return found


def _algorithm_class() -> type:
    from rllib_metarl.algorithms.belief.algorithm import BeliefPPO

    return BeliefPPO


def own_keys(config: Any) -> list[str]:
    """The settings that this project's algorithms have and RLlib's have not.

    RLlib's may be names of classes, which RLlib would import; nothing that acts depends on them.
    """
    return sorted(own_settings(type(config)))


def _plain_settings(config: Any) -> dict[str, Any] | None:
    """The env, and what was set for the algorithm; None where some of it is not plain."""
    told = config.to_dict()
    settings = {key: told[key] for key in ("env", "env_config", *own_keys(config))}
    try:
        plain: dict[str, Any] = json.loads(json.dumps(settings, default=_number))
    except (TypeError, ValueError):
        return None
    return plain


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is not plain")
