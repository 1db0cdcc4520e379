"""Meta-reinforcement learning on tasks that change while the agent acts: a Ray RLlib extension.

Importing this package imports neither ray nor torch. The algorithms are registered with Ray Tune as
soon as both are there, so ``Tuner("DynaMITE", ...)`` works after ``import rllib_metarl``. Their
classes are names of this package, imported when asked for: ``rllib_metarl.DynaMITEConfig``.
"""

from __future__ import annotations

import importlib as _importlib
import pathlib as _pathlib
from typing import Any as _Any

__version__ = "0.1.0"

# In a source tree `envs/` and `tuned_examples/` lie beside this package, not inside; an installed
# package has them inside. Either way they are imported as `rllib_metarl.envs` and so on.
_ROOT = _pathlib.Path(__file__).resolve().parent.parent
if (_ROOT / "envs" / "__init__.py").is_file() and (_ROOT / "setup.py").is_file():
    __path__.append(str(_ROOT))

from rllib_metarl._moved import find_moved  # noqa: E402
from rllib_metarl._registration import register, register_when_ray_is_there  # noqa: E402

find_moved()
register_when_ray_is_there()

__all__ = ["Checkpoint", "__version__", "load_agent", "register"]

_LATER = {"Checkpoint": "rllib_metarl.checkpoint", "load_agent": "rllib_metarl.serving.loading"}


def _classes() -> dict[str, _Any]:
    """The names of algorithms and configs, each with its entry in the table of algorithms."""
    from rllib_metarl.algorithms import ALGORITHMS

    entries = ALGORITHMS.values()
    return {name: e for e in entries for name in (e.algorithm_name, e.config_name)}


def __getattr__(name: str) -> _Any:
    if name in _LATER:
        return getattr(_importlib.import_module(_LATER[name]), name)
    if not name.startswith("_") and name in (known := _classes()):
        return known[name].load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_classes()})
