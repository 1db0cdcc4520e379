"""Code of the user's own: by which names it is imported, and where it is looked for.

Only a person names such code, on the command line or in an experiment file, or a record that bears
this user's seal. What lies in a folder of results never joins the import path.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

_FOLDERS: list[str] = []
_OURS = "rllib_metarl"
# `module:Name`, and `package.module.Name`; neither `s3://place` nor `DLCMDP/GridWorld-v0`.
_CODE = re.compile(r"([\w.]+):(?!//)\S+|([^\W\d]\w*(?:\.[^\W\d]\w*)+)")


def look_in(*folders: Path) -> None:
    """Names folders with modules that are installed nowhere.

    They join the import path with the first such module that is asked for: until then a file that
    lies there by chance, and has the name of an optional library, is not imported in its place.
    """
    _FOLDERS.extend(str(f) for f in folders if str(f) not in _FOLDERS)


def search_folders() -> None:
    """Lets all of Python find what lies in the named folders, behind what is installed."""
    sys.path.extend(folder for folder in _FOLDERS if folder not in sys.path)


def import_named(name: str) -> ModuleType:
    """Imports a module that a person has named.

    Raises:
        Exception: whatever the module raises; `ModuleNotFoundError` where there is none, and
            `ImportError` where no module can have such a name.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise ImportError(f"{name!r} is not a module name such as my_envs or my_envs.mazes")
    if not _is_found(name.partition(".")[0]):
        search_folders()
    return importlib.import_module(name)


def _is_found(top: str) -> bool:
    try:
        return top in sys.modules or importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def modules_named_in(written: Any) -> Iterator[str]:
    """The modules of all classes, functions and envs that plain data names, whatever the keys."""
    if isinstance(written, dict):
        for key, value in written.items():
            if key == "plugins" and isinstance(value, list):
                yield from (str(one) for one in value)
            else:
                yield from modules_named_in(value)
    elif isinstance(written, (list, tuple)):
        for value in written:
            yield from modules_named_in(value)
    elif isinstance(written, str):
        found = _CODE.fullmatch(written.strip())
        if found:
            yield found[1] or found[2].rpartition(".")[0]


def is_among(module: str, plugins: tuple[str, ...]) -> bool:
    """Whether a module is this project's, or one of some plugins or below it."""
    return any(module == one or module.startswith(f"{one}.") for one in (_OURS, *plugins))
