"""`rllib train` killed again and again goes on to the very numbers of a run that was left alone."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import TINY, finish, start, until_an_iteration
from tests.reliability.resuming import told

KILLS = 30


def _train(folder: Path, iterations: int, *more: object) -> Any:
    folder.mkdir(exist_ok=True)
    file = folder / "tiny.yaml"
    file.write_text(TINY)
    stop = json.dumps({"training_iteration": iterations})
    places = ("--storage-path", folder, "--stop", stop)
    return start("train", "file", file, *places, "--checkpoint-freq", 1, *more)


def _reported(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("tiny/*/result.json")
    return [json.loads(line) for line in path.read_text().splitlines()]


def _kill_later(process: Any, delay_s: float) -> None:
    """SIGKILL, so long after the first iteration that it tells of."""
    until_an_iteration(process)
    try:
        process.wait(delay_s)
    except Exception:
        process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()


@pytest.mark.slow
def test_a_driver_killed_thirty_times_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    rng = random.Random(0)
    _kill_later(_train(tmp_path / "killed", 10_000, "--keep-checkpoints-num", 1), 1.0)
    for _ in range(KILLS - 1):
        again = _train(tmp_path / "killed", 10_000, "--keep-checkpoints-num", 1, "--resume")
        _kill_later(again, 3 * rng.random())
    reached = len(_reported(tmp_path / "killed"))
    ended = finish(_train(tmp_path / "killed", reached + 2, "--resume"))
    assert ended.code == 0, ended.err
    alone = finish(_train(tmp_path / "alone", reached + 2))
    assert alone.code == 0, alone.err
    killed, expected = (_reported(tmp_path / name) for name in ("killed", "alone"))
    assert [r["training_iteration"] for r in killed] == list(range(1, reached + 3))
    for one, other in zip(killed, expected, strict=True):
        assert {k: v.tolist() for k, v in told(one).items()} == pytest.approx(
            {k: v.tolist() for k, v in told(other).items()}, rel=0, abs=0, nan_ok=True
        )
