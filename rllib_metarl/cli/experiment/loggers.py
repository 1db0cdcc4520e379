"""The key ``loggers``: which there are, and whether what they need is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from rllib_metarl.spelling import suggestion

LOGGERS: dict[str, tuple[str, ...]] = {
    "tensorboard": (),
    "csv": (),
    "wandb": ("wandb",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}
"""Name -> the modules of the extra ``loggers`` that it imports."""


def check_loggers(names: list[str], error_at: Any) -> None:
    """Make sure that each logger exists and can be imported.

    Raises:
        UserError: one does not, or cannot.
    """
    for index, name in enumerate(names):
        if name not in LOGGERS:
            raise error_at(
                ("loggers", index),
                f"loggers: there is no '{name}'{suggestion(name, LOGGERS)} "
                f"(known: {', '.join(LOGGERS)})",
            )
        missing = [module for module in LOGGERS[name] if find_spec(module) is None]
        if missing:
            raise error_at(
                ("loggers", index),
                f"loggers: {name} needs {' and '.join(missing)}: "
                "pip install 'rllib-metarl[loggers]'",
            )
