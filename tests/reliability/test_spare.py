"""Spare checkpoints, and which state a run goes on from that had to end in mid-iteration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rllib_metarl import checkpoints
from rllib_metarl.algorithms.base.spare import HIDDEN, RESULT, WANTED, Spare
from rllib_metarl.cli.running.recovery import newest_state


class Algorithm:
    """Writes what an algorithm writes, as far as a spare checkpoint is concerned."""

    _last_result: dict[str, Any] | None = None

    def report(self, iteration: int, seconds: float) -> None:
        self._last_result = {"training_iteration": iteration, "time_this_iter_s": seconds}

    def save_to_path(self, path: str) -> None:
        (Path(path) / "state.pkl").write_bytes(b"state")


def written(trial: Path, kind: str, iteration: int) -> Path:
    """A whole checkpoint, `kind` a checkpoint of Tune's or a spare one."""
    place = trial / kind / f"checkpoint_{iteration:06}"
    place.mkdir(parents=True)
    (place / "state.pkl").write_bytes(b"state")
    (place / RESULT).write_text(json.dumps({"training_iteration": iteration}))
    checkpoints.finish(place)
    return place


def spares(trial: Path) -> list[str]:
    return [
        place.name for place in filter(checkpoints.is_whole, checkpoints.numbered(trial / HIDDEN))
    ]


def test_after_a_long_iteration_one_is_written_and_the_older_one_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WANTED, "1")
    spare, algorithm, seen = Spare(), Algorithm(), []
    for iteration, seconds in enumerate([0.5, 9.0, 0.5, 9.0], start=1):
        spare.look(algorithm, tmp_path)
        algorithm.report(iteration, seconds)
        spare.look(algorithm, tmp_path)
        spare._next = 0.0
        seen.append(spares(tmp_path))
    assert seen == [[], ["checkpoint_000002"], ["checkpoint_000002"], ["checkpoint_000004"]]


def test_writing_them_takes_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WANTED, "1")
    monkeypatch.setattr("rllib_metarl.algorithms.base.spare.SHARE", 1e-9)
    spare, algorithm = Spare(), Algorithm()
    for iteration in (1, 2):
        algorithm.report(iteration, 9.0)
        spare.look(algorithm, tmp_path)
    assert spares(tmp_path) == ["checkpoint_000001"]


def test_none_is_written_outside_of_the_command_or_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = Algorithm()
    algorithm.report(1, 9.0)
    monkeypatch.delenv(WANTED, raising=False)
    Spare().look(algorithm, tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv(WANTED, "1")
    monkeypatch.setattr(Algorithm, "save_to_path", lambda *_: (_ for _ in ()).throw(OSError(28)))
    Spare().look(algorithm, tmp_path)
    assert not list((tmp_path / HIDDEN).iterdir())


def test_a_spare_one_that_is_newer_becomes_a_checkpoint(tmp_path: Path) -> None:
    assert newest_state(tmp_path) == (None, 0)
    written(tmp_path, HIDDEN, 3)
    assert newest_state(tmp_path) == (tmp_path / "checkpoint_000000", 3)
    (tmp_path / "checkpoint_000007").mkdir()  # cut short: its number is taken all the same
    written(tmp_path, HIDDEN, 5)
    assert newest_state(tmp_path) == (tmp_path / "checkpoint_000008", 5)


def test_one_that_is_older_cut_short_or_from_elsewhere_does_not(tmp_path: Path) -> None:
    own = written(tmp_path, "", 4)
    written(tmp_path, HIDDEN, 4)
    (written(tmp_path, HIDDEN, 5) / "state.pkl").write_bytes(b"cut")
    (written(tmp_path, HIDDEN, 6) / "more.pkl").write_bytes(b"planted")
    assert newest_state(tmp_path) == (own, 4)
