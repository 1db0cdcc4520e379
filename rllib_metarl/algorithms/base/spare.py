"""A spare checkpoint now and then, for runs whose iterations are longer than a signal can wait."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

from ray.tune.utils.util import SafeFallbackEncoder

from rllib_metarl import checkpoints

HIDDEN = ".rllib"
"""In a run's or a trial's folder: what only `rllib train --resume` looks at."""
RESULT = "iteration.json"
"""In a checkpoint: what the trial had reported when it was taken."""
WANTED = "RLLIB_METARL_SPARE_CHECKPOINTS"
"""Set in the processes of `rllib train`, which knows what to do with them."""
LONG_S = 2.0
SHARE = 0.02
"""Of the time, at most, that writing them may take."""


class Spare:
    """Keeps the state after the last iteration on disk while a long one goes on.

    One is written where the last iteration took `LONG_S` or more, and takes the place of the one
    before. A run that is ended in the middle of an iteration goes on from it
    (`rllib_metarl.cli.running.recovery.newest_state`); nothing else knows of it.
    """

    def __init__(self) -> None:
        self._next = 0.0 if os.environ.get(WANTED) else math.inf

    def look(self, algorithm: Any, folder: Path) -> None:
        """To be called between two iterations.

        Args:
            algorithm: what has just reported, if it has.
            folder: the trial's.
        """
        began, result = time.monotonic(), algorithm._last_result
        if began < self._next or not result or result["time_this_iter_s"] < LONG_S:
            return
        place = folder / HIDDEN / f"checkpoint_{result['training_iteration']:06}"
        with contextlib.suppress(OSError):  # a full disk ends a run when it must write
            _write(algorithm, result, place)
        if not checkpoints.is_whole(place):
            shutil.rmtree(place, ignore_errors=True)
        for older in checkpoints.numbered(place.parent):
            if older != place and checkpoints.is_whole(place):
                shutil.rmtree(older, ignore_errors=True)
        ended = time.monotonic()
        self._next = ended + (ended - began) / SHARE


def _write(algorithm: Any, result: dict[str, Any], place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    algorithm.save_to_path(str(place))
    finish(place, result)


def finish(place: Path, result: dict[str, Any] | None) -> None:
    """Makes a checkpoint whole, with what its run had reported up to it, if anything.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(result or {}, cls=SafeFallbackEncoder)
    (place / RESULT).write_text(text, encoding="utf-8")
    checkpoints.finish(place)
