"""Whether a sweep's own file may name code: it may if it is as `rllib train` wrote it here."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from rllib_metarl import checkpoints, plugins
from rllib_metarl.errors import UserError
from rllib_metarl.report.sweep_data import EXPERIMENT, is_sweep_directory

SEALED = Path(".rllib", "sweep")
"""Where a sweep's directory keeps a sealed copy of its experiment file."""


def seal_experiment(directory: Path) -> None:
    """Keeps a sealed copy of a sweep's experiment file.

    Raises:
        OSError: it cannot be written.
    """
    folder = directory / SEALED
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(directory / EXPERIMENT, folder / EXPERIMENT)
    checkpoints.finish(folder)


def check_code(file: Path, written: Any, allowed: tuple[str, ...]) -> None:
    """Makes sure that a sweep's own experiment file, if this is one, does not choose what is run.

    Args:
        file: an experiment file.
        written: what it says.
        allowed: modules that the user named.

    Raises:
        UserError: it names other code, and is not as this user's `rllib train` wrote it here.
    """
    if file.name != EXPERIMENT or not is_sweep_directory(file.parent):
        return
    if checkpoints.is_trusting() or _is_as_written(file):
        return
    for module in plugins.modules_named_in(written):
        if not plugins.is_among(module, allowed):
            raise UserError(
                f"{file} names the module {module}, and this user's `rllib train` did not write it "
                f"here, or it was changed since: add --plugin {module} if that is the module you "
                f"mean, or --trust-checkpoint if you know where it is from; {checkpoints.WHY}"
            )


def _is_as_written(file: Path) -> bool:
    examined = checkpoints.examine(file.parent / SEALED)
    if not examined.own or EXPERIMENT not in examined.listed:
        return False
    size, digest = examined.listed[EXPERIMENT]
    try:
        return hashlib.sha256(checkpoints.read_plain(file, size)).hexdigest() == digest
    except OSError:
        return False
