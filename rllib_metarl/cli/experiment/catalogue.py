"""Algorithms, environments and tuned examples by name."""

from __future__ import annotations

import importlib
import importlib.resources
import inspect
import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rllib_metarl.cli.experiment.values import failure, import_plugin, load_object
from rllib_metarl.errors import UserError
from rllib_metarl.plugins import import_named, look_in
from rllib_metarl.spelling import suggestion

RLLIB_ALGORITHMS = {
    "APPO": "asynchronous PPO",
    "BC": "behaviour cloning (offline)",
    "CQL": "conservative Q-learning (offline)",
    "DQN": "deep Q-networks",
    "DreamerV3": "world-model agent",
    "IMPALA": "importance-weighted actor-learners",
    "IQL": "implicit Q-learning (offline)",
    "MARWIL": "advantage-weighted imitation (offline)",
    "PPO": "proximal policy optimisation",
    "SAC": "soft actor-critic",
}
"""RLlib's own algorithms; written down so that a list of names needs no import of RLlib."""


def own_algorithms() -> dict[str, Any]:
    """This project's table: name -> entry with ``algorithm()`` and ``config()``."""
    from rllib_metarl.algorithms import ALGORITHMS

    return dict(ALGORITHMS)


def algorithm_class(name: str) -> type:
    """The Algorithm class of a name, a registered trainable or a dotted class path.

    Raises:
        UserError: there is none, or it is not an RLlib Algorithm.
    """
    found = _find_algorithm(name)
    if found is None:
        known = [*own_algorithms(), *RLLIB_ALGORITHMS]
        raise UserError(
            f"unknown algorithm '{name}'{suggestion(name, known)} (known: {', '.join(known)})"
        )
    from ray.rllib.algorithms.algorithm import Algorithm

    if not (inspect.isclass(found) and issubclass(found, Algorithm)):
        raise UserError(f"'{name}' is not an RLlib Algorithm, so it has no config to train with")
    return found


def check_environment(env: Any) -> None:
    """Make sure that an environment of this name exists; nothing is constructed.

    Raises:
        UserError: no such environment; the message names the nearest one.
    """
    if not isinstance(env, str):
        raise UserError(f"env must be a name, got {env!r}")
    if ":" in env:
        module, _, env_id = env.partition(":")
        _import_env_module(module, env)
        _check_gym_id(env_id, env)
    elif not _is_registered(env) and not _is_class_path(env):
        _check_gym_id(env, env)


def environment_parameters(env: str) -> list[str] | None:
    """Names of the keyword arguments that the environment takes, or None if it takes any."""
    creator = _creator(env)
    if creator is None:
        return None
    try:
        parameters = list(inspect.signature(creator).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters if p.name != "self"]


def environment_ids() -> dict[str, str]:
    """This project's gymnasium ids, each with the first line of its description."""
    importlib.import_module("rllib_metarl.envs")
    import gymnasium

    ids = {}
    for name, spec in gymnasium.registry.items():
        entry = spec.entry_point
        module = entry if isinstance(entry, str) else getattr(entry, "__module__", "")
        if module.startswith("rllib_metarl"):
            ids[name] = first_line(_creator(name))
    return ids


def example_files() -> dict[str, Path]:
    """Tuned example files by the name that ``rllib train`` takes: ``dynamite/gridworld``."""
    try:
        root = Path(str(importlib.resources.files("rllib_metarl.tuned_examples")))
    except ModuleNotFoundError:
        return {}
    return {
        path.relative_to(root).with_suffix("").as_posix(): path
        for path in sorted(root.rglob("*.yaml"))
    }


def tuned_examples() -> dict[str, str]:
    """Names of tuned examples, each with the first line of its file's header comment."""
    return {name: _described(path) for name, path in example_files().items()}


def experiment_file(given: Path) -> Path:
    """The file that a path, or the name of a tuned example, stands for.

    Raises:
        UserError: there is neither; the message names the nearest.
    """
    if os.path.lexists(given):
        return given
    examples, name = example_files(), given.as_posix().removeprefix("tuned_examples/")
    name = name.removesuffix(".yaml")
    if name in examples:
        return examples[name]
    beside = [str(p) for p in given.parent.glob("*.y*ml")] if given.parent.is_dir() else []
    near = suggestion(str(given), beside) or suggestion(name, examples)
    raise UserError(
        f"{str(given)[:300]}: no such file, and no tuned example of this name "
        f"(`rllib list` names them){near}"
    )


def first_line(documented: Any) -> str:
    """First line of an object's docstring, or an empty string."""
    text = inspect.getdoc(documented) if documented is not None else None
    return text.strip().splitlines()[0].rstrip(".") if text else ""


def register_everything() -> None:
    """Make this project's algorithms and environments known by name."""
    import rllib_metarl

    importlib.import_module("rllib_metarl.envs")
    register = getattr(rllib_metarl, "register", None)
    if register is not None:
        register()


def register_with_plugins(plugins: Iterable[str]) -> None:
    """Also what is in plugins, which may lie in the working directory.

    Raises:
        UserError: one cannot be imported.
    """
    look_in(Path.cwd())
    register_everything()
    for plugin in plugins:
        import_plugin(plugin)


def _find_algorithm(name: str) -> Any:
    own = own_algorithms()
    if name in own:
        return own[name].algorithm()
    if name in RLLIB_ALGORITHMS:
        from ray.rllib.algorithms.registry import ALGORITHMS

        return ALGORITHMS[name]()[0]
    from ray.tune.registry import TRAINABLE_CLASS, _global_registry

    from rllib_metarl.sampling.envs import registered

    if registered(TRAINABLE_CLASS, name):
        return _global_registry.get(TRAINABLE_CLASS, name)
    if "." in name:
        try:
            return load_object(name)
        except ValueError as error:
            raise UserError(str(error)) from None
    return None


def _is_registered(env: str) -> bool:
    from ray.tune.registry import ENV_CREATOR

    from rllib_metarl.sampling.envs import registered

    return registered(ENV_CREATOR, env)


def _is_class_path(env: str) -> bool:
    if "." not in env or "/" in env:
        return False
    try:
        return inspect.isclass(load_object(env))
    except ValueError:
        return False


def _import_env_module(module: str, env: str) -> None:
    try:
        import_named(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        message = f"env '{env}': module '{module}' cannot be imported: {failure(error)}"
        raise UserError(message) from None


def _check_gym_id(env_id: str, written: str) -> None:
    import gymnasium

    if env_id in gymnasium.registry:
        return
    raise UserError(
        f"unknown environment '{written}'{suggestion(env_id, gymnasium.registry)}"
        " (`rllib list` names them; list a module of your own under `plugins:`)"
    )


def _creator(env: str) -> Any:
    import gymnasium

    spec = gymnasium.registry.get(env.partition(":")[2] or env)
    if spec is None:
        return None
    entry = spec.entry_point
    if not isinstance(entry, str):
        return entry
    module, _, attribute = entry.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        return None


def _described(path: Path) -> str:
    """First sentence of the comment that a file begins with, and the file's other scales."""
    written = path.read_text(encoding="utf-8").splitlines()
    lines = itertools.takewhile(lambda line: line.startswith("#"), written)
    paragraph = itertools.takewhile(bool, (line.lstrip("# ") for line in lines))
    sentence = re.split(r"[.:;](?:\s|$)", " ".join(paragraph))[0]
    below = list(itertools.dropwhile(lambda line: line != "  scales:", written))
    scales = [found[1] for line in below if (found := re.match(r"    ([\w-]+):", line))]
    return f"{sentence} (--scale {', '.join(scales)})" if scales else sentence
