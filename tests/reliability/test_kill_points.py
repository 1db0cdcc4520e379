"""A run killed at any moment leaves a whole checkpoint and a whole record to go on from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rllib_metarl import checkpoints
from rllib_metarl.checkpoint import find
from rllib_metarl.cli.running.keeper import Keeper
from rllib_metarl.cli.running.recovery import Recovery, last_record, restore_records
from tests.reliability.killing import killed_at

STATE = "experiment_state-2026-01-02_03-04-05.json"
FILES = ("rllib_checkpoint.json", "algorithm_state.pkl", "learner_group/learner/state.pkl")


def store(trial: Path, number: int) -> Path:
    """A checkpoint as Tune stores it: file after file."""
    folder = trial / f"checkpoint_{number:06}"
    for name in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            file.write(content(name, number)[:200])
            file.flush()
            open(file.fileno(), closefd=False).close()  # so that a kill may cut a file, too
            file.write(content(name, number)[200:])
    return folder


def content(name: str, number: int) -> str:
    return f"{name} {number} " * 40


def report(trial: Path, iteration: int) -> dict[str, Any]:
    """What JsonLoggerCallback leaves of an iteration."""
    result = {"training_iteration": iteration, "num_env_steps_sampled_lifetime": 10 * iteration}
    with (trial / "result.json").open("a") as file:
        file.write(json.dumps(result) + "\n")
    return result


def storage(trial: Path) -> Any:
    """Where Tune keeps a trial, and where it writes its logs at first."""
    staged = trial.parents[1] / "staged"
    staged.mkdir(exist_ok=True)
    return SimpleNamespace(trial_fs_path=str(trial), trial_driver_staging_path=str(staged))


def iterate(experiment: Path, keeper: Keeper, number: int, *, keep: int = 1) -> None:
    """One iteration with a checkpoint, in the order in which Tune does things."""
    trial = experiment / "trial"
    place = storage(trial)
    staged = Path(place.trial_driver_staging_path)
    if (trial / "result.json").exists():
        shutil.copyfile(trial / "result.json", staged / "result.json")
    result = report(staged, number + 1)
    folder = store(trial, number)
    tunes = SimpleNamespace(last_result=result, storage=place)
    keeper.on_checkpoint(0, [], tunes, SimpleNamespace(path=str(folder)))
    for old in checkpoints.numbered(trial)[:-keep]:
        shutil.rmtree(old)
    (experiment / STATE).write_text(json.dumps({"trial_data": [number] * 50}))
    keeper.keep()


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that has come to its first checkpoint."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    folder = tmp_path / "experiment"
    (folder / "trial").mkdir(parents=True)
    iterate(folder, Keeper(folder), 0)
    return folder


def whole_numbers(experiment: Path) -> list[int]:
    """Which checkpoints count as whole; that they are is checked here by their content."""
    found = list(filter(checkpoints.is_whole, checkpoints.numbered(experiment / "trial")))
    numbers = [number for number in map(checkpoints.number_of, found) if number is not None]
    for folder, number in zip(found, numbers, strict=True):
        for name in FILES:
            assert (folder / name).read_text() == content(name, number)
    return numbers


def swept(experiment: Path, act: Callable[[Path], None]) -> list[tuple[int, Path]]:
    """Copies of the experiment, each left by a kill at another operation; the last by none."""
    left = []
    for operation in range(1000):
        copy = experiment.with_name(f"killed-{operation}")
        shutil.copytree(experiment, copy)
        killed = killed_at(operation, lambda copy=copy: act(copy))
        left.append((operation, copy))
        if not killed:
            return left
    raise AssertionError("no end to it")


def test_wherever_a_run_is_killed_there_is_a_whole_checkpoint_to_go_on_from(
    experiment: Path,
) -> None:
    left = swept(experiment, lambda folder: iterate(folder, Keeper(folder), 1))
    assert len(left) > 30
    chosen = [whole_numbers(folder) for _, folder in left]
    assert all(chosen), "at some moment there is none"
    assert {tuple(numbers) for numbers in chosen} == {(0,), (0, 1), (1,)}
    assert [numbers[-1] for numbers in chosen] == sorted(numbers[-1] for numbers in chosen)
    for numbers, (_, folder) in zip(chosen, left, strict=True):
        lines = (folder / "trial" / "result.json").read_text().splitlines()
        told = [json.loads(line)["training_iteration"] for line in lines]
        assert told[: numbers[-1] + 1] == list(range(1, numbers[-1] + 2)), "none is missing"
        assert find(folder).name in {f"checkpoint_{n:06}" for n in numbers}


def test_wherever_a_run_is_killed_there_is_a_whole_record_to_go_on_from(experiment: Path) -> None:
    for _, folder in swept(experiment, lambda folder: iterate(folder, Keeper(folder), 1)):
        record = last_record(folder)
        assert record is not None
        restore_records(folder)
        told = json.loads((folder / STATE).read_text())
        assert told["trial_data"] in ([0] * 50, [1] * 50)


def test_a_record_is_of_one_moment_while_tune_copies_its_files(experiment: Path) -> None:
    search, staged = "search_gen_state-2026-01-02_03-04-05.json", experiment / "driver_artifacts"
    staged.mkdir()
    for name in (STATE, search):
        (staged / name).write_text('{"moment": 2}')
    (experiment / STATE).write_text('{"moment": 2}')
    (experiment / search).write_text('{"moment": 1}')
    place = SimpleNamespace(
        trial_fs_path=str(experiment / "trial"), experiment_driver_staging_path=str(staged)
    )
    Keeper(experiment).on_step_end(0, [SimpleNamespace(storage=place)])
    restore_records(experiment)
    told = [json.loads((experiment / name).read_text()) for name in (STATE, search)]
    assert told == [{"moment": 2}] * 2


def test_what_was_decided_of_a_trial_before_the_kill_is_not_done_after_it(experiment: Path) -> None:
    """Tune keeps it with its record, and would stop or pause the trial at its next checkpoint."""
    known = {"_iteration": 7, "_total_time": 1.5, "_stopper": "00ff"}
    decided = {"_cached_trial_decisions": {"t": "STOP"}, "_queued_trial_decisions": {"t": "PAUSE"}}
    state = {"trial_data": [["{}", "{}"]], "runner_data": known | decided}
    (experiment / STATE).write_text(json.dumps(state))
    Keeper(experiment).keep()
    restore_records(experiment)
    emptied = state | {"runner_data": known | dict.fromkeys(decided, {})}
    assert json.loads((experiment / STATE).read_text()) == emptied


def test_recovery_can_itself_be_killed(experiment: Path) -> None:
    trial = experiment / "trial"
    half = store(trial, 1)
    (half / FILES[1]).unlink()
    report(trial, 2)
    (experiment / STATE).write_text('{"trial_data": [[')

    def recover(folder: Path) -> None:
        restore_records(folder)
        Recovery(folder, print).on_step_begin(0, [tunes_trial(folder / "trial")])

    left = swept(experiment, recover)
    assert len(left) > 30
    for _, folder in left:
        recover(folder)
        assert json.loads((folder / STATE).read_text())["trial_data"] == [0] * 50
        assert [f.name for f in checkpoints.numbered(folder / "trial")] == ["checkpoint_000000"]
        lines = (folder / "trial" / "result.json").read_text().splitlines()
        assert [json.loads(line)["training_iteration"] for line in lines] == [1]


def tunes_trial(folder: Path) -> Any:
    """As much of Tune's trial as recovery touches."""
    manager = SimpleNamespace(_checkpoint_results=["gone"], _latest_checkpoint_result="gone")
    metadata = SimpleNamespace(
        checkpoint_manager=manager, last_result={}, invalidate_cache=lambda: None
    )
    storage = SimpleNamespace(trial_fs_path=str(folder), current_checkpoint_index=7)
    return SimpleNamespace(
        status="PENDING",
        PENDING="PENDING",
        storage=storage,
        run_metadata=metadata,
        invalidate_json_state=lambda: None,
    )


