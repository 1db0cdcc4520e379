"""Experiment trackers: the same numbers as in TensorBoard, by env steps, in W&B and MLflow.

Ray's own loggers for them write every number of a result, by iteration and under other names.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback

from rllib_metarl.errors import UserError, shortened
from rllib_metarl.report.logged import Logged
from rllib_metarl.report.tensorboard import settings


class Tracker(LoggerCallback):
    """One run of a service per trial; what goes wrong there never ends the training.

    Args:
        experiment: name of the experiment, by which its trials are grouped.
        folder: the storage path.
        tell: called with one note if the service fails; nothing more is then sent to it.
    """

    name: ClassVar[str]

    def __init__(self, experiment: str, folder: str, tell: Callable[[str], None]) -> None:
        self._experiment, self._folder, self._tell = experiment, folder, tell
        self._logged, self._runs, self._failed = Logged(), dict[str, Any](), False

    def log_trial_start(self, trial: Trial) -> None:
        """Begin the trial's run, or go on with it."""
        if trial.trial_id not in self._runs:
            self._trying(lambda: self._runs.update({trial.trial_id: self._begun(trial)}))

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Send the metrics of one iteration."""
        step, values = self._logged.of(trial.trial_id, result)
        if trial.trial_id in self._runs:
            self._trying(lambda: self._sent(self._runs[trial.trial_id], step, values))

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Close the trial's run."""
        run = self._runs.pop(trial.trial_id, None)
        if run is not None:
            self._trying(lambda: self._ended(run, failed))

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Close what an interruption has left open."""
        for trial in trials:
            self.log_trial_end(trial)

    def _trying(self, action: Callable[[], Any]) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:  # whatever a service or its network can raise
            self._failed = True
            self._tell(f"{self.name}: nothing more is sent there: {_reason(error)}")

    def _begun(self, trial: Trial) -> Any:
        raise NotImplementedError

    def _sent(self, run: Any, step: int, values: dict[str, float]) -> None:
        raise NotImplementedError

    def _ended(self, run: Any, failed: bool) -> None:
        raise NotImplementedError


class WeightsAndBiases(Tracker):
    """Weights & Biases; with ``WANDB_MODE=offline`` into the trial's folder, for ``wandb sync``.

    Raises:
        UserError: nobody is logged in, or the service cannot be reached.
    """

    name = "wandb"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        import wandb

        self._mode = os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
        if self._mode in {"offline", "disabled", "dryrun"}:
            return
        mend = "say `wandb login`, or set WANDB_MODE=offline and `wandb sync` the runs later"
        try:
            logged_in = wandb.login(prompt=False)
        except Exception as error:
            raise UserError(f"loggers: wandb: {_reason(error)}; {mend}") from None
        if not logged_in:
            raise UserError(f"loggers: wandb: nobody is logged in; {mend}")

    def _begun(self, trial: Trial) -> Any:
        import wandb

        trial.init_local_path()
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "rllib_metarl"),
            group=self._experiment,
            name=str(trial),
            id=trial.trial_id,
            config=settings({"algorithm": trial.trainable_name} | trial.config),
            dir=trial.local_path,
            mode=self._mode,
            resume="allow",
            reinit="create_new",  # trials run side by side
            settings=wandb.Settings(silent=True, console="off"),
        )

    def _sent(self, run: Any, step: int, values: dict[str, float]) -> None:
        run.log(values, step=step)

    def _ended(self, run: Any, failed: bool) -> None:
        run.finish(exit_code=int(failed))


class MLflow(Tracker):
    """MLflow's tracking; without ``MLFLOW_TRACKING_URI``, ``mlflow.db`` in the storage path.

    Raises:
        UserError: the tracking server, or its file, cannot be used.
    """

    name = "mlflow"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        for chatty in ("mlflow", "alembic"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        place = os.environ.get("MLFLOW_TRACKING_URI")
        if place is None and "://" in self._folder:
            raise UserError("loggers: mlflow: set MLFLOW_TRACKING_URI; the storage path is remote")
        folder = Path(self._folder).absolute()
        try:
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(place or f"sqlite:///{folder / 'mlflow.db'}")
            self._id = self._found_or_made(None if place else (folder / "mlflow").as_uri())
        except Exception as error:
            raise UserError(
                f"loggers: mlflow: {_reason(error)}; see MLFLOW_TRACKING_URI, now "
                f"{place or 'not set'}"
            ) from None

    def _found_or_made(self, artifacts: str | None) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(self._experiment, artifacts))

    def _begun(self, trial: Trial) -> str:
        earlier = self._client.search_runs([self._id], f"tags.trial_id = '{trial.trial_id}'")
        if earlier:
            self._client.update_run(earlier[0].info.run_id, "RUNNING")
            return str(earlier[0].info.run_id)
        tags = {"trial_id": trial.trial_id, "directory": trial.local_path}
        run = str(self._client.create_run(self._id, tags=tags, run_name=str(trial)).info.run_id)
        for key, value in settings({"algorithm": trial.trainable_name} | trial.config).items():
            self._client.log_param(run, key, shortened(str(value), 500))
        return run

    def _sent(self, run: str, step: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(run, [Metric(tag, v, now, step) for tag, v in values.items()])

    def _ended(self, run: str, failed: bool) -> None:
        self._client.set_terminated(run, "FAILED" if failed else "FINISHED")


def _reason(error: Exception) -> str:
    return shortened(" ".join(str(error).split()) or type(error).__name__, 300)
