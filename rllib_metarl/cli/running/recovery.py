"""Continuing a run that was killed: Tune's records as they last were whole, whole checkpoints."""

from __future__ import annotations

import collections
import contextlib
import csv
import io
import json
import pickletools
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.train._internal.session import _TrainingResult
from ray.tune import Callback, Checkpoint

from rllib_metarl import checkpoints
from rllib_metarl.algorithms.base.spare import HIDDEN, RESULT
from rllib_metarl.errors import UserError
from rllib_metarl.reading import field, parse_json

RECORD = "record_{:06}"
ASIDE = "aside"
"""Where files go that Tune would take for its records."""

# What Tune writes into an experiment's folder, one file a session.
_TUNES_OWN = re.compile(r"[a-z_-]+-\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d\.(json|pkl)")
# What Tune takes for such, of which it reads the last by name.
_READ_BY_TUNE = re.compile(
    r"(experiment_state|basic-variant-state|search_gen_state)-.*\.json"
    r"|(searcher-state|callback-states)-.*\.pkl",
    re.DOTALL,
)
_PICKLE = b"\x80"
_DECISIONS = ("_cached_trial_decisions", "_queued_trial_decisions")


def records(folder: Path) -> list[Path]:
    """The copies of Tune's records that `Keeper` made, oldest first, whole or not."""
    return checkpoints.numbered(folder / HIDDEN, "record")


def last_record(folder: Path) -> Path | None:
    """The newest copy that is whole and trusted."""
    return next(filter(checkpoints.is_usable, reversed(records(folder))), None)


def tunes_records(folder: Path) -> dict[str, Path]:
    """The files in which Tune keeps what it knows of an experiment."""
    return {p.name: p for p in folder.iterdir() if _TUNES_OWN.fullmatch(p.name)}


def check_own(folder: Path) -> None:
    """Makes sure that nothing in a run's folder came from elsewhere: what is read of it is pickled.

    Raises:
        UserError: something may have, and the user has not said that it is to be trusted; or it
            holds pipes, devices or links where Tune reads and writes files.
    """
    if last_record(folder) is None and not checkpoints.is_trusting():
        raise UserError(
            f"--resume: {folder} was not written by this user on this machine (or by an earlier "
            "version); continuing it runs code that it holds. If you know where it is from, add "
            f"--trust-checkpoint; {checkpoints.WHY}"
        )
    _check_plain(folder)
    for trial in _trials(folder):
        _check_plain(trial)
        newest = checkpoints.newest_whole(checkpoints.numbered(trial))
        if newest is not None:
            checkpoints.require_trust(newest)


def _check_plain(folder: Path) -> None:
    """Tune and its loggers open what lies here, to read it, to copy it or to write on."""
    for path in folder.iterdir():
        folders = path.suffix not in (".json", ".pkl") and path.is_dir()
        if not folders and not stat.S_ISREG(path.lstat().st_mode):
            raise UserError(
                f"--resume: {path} is not a regular file, which runs never write: remove it"
            )


def restore_records(folder: Path, tell: Callable[[str], None] = lambda note: None) -> None:
    """Puts Tune's records back to where they were last whole; without a copy they stay.

    Tune reads whatever is named as its records are, the last by name. What is not among those of
    the copy is set aside, so that it neither is read nor gets lost.

    Args:
        folder: the experiment's.
        tell: called with the names of files that were moved.

    Raises:
        UserError: there is no copy, and Tune's own are cut short; or they cannot be written.
    """
    record = last_record(folder)
    if record is None:
        broken = [path for path in tunes_records(folder).values() if not ends_well(path)]
        if broken:
            raise UserError(f"--resume: {broken[0]} is truncated, and there is no copy of it")
        wanted = set(tunes_records(folder))
    else:
        wanted = set(_put_back(record, folder))
    try:
        for name in sorted(set(_read_by_tune(folder)) - wanted):
            aside = folder / HIDDEN / ASIDE
            aside.mkdir(parents=True, exist_ok=True)
            (folder / name).replace(aside / name)
            if not _TUNES_OWN.fullmatch(name):
                tell(f"{folder / name} is not one of Tune's records: it has been moved to {aside}")
        for name in wanted:
            if name.startswith("experiment_state"):
                _forget_decisions(folder / name)
    except OSError as error:
        raise UserError(f"--resume: {folder}: {error.strerror}") from None


def _forget_decisions(state: Path) -> None:
    """Takes out what was to be done once a checkpoint had been saved; Tune would do it at the next.

    A trial whose `stop` is now later would end all the same, one of HyperBand's pause forever.
    """
    with contextlib.suppress(ValueError, AttributeError):  # no record, which Tune will say
        content = parse_json(state.read_bytes(), written_by_hand=True)  # as it is
        made = [key for key in _DECISIONS if content.get("runner_data", {}).get(key)]
        if made:
            content["runner_data"].update(dict.fromkeys(made, {}))
            checkpoints.write_whole(state, json.dumps(content).encode())


