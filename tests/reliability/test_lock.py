"""One driver for one experiment's folder."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rllib_metarl.cli.running.lock import locked
from rllib_metarl.errors import UserError
from tests.cli.conftest import ROOT

HOLD = """
import sys, time
from pathlib import Path
from rllib_metarl.cli.running.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_driver_is_refused_until_the_first_one_ends_however_it_ends(
    tmp_path: Path,
) -> None:
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    first = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=rf"is in use by another .*process {first.pid} on "):
        with locked(tmp_path):
            pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    with locked(tmp_path):  # nothing to clean up by hand
        pass
    with locked(tmp_path):
        pass


def test_another_experiment_is_not_in_the_way(tmp_path: Path) -> None:
    with locked(tmp_path / "one"), locked(tmp_path / "two"):
        pass


def test_a_folder_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/run: cannot be written: Not a directory"):
        with locked(tmp_path / "file" / "run"):
            pass
