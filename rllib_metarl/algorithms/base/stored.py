"""The policy of a checkpoint, read without its algorithm and without running code of the file.

Of what `exported` writes. Classes are this project's, or of plugins that are imported already.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import math
import sys
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from ray.rllib.core.rl_module.rl_module import RLModule

from rllib_metarl import plugins
from rllib_metarl.algorithms.base.algorithm import MetaAlgorithm
from rllib_metarl.algorithms.base.exported import exported_keys
from rllib_metarl.algorithms.base.settings import own_settings, problem
from rllib_metarl.algorithms.base.stored_spaces import space_of
from rllib_metarl.errors import UserError
from rllib_metarl.reading import field, parse_json

MODULE_PATH = Path("learner_group", "learner", "rl_module", "default_policy")
_OURS = "rllib_metarl.algorithms."
_KINDS = {"env_config": dict, "held_out_seed": int}
MOST_UNPACKED = 20
"""How many times its size in a file a network's weights may have in memory."""


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


def parsed(content: bytes, checkpoint: str, trusted: bool) -> Policy:
    """What the content of a ``policy.json`` tells, without settings that could name code.

    Args:
        content: the file's.
        checkpoint: where it is, for messages.
        trusted: whether it may name a module to import, that of its env.

    Raises:
        UserError: it is of a plugin that is not imported.
        ValueError, KeyError, TypeError: it is damaged.
    """
    record = parse_json(content)
    name, module = field(record, "algorithm", str), _module_of(record)
    algorithm: Any = _imported(name)
    if not issubclass(algorithm, MetaAlgorithm):
        raise ValueError(f"{name} is no algorithm")
    known = exported_keys(algorithm.get_default_config())
    written = field(record, "config", dict)
    config = {key: value for key, value in written.items() if key in known}
    field(config, "env", str)
    for key, kind in _KINDS.items():
        field(config, key, kind, type(None), default=None)
    _check_values(algorithm, config)
    _check_values(algorithm, module["model_config"])
    place, _, env = str(config.get("env", "")).rpartition(":")
    if place and place not in sys.modules:
        if not trusted:
            raise UserError(
                f"{checkpoint}: its env {env} is in the module {place}, and this user's `rllib "
                f"train` did not write it here: add --plugin {place} if that is the module you "
                "mean."
            )
        _import_env(place, checkpoint)
    return Policy(algorithm, config, module)


def _module_of(record: Any) -> dict[str, Any]:
    module: dict[str, Any] = field(record, "module", dict)
    field(module, "class", str)
    for name in ("observation_space", "action_space", "model_config"):
        field(module, name, dict)
    return module


def _check_values(algorithm: Any, config: dict[str, Any]) -> None:
    """Raises ValueError unless each setting is in the range that it declares."""
    for name, entry in own_settings(type(algorithm.get_default_config())).items():
        wrong = problem(entry, name, config[name], None) if name in config else None
        if wrong is not None:
            raise ValueError(wrong.rstrip("."))


def built(policy: Policy, weights: BinaryIO) -> Any:
    """The RLModule of a policy with its weights.

    Args:
        policy: see `parsed`.
        weights: the content of ``policy.npz``.

    Raises:
        UserError: the module's class is not here.
        ValueError: the weights are not those of such a module, or not finite.
        zipfile.BadZipFile and others: the file is damaged.
    """
    arrays = read_weights(weights, _shapes(policy))
    module = _made(policy)
    module.set_state(arrays)
    return module


def _shapes(policy: Policy) -> dict[str, tuple[int, ...]]:
    """What the module's weights will be like, before any memory is taken for them."""
    try:
        with torch.device("meta"):
            return shapes_of(_made(policy))
    except (NotImplementedError, RuntimeError):  # a plugin's module that needs its numbers to begin
        return shapes_of(_made(policy))


def shapes_of(module: Any) -> dict[str, tuple[int, ...]]:
    """Name -> shape of all weights of a module."""
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def read_weights(file: BinaryIO, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """The arrays of an .npz file that are to be a module's weights, all of them and no other.

    Nothing is read of an array of another shape, nor of more than its shape holds.

    Raises:
        ValueError: they are not, or one of them is not finite; the message names it.
        zipfile.BadZipFile and others: the file is damaged.
    """
    with zipfile.ZipFile(file) as archive:
        _check_names({name.removesuffix(".npy") for name in archive.namelist()}, shapes)
        packed = sum(entry.compress_size for entry in archive.infolist())
        if sum(entry.file_size for entry in archive.infolist()) > MOST_UNPACKED * max(packed, 1):
            raise ValueError("it unpacks to far more than its size")
        found = {name: _array(archive, name, shape) for name, shape in shapes.items()}
    check_weights(found, shapes)
    return found


def check_weights(weights: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> None:
    """Makes sure that weights are those of a module, and finite.

    Raises:
        ValueError: they are not; the message names the first that is not.
    """
    _check_names(set(weights), shapes)
    for name, value in weights.items():
        array = np.asarray(value)
        if array.shape != shapes[name]:
            raise ValueError(f"{name} has shape {array.shape}, expected {shapes[name]}")
        if array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN, infinity or no numbers at all")


def _check_names(found: set[str], shapes: dict[str, tuple[int, ...]]) -> None:
    missing, foreign = sorted(set(shapes) - found), sorted(found - set(shapes))
    if missing or foreign:
        which = f"{missing[0]} is missing" if missing else f"{foreign[0][:100]} is not the module's"
        raise ValueError(f"of {len(shapes)} weights {len(missing)} are missing: {which}")


def _array(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> Any:
    """One array of an .npz file, if it is of numbers and has this shape."""
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0
        header = read(member) if version == (1, 0) else np.lib.format.read_array_header_2_0(member)
        found, fortran, dtype = header
        if found != shape:
            raise ValueError(f"{name} has shape {found}, expected {shape}")
        if dtype.kind not in "fiub":
            raise ValueError(f"{name} has dtype {dtype}, expected numbers")
        size = math.prod(shape) * dtype.itemsize
        content = member.read(size + 1)
        if len(content) != size:
            raise ValueError(f"{name} is cut short, or longer than its shape")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C").copy()


def _import_env(place: str, checkpoint: str) -> None:
    try:
        plugins.import_named(place)
    except Exception as error:  # of the user's own module
        raise UserError(
            f"{checkpoint}: its env is in the module {place}, which cannot be imported ({error}): "
            f"run from its folder, or install it, and add --plugin {place}."
        ) from None


def _made(policy: Policy) -> Any:
    record = policy.module
    module: Any = _imported(record["class"])
    if not issubclass(module, RLModule):
        raise ValueError(f"{record['class']} is no RLModule")
    return module(
        observation_space=space_of(record["observation_space"]),
        action_space=space_of(record["action_space"]),
        inference_only=False,
        learner_only=False,
        model_config=record["model_config"],
        catalog_class=None,
    )


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
    if not (isinstance(found, type) and issubclass(found, (RLModule, MetaAlgorithm))):
        raise UserError(
            f"the checkpoint refers to {name}, which is not available: give the run's plugin "
            "with --plugin, or use the version of rllib_metarl that wrote the checkpoint."
        )
    return found
