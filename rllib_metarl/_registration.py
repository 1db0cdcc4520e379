"""Registers the algorithms with Ray Tune, without importing Ray before the user does."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any


def register() -> None:
    """Makes `Tuner("DynaMITE", ...)` and ``run: DynaMITE`` work; calling it again does no harm."""
    from ray.tune.registry import register_trainable

    from rllib_metarl.algorithms import ALGORITHMS

    for name, entry in ALGORITHMS.items():
        register_trainable(name, entry.algorithm())


def register_when_ray_is_there() -> None:
    """Registers now if Ray Tune has been imported, else right after it will be."""
    if _complete("ray.tune") and (_complete("ray.rllib") or "ray.rllib" not in sys.modules):
        register()
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def _complete(name: str) -> bool:
    """Whether a module has been imported to its end."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", False)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Calls `register` once ray.tune is imported; if rllib is what imports it, once rllib is."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in ("ray.tune", "ray.rllib"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec

    def done(self, name: str) -> None:
        """Called after `name` ran; registers unless ray.rllib is still being imported."""
        if name == "ray.tune" and "ray.rllib" in sys.modules:
            return
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            register()


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any, owner: _AfterImport) -> None:
        self._loader = loader
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        # The loader has done its work: leave no trace of it, and say that the import is over.
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._owner.done(module.__name__)
