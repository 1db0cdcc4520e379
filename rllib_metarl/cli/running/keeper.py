"""Keeps a run such that it can be continued from whatever moment it is killed at."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from ray.tune import Callback

from rllib_metarl import checkpoints
from rllib_metarl.algorithms.base.spare import HIDDEN, finish
from rllib_metarl.cli.running.recovery import RECORD, ends_well, records, tunes_records
from rllib_metarl.errors import UserError

EVERY_S = 2.0
LOGS = ("result.json", "progress.csv")
SHARE = 0.05
"""Of the time, at most, that keeping may take."""


class Keeper(Callback):
    """Finishes each checkpoint once Tune has stored it, and keeps copies of Tune's own records.

    Tune copies its record of an experiment over the old one while it runs, so that a kill can leave
    half of it. The copies here are whole or are not chosen.

    Args:
        folder: the experiment's, on this machine.

    Attributes:
        problem: what went wrong with the newest checkpoint, if anything did.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problem: str | None = None
        self._kept: dict[str, tuple[int, int]] = {}
        self._next = 0.0
        self._there: dict[Path, tuple[int, int]] = {}
        self._written = folder

    def on_checkpoint(
        self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any
    ) -> None:
        """Called before Tune deletes older checkpoints; if this raises, they stay."""
        place = Path(checkpoint.path)
        if not place.is_dir():  # stored where only the trial's machine can see it
            return
        try:
            _keep_logs(trial.storage)
            finish(place, trial.last_result)
        except OSError as error:
            self.problem = storage_problem(place, error)
            raise
        self.problem = None

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Keeps Tune's records every so often, and looks whether the run's folders are there."""
        began = time.monotonic()
        if trials:  # from where a thread of Tune's copies them to the folder, one by one
            self._written = Path(trials[0].storage.experiment_driver_staging_path)
        if began >= self._next:
            self.check_folders(trials)
            self.keep()
            ended = time.monotonic()
            self._next = ended + max(EVERY_S, (ended - began) / SHARE)

    def check_folders(self, trials: list[Any]) -> None:
        """Makes sure that the run's folders are those that it began with.

        Raises:
            UserError: one was deleted; the run would train on, and leave next to nothing.
        """
        for place in {self.folder, *(Path(trial.storage.trial_fs_path) for trial in trials)}:
            if place.is_dir():
                found = place.stat()
                known = self._there.setdefault(place, (found.st_dev, found.st_ino))
                if known == (found.st_dev, found.st_ino):
                    continue
            if place in self._there:
                raise UserError(
                    f"{place} was deleted while the run wrote to it: training has stopped, and "
                    "there is nothing to go on from; start it again"
                )

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Keeps the last records."""
        self.keep()

    def keep(self) -> None:
        """Copies Tune's records if they are whole and have changed, all of one moment.

        Of two moments, the search might wait for a trial that the record calls ended, forever.

        Raises:
            UserError: the storage cannot be written.
        """
        if not self.folder.is_dir():
            return
        found = tunes_records(self._written if self._written.is_dir() else self.folder)
        stamps = {name: _stamp(path) for name, path in found.items()}
        if not found or stamps == self._kept or not all(map(ends_well, found.values())):
            return  # cut short, as by a full disk: the next time will do
        try:
            self._copy(found)
        except OSError as error:
            raise UserError(storage_problem(self.folder, error)) from None
        self._kept = stamps

    def _copy(self, found: dict[str, Path]) -> None:
        earlier = records(self.folder)
        number = (checkpoints.number_of(earlier[-1]) or 0) + 1 if earlier else 0
        new = self.folder / HIDDEN / RECORD.format(number)
        new.mkdir(parents=True)
        try:
            for name, path in found.items():
                shutil.copyfile(path, new / name)
            checkpoints.finish(new)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)
            raise
        for old in earlier:
            shutil.rmtree(old, ignore_errors=True)


def _keep_logs(storage: Any) -> None:
    """Puts the logs where the checkpoint is: Tune does so now and then, and a kill may come first.

    What the logs lack up to a checkpoint, a run that goes on from it never reports again.
    """
    staged, kept = Path(storage.trial_driver_staging_path), Path(storage.trial_fs_path)
    for name in LOGS:
        if (staged / name).is_file() and staged != kept:
            checkpoints.write_whole(kept / name, (staged / name).read_bytes())


def storage_problem(place: Path, error: OSError) -> str:
    """What to tell of a storage that cannot be written."""
    return (
        f"{place}: cannot be written: {error.strerror or error}. Older checkpoints are as they "
        "were: make room or fix the storage, then go on with --resume"
    )


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
