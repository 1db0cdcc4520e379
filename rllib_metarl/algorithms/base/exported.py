"""The policy of a checkpoint as plain values, beside the pickles that RLlib writes.

Reading a pickle runs whatever it says. ``policy.json`` (which algorithm, its settings, its spaces)
and ``policy.npz`` (the weights) are numbers and names only; `stored` reads them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import cloudpickle

from rllib_metarl.algorithms.base.settings import own_settings
from rllib_metarl.algorithms.base.stored_spaces import plain_space
from rllib_metarl.checkpoints import DESCRIPTION, POLICY, WEIGHTS, write_whole


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
    record = {
        "algorithm": _name(type(algorithm)),
        "config": settings,
        "module": {
            "class": _name(type(module)),
            "observation_space": plain_space(module.observation_space),
            "action_space": plain_space(module.action_space),
            "model_config": module.model_config,
        },
    }
    weights = algorithm.learner_group.get_weights()["default_policy"]
    names = _names_in(module)
    np.savez(folder / WEIGHTS, **{name: weights[name] for name in weights if name in names})
    write_whole(folder / POLICY, json.dumps(record, indent=1).encode())
    return True


def _names_in(module: Any) -> set[str]:
    """The weights of a module as it is made anew: target networks are added by a learner alone."""
    kind: Any = type(module)
    with torch.random.fork_rng(devices=[]):  # a checkpoint changes nothing of the run
        made = kind(
            observation_space=module.observation_space,
            action_space=module.action_space,
            inference_only=False,
            learner_only=False,
            model_config=module.model_config,
            catalog_class=None,
        )
    return set(made.state_dict())


def write_description(folder: Path, algorithm: Any) -> None:
    """Writes RLlib's description anew, with the algorithm's class by its name.

    In Ray's actor it is one derived there, which a pickle would hold whole.

    Raises:
        OSError: it cannot be written.
    """
    named, kind = named_class(type(algorithm)), type(algorithm)
    if named is not kind:
        description = {"class": named, "ctor_args_and_kwargs": algorithm.get_ctor_args_and_kwargs()}
        write_whole(folder / DESCRIPTION, cloudpickle.dumps(description))


def named_class(kind: Any) -> Any:
    """A class as it is imported: that of an actor is one that Ray derived from it."""
    return getattr(kind, "__ray_actor_class__", kind)


def exported_keys(config: Any) -> set[str]:
    """The env, the settings that the algorithm declares as its own, and those that agents act by.

    RLlib's others may be names of classes, which RLlib would import; no agent depends on them.
    """
    return {"env", "env_config", *own_settings(type(config)), *config.ACTS_BY}


def _plain_settings(config: Any) -> dict[str, Any] | None:
    """The settings of `exported_keys`; None where some of them are not plain."""
    values = config.to_dict()
    settings = {key: values[key] for key in sorted(exported_keys(config))}
    try:
        plain: dict[str, Any] = json.loads(json.dumps(settings, default=_number))
    except (TypeError, ValueError):
        return None
    return plain


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} is not plain")


def _name(one: type) -> str:
    return f"{one.__module__}:{one.__qualname__}"
