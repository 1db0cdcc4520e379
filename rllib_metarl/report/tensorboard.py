"""TensorBoard events with env steps on the x-axis and the tags of the metrics table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray.tune.logger import LoggerCallback

from rllib_metarl.report.metrics import ENV_STEPS, extras, tagged

if TYPE_CHECKING:
    from ray.tune.experiment import Trial
    from tensorboardX import SummaryWriter


class TensorBoard(LoggerCallback):
    """Writes one event file per trial, beside its ``result.json``.

    Use it instead of Tune's own TensorBoard logger, which puts iterations on the x-axis and
    ``ray/tune/`` before every tag. After a resumption the curve goes on; points past the restored
    checkpoint are purged.
    """

    _SAVED_FILE_TEMPLATES = ["events.out.tfevents.*"]

    def __init__(self) -> None:
        self._writers: dict[str, SummaryWriter] = {}
        self._evaluated_at: dict[str, float] = {}

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Write all metrics of one training iteration."""
        step = int(result.get(ENV_STEPS) or result.get("training_iteration", 0))
        writer = self._writers.get(trial.trial_id) or self._open(trial, step)
        values = {**tagged(result), **extras(result)}
        if self._is_repeated(trial.trial_id, values.get("eval/at_env_steps")):
            values = {tag: v for tag, v in values.items() if not tag.startswith("eval/")}
        for tag, value in values.items():
            writer.add_scalar(tag, value, global_step=step)
        writer.flush()

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Close the trial's event file."""
        writer = self._writers.pop(trial.trial_id, None)
        if writer is not None:
            writer.close()

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Close what an interruption has left open."""
        for trial in trials:
            self.log_trial_end(trial)

    def _is_repeated(self, trial: str, evaluated_at: float | None) -> bool:
        """Whether this iteration only repeats an evaluation that has been drawn already."""
        if evaluated_at is None:
            return False
        repeated = self._evaluated_at.get(trial) == evaluated_at
        self._evaluated_at[trial] = evaluated_at
        return repeated

    def _open(self, trial: Trial, step: int) -> SummaryWriter:
        from tensorboardX import SummaryWriter

        trial.init_local_path()
        # Points that an interrupted run drew beyond its last checkpoint are drawn again.
        writer = SummaryWriter(trial.local_path, flush_secs=30, purge_step=step)
        self._writers[trial.trial_id] = writer
        return writer
