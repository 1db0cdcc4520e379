"""What we start can be reached from this machine alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, TINY, finish, start, until_an_iteration

LISTENS = "0A"


def listening(pids: set[int]) -> set[str]:
    """Addresses, as the kernel writes them, at which processes listen for TCP connections."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(os.readlink(link))
            except OSError:  # it has just been closed
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net", table)
        for row in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = row.split()
            if fields[3] == LISTENS and f"socket:[{fields[9]}]" in inodes:
                found.add(fields[1].partition(":")[0])
    return found


def descendants(pid: int) -> set[int]:
    """A process and all that came of it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_training_listens_on_the_loopback_address_alone(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    process = start(
        *("train", "file", tmp_path / "tiny.yaml", "--storage-path", tmp_path / "results"),
        *("--stop", '{"training_iteration": 100000}'),
    )
    until_an_iteration(process)
    found = listening(descendants(process.pid))
    process.send_signal(signal.SIGINT)
    assert finish(process).code == 130
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert found and found <= loopback


def test_tensorboard_listens_on_the_loopback_address_alone() -> None:
    told = subprocess.run(
        ["make", "-n", "tensorboard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (line,) = (line for line in told.stdout.splitlines() if "bin/tensorboard" in line)
    assert "--host 127.0.0.1" in line