def test_a_trial_goes_on_from_its_last_whole_checkpoint_with_what_it_had_reported_by_then(
    experiment: Path,
) -> None:
    trial = experiment / "trial"
    iterate(experiment, Keeper(experiment), 1, keep=5)
    report(trial, 3)
    with (trial / "result.json").open("a") as file:
        file.write('{"training_iteration": 4, "num_env')
    (trial / "progress.csv").write_text("training_iteration,x\r\n1,5\r\n2,6\r\n3,7\r\n4")
    (store(trial, 2) / FILES[0]).unlink()
    told: list[str] = []
    tunes = tunes_trial(trial)
    Recovery(experiment, told.append).on_step_begin(0, [tunes])
    manager = tunes.run_metadata.checkpoint_manager
    assert manager._latest_checkpoint_result.checkpoint.path == str(trial / "checkpoint_000001")
    assert manager._latest_checkpoint_result.metrics["training_iteration"] == 2
    assert len(manager._checkpoint_results) == 2 and tunes.storage.current_checkpoint_index == 1
    assert tunes.run_metadata.last_result["num_env_steps_sampled_lifetime"] == 20
    assert len(told) == 1 and "checkpoint_000002 is incomplete" in told[0]
    lines = (trial / "result.json").read_text().splitlines()
    assert [json.loads(line)["training_iteration"] for line in lines] == [1, 2]
    assert (trial / "progress.csv").read_text() == "training_iteration,x\n1,5\n2,6\n"


def test_a_file_that_is_missing_or_changed_makes_a_checkpoint_one_that_is_not_chosen(
    experiment: Path,
) -> None:
    trial = experiment / "trial"
    iterate(experiment, Keeper(experiment), 1, keep=2)
    assert whole_numbers(experiment) == [0, 1]
    damaged = trial / "checkpoint_000001" / FILES[2]
    damaged.write_text(damaged.read_text().replace("1", "2"))
    assert whole_numbers(experiment) == [0]
    assert find(trial).name == "checkpoint_000000"


def test_a_full_disk_leaves_older_checkpoints_as_they_were_and_is_told_of(
    experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = experiment / "trial"
    keeper = Keeper(experiment)
    folder = store(trial, 1)
    (folder / "iteration.json").symlink_to("/dev/full")  # every write fails: no space left
    tunes = SimpleNamespace(last_result={"training_iteration": 2}, storage=storage(trial))
    with pytest.raises(OSError):
        keeper.on_checkpoint(0, [], tunes, SimpleNamespace(path=str(folder)))
    assert keeper.problem is not None
    assert "No space left on device" in keeper.problem and "--resume" in keeper.problem
    assert whole_numbers(experiment) == [0]
    (folder / "iteration.json").unlink()
    keeper.on_checkpoint(0, [], tunes, SimpleNamespace(path=str(folder)))
    assert keeper.problem is None and whole_numbers(experiment) == [0, 1]
