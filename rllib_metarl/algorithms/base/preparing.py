"""Progress before a run's first result, in a file of its folder for others to read."""

from __future__ import annotations

import time
from pathlib import Path

from rllib_metarl.checkpoints import write_whole

PREPARING = "preparing.txt"
EVERY_S = 1.0


class Preparing:
    """Keeps one line on what is being done, and the share of it that is, in a run's folder.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / PREPARING
        self._written = 0.0

    def tell(self, what: str, share: float) -> None:
        """Says what is being done, and how much of it is, 0 to 1; seldom enough to cost nothing."""
        if time.monotonic() - self._written < EVERY_S:
            return
        write_whole(self._file, f"{share:4.0%} {what}".encode())  # readers never see half a line
        self._written = time.monotonic()

    def end(self) -> None:
        """There are results from now on."""
        self._file.unlink(missing_ok=True)


def progress_in(folder: Path) -> str | None:
    """The line that a run in this folder keeps at the moment; None if it does not prepare."""
    try:
        return (folder / PREPARING).read_text(encoding="utf-8")
    except OSError:
        return None
