"""TensorBoard events with env steps on the x-axis and the tags of the metrics table."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray.tune.logger import LoggerCallback

from rllib_metarl.algorithms.base.snapshot import SNAPSHOT
from rllib_metarl.report.logged import Logged
from rllib_metarl.report.metric_table import METRICS
from rllib_metarl.report.metrics import flatten
from rllib_metarl.report.picture_tags import ENTROPIES

if TYPE_CHECKING:
    from ray.tune.experiment import Trial
    from tensorboardX import SummaryWriter

COMPARED = ("eval/return_mean", "eval/normalised_score", "train/return_mean")
"""Metrics that the HParams tab compares trials by."""


class TensorBoard(LoggerCallback):
    """Writes one event file per trial, beside its ``result.json``.

    Use it instead of Tune's own TensorBoard logger, which puts iterations on the x-axis and
    ``ray/tune/`` before every tag. After a resumption the curve goes on; points past the restored
    checkpoint are purged. Pictures are drawn here, not in the process that trains: of the newest
    evaluation, where they are slower than evaluations.

    Args:
        metric: result key that a sweep compares its trials by; the HParams tab has it too.
    """

    _SAVED_FILE_TEMPLATES = ["events.out.tfevents.*"]

    def __init__(self, metric: str | None = None) -> None:
        own = [one.tag for one in METRICS if metric in one.paths]
        self._compared = tuple(dict.fromkeys([*COMPARED, *own]))
        self._writers: dict[str, SummaryWriter] = {}
        self._logged = Logged()
        self._artist = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._drawing: dict[str, list[Future[None]]] = {}

    def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
        """Write all metrics of one training iteration, and pictures where it evaluated."""
        step, values = self._logged.of(trial.trial_id, result)
        writer = self._writers.get(trial.trial_id) or self._open(trial, step)
        for tag, value in values.items():
            writer.add_scalar(tag, value, global_step=step)
        snapshot = (result.get("evaluation") or {}).get(SNAPSHOT)
        if snapshot:
            self._draw_later(trial, writer, snapshot, step)
        writer.flush()

    def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
        """Close the trial's event file."""
        for job in self._drawing.pop(trial.trial_id, []):
            job.result()  # errors there are reported here
        writer = self._writers.pop(trial.trial_id, None)
        if writer is not None:
            writer.close()

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """Close what an interruption has left open."""
        for trial in trials:
            self.log_trial_end(trial)

    def _draw_later(
        self, trial: Trial, writer: SummaryWriter, snapshot: dict[str, Any], step: int
    ) -> None:
        """Not on this thread, for which all trials wait; a newer snapshot replaces a waiting one.

        A small env is evaluated faster than its pictures are drawn: what piled up would hold up the
        trial's end, and with it the whole sweep, by minutes.
        """
        left = [job for job in self._drawing.get(trial.trial_id, []) if not _is_over(job)]
        job = self._artist.submit(draw, writer, Path(trial.local_path), snapshot, step)
        self._drawing[trial.trial_id] = [*left, job]

    def _open(self, trial: Trial, step: int) -> SummaryWriter:
        from tensorboardX import SummaryWriter

        trial.init_local_path()
        # Points that an interrupted run drew beyond its last checkpoint are drawn again.
        writer = SummaryWriter(trial.local_path, flush_secs=30, purge_step=step)
        self._write_settings(writer, trial)
        self._writers[trial.trial_id] = writer
        return writer

    def _write_settings(self, writer: SummaryWriter, trial: Trial) -> None:
        """What the HParams tab shows: at the start, so that running trials are in it."""
        from tensorboardX.summary import hparams

        searched = trial.evaluated_params or {}
        shown = settings(
            {"algorithm": trial.trainable_name, "seed": trial.config.get("seed")} | searched
        )
        experiment, start, _ = hparams(shown, dict.fromkeys(self._compared))
        writer.file_writer.add_summary(experiment)
        writer.file_writer.add_summary(start)


def _is_over(job: Future[None]) -> bool:
    """Whether there is nothing left to wait for or to report of a job."""
    return job.cancel() or (job.done() and job.exception() is None)


def draw(writer: SummaryWriter, folder: Path, snapshot: dict[str, Any], step: int) -> None:
    """Images, histogram and projector of one held-out evaluation, see `picture_tags`."""
    from rllib_metarl.report.live import pictures, write_projector

    for tag, figure in pictures(snapshot).items():
        writer.add_figure(tag, figure, global_step=step, close=False)
    entropy = snapshot["entropy"]
    edges = entropy["edges"]
    writer.add_histogram_raw(
        ENTROPIES,
        edges[0],
        edges[-1],
        entropy["num"],
        entropy["sum"],
        entropy["sum_squares"],
        edges[1:],
        entropy["counts"],
        global_step=step,
    )
    writer.flush()
    write_projector(folder, snapshot["latents"])


def settings(written: dict[str, Any]) -> dict[str, bool | float | str]:
    """Settings as services that compare runs take them: flat, JSON where they are no scalars."""
    return {
        key: value if isinstance(value, (bool, int, float, str)) else json.dumps(value, default=str)
        for key, value in flatten(written).items()
        if value is not None
    }
