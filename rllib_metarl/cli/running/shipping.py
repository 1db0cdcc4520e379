"""What the machines of a cluster need of this one: this project's code and the user's plugins."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from rllib_metarl.errors import UserError

_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".git", ".venv", "*.egg-info")


def stage(plugins: list[str], folder: Path) -> Path:
    """Copies this project and the plugins into a folder that can be a worker's import path.

    The libraries that they import are not copied: they have to be installed on the machines.

    Args:
        plugins: dotted names of modules; of each, the whole top-level package or module is taken.
        folder: an empty folder.

    Returns:
        `folder`.

    Raises:
        UserError: if a plugin has no source that could be copied.
    """
    import rllib_metarl
    import rllib_metarl.envs

    package = Path(rllib_metarl.__path__[0])
    shutil.copytree(package, folder / "rllib_metarl", ignore=_LEFT_OUT)
    envs = Path(rllib_metarl.envs.__path__[0])
    if envs.parent != package:  # a development install keeps them beside the package
        shutil.copytree(envs, folder / "rllib_metarl" / "envs", ignore=_LEFT_OUT)
    for name in sorted({plugin.partition(".")[0] for plugin in plugins} - {"rllib_metarl"}):
        _copy(name, folder)
    return folder


def _copy(name: str, folder: Path) -> None:
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations:
        for location in spec.submodule_search_locations:
            shutil.copytree(location, folder / name, ignore=_LEFT_OUT, dirs_exist_ok=True)
    elif spec is not None and spec.origin and spec.origin.endswith(".py"):
        shutil.copy(spec.origin, folder)
    else:
        raise UserError(
            f"plugin {name}: no Python source was found that could be sent to the cluster. Install "
            "it on the cluster's machines and leave it out of `plugins:`, or give a .py module."
        )