def _put_back(record: Path, folder: Path) -> list[str]:
    """Writes the files of a record, which are as its list says; returns their names."""
    try:
        listed = checkpoints.examine(record).listed
        names = [name for name in listed if _TUNES_OWN.fullmatch(name)]
        for name in names:
            content = checkpoints.read_listed(record, name, listed[name])
            checkpoints.write_whole(folder / name, content)
    except OSError as error:
        raise UserError(f"--resume: {folder}: {error.strerror}") from None
    return names


def _read_by_tune(folder: Path) -> list[str]:
    """Names of all files that Tune would read as its records, whoever wrote them."""
    return [path.name for path in folder.iterdir() if _READ_BY_TUNE.fullmatch(path.name)]


def ends_well(path: Path) -> bool:
    """Whether one of Tune's files is not cut short; some of those called JSON are pickles."""
    try:
        content = path.read_bytes()
        if content.startswith(_PICKLE):
            collections.deque(pickletools.genops(content), maxlen=0)  # reads, runs nothing
        else:
            parse_json(content)
    except (OSError, ValueError):
        return False
    return True


class Recovery(Callback):
    """Before the first step of a resumed run, lets each trial go on from its last whole checkpoint.

    What a trial reported after that checkpoint is taken out of its logs, for it will come again.

    Args:
        folder: the experiment's.
        tell: called with notes for the user.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._kept = last_record(folder) is not None  # else Tune's own word has to do
        self._tell = tell
        self._done = False

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Called before any trial has begun."""
        if self._kept and not self._done:
            for trial in trials:
                if trial.status == trial.PENDING:
                    self._choose(trial)
        self._done = True

    def _choose(self, trial: Any) -> None:
        folder = Path(trial.storage.trial_fs_path)
        newest_state(folder)
        whole = [one for one in checkpoints.numbered(folder) if checkpoints.is_usable(one)]
        if not whole and trial.restore_path:  # it begins again from what it was once given
            checkpoints.require_trust(Path(trial.restore_path))
        last = checkpoints.number_of(whole[-1]) if whole else -1
        assert last is not None
        for cut in checkpoints.numbered(folder)[::-1]:
            if (checkpoints.number_of(cut) or 0) > last:
                self._tell(f"{cut} is incomplete: removed; the run continues from the previous one")
                shutil.rmtree(cut, ignore_errors=True)
        results = [_result_of(checkpoint) for checkpoint in whole]
        reached = results[-1].metrics if results else {}
        manager = trial.run_metadata.checkpoint_manager
        manager._checkpoint_results = results
        manager._latest_checkpoint_result = results[-1] if results else None
        trial.storage.current_checkpoint_index = last
        trial.run_metadata.last_result = dict(reached)
        trial.invalidate_json_state()
        trial.run_metadata.invalidate_cache()
        cut_logs(folder, int(reached.get("training_iteration", 0)))


def newest_state(trial: Path) -> tuple[Path | None, int]:
    """The newest usable checkpoint of a trial and its iteration; a newer spare one becomes one."""
    usable = [one for one in checkpoints.numbered(trial) if checkpoints.is_usable(one)]
    reached = _reached(usable[-1]) if usable else 0
    for spare in checkpoints.numbered(trial / HIDDEN)[::-1]:
        if checkpoints.is_usable(spare) and _reached(spare) > reached:
            last = [checkpoints.number_of(one) or 0 for one in checkpoints.numbered(trial)]
            place = trial / f"checkpoint_{max(last, default=-1) + 1:06}"
            return spare.rename(place), _reached(place)
    return (usable[-1], reached) if usable else (None, 0)


def _reached(checkpoint: Path) -> int:
    return int(_result_of(checkpoint).metrics.get("training_iteration", 0))


def _result_of(checkpoint: Path) -> Any:
    try:
        metrics = parse_json((checkpoint / RESULT).read_bytes())
        field(metrics, "training_iteration", int, float, default=0)
    except (OSError, ValueError):
        metrics = {}
    return _TrainingResult(Checkpoint.from_directory(str(checkpoint)), metrics)


def cut_logs(trial: Path, iteration: int) -> None:
    """Takes what came after an iteration, and what is cut short, out of a trial's logs."""
    path = trial / "result.json"
    if path.is_file():
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if _iteration_of(line) <= iteration]
        if kept != lines:
            checkpoints.write_whole(path, b"".join(kept))
    path = trial / "progress.csv"
    if path.is_file():
        _cut_table(path, iteration)


def _iteration_of(line: bytes) -> float:
    try:
        return float(parse_json(line)["training_iteration"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _cut_table(path: Path, iteration: int) -> None:
    try:
        header, *rows = list(csv.reader(io.StringIO(path.read_text()))) or [[]]
    except (csv.Error, ValueError):  # no table: nobody here reads it
        return
    if "training_iteration" not in header:
        return
    column = header.index("training_iteration")
    kept = [r for r in rows if len(r) == len(header) and _number(r[column]) <= iteration]
    if kept != rows:
        text = io.StringIO()
        csv.writer(text, lineterminator="\r\n").writerows([header, *kept])
        checkpoints.write_whole(path, text.getvalue().encode())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")


def _trials(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.is_dir() and p.name != HIDDEN]
