"""The key ``loggers`` of an experiment: what writes its numbers beside ``result.json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ray.tune import Callback
from ray.tune.logger import CSVLoggerCallback

from rllib_metarl.report.tensorboard import TensorBoard
from rllib_metarl.report.trackers import MLflow, WeightsAndBiases

if TYPE_CHECKING:
    from rllib_metarl.cli.experiment.prepare import Prepared


def made(experiment: Prepared, tell: Callable[[str], None]) -> list[Callback]:
    """The loggers of an experiment, connected.

    Raises:
        UserError: one cannot be reached, or nobody is logged in there.
    """
    spec, place = experiment.spec, (experiment.name, experiment.storage, tell)
    makers: dict[str, Callable[[], Callback]] = {
        "tensorboard": lambda: TensorBoard(spec.metric),
        "csv": CSVLoggerCallback,
        "wandb": lambda: WeightsAndBiases(*place),
        "mlflow": lambda: MLflow(*place),
    }
    return [makers[name]() for name in dict.fromkeys(spec.loggers)]
