"""A run's folder that is deleted under it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rllib_metarl.cli.running.keeper import Keeper
from rllib_metarl.errors import UserError


def _trial(folder: Path) -> Any:
    folder.mkdir(parents=True)
    return SimpleNamespace(storage=SimpleNamespace(trial_fs_path=str(folder)))


@pytest.mark.parametrize("made_again", [False, True])
@pytest.mark.parametrize("which", ["run", "run/one"])
def test_a_deleted_folder_ends_the_run_with_one_message(
    tmp_path: Path, which: str, made_again: bool
) -> None:
    trial, keeper = _trial(tmp_path / "run" / "one"), Keeper(tmp_path / "run")
    keeper.check_folders([trial])
    keeper.check_folders([trial])
    kept = tmp_path / "kept"  # so that the new folder is not the old one's inode
    shutil.move(tmp_path / which, kept)
    if made_again:
        (tmp_path / which).mkdir(parents=True)
    with pytest.raises(UserError, match="was deleted while the run wrote to it.*start it again"):
        keeper.check_folders([trial])


def test_a_folder_that_is_not_there_yet_is_no_fault(tmp_path: Path) -> None:
    Keeper(tmp_path / "run").check_folders([])
