"""A folder from elsewhere: whatever lies in it, no reader runs code of it, or waits forever."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rllib_metarl import Checkpoint, checkpoints
from rllib_metarl.checkpoint import find
from rllib_metarl.errors import UserError
from tests.algorithms.small import small_config
from tests.cli.conftest import ROOT, TINY, Ended, rllib  # noqa: F401  (a fixture)
from tests.report.written import result

MARK = "rllib_metarl_was_here"
STATE = "experiment_state-2026-01-02_03-04-05.json"


class Payload:
    """A pickle that leaves a mark in the working directory when it is read."""

    def __reduce__(self) -> Any:
        return (open, (MARK, "w"))


PICKLED = pickle.dumps(Payload())
FALLBACK = {"_type": "CLOUDPICKLE_FALLBACK", "value": PICKLED.hex()}
PLUGIN = f"open({MARK!r}, 'w')\n"
# Names that a file may give, and names that some library tries to import if it is there.
MODULES = ("strangers", "viewer", "sitecustomize", "usercustomize", "tensorflow", "matplotlibrc")
SWEEP = """
tune:
  run: DynaMITE
  env: DLCMDP/GridWorld-v0
  num_samples: 2
  stop: {training_iteration: 1}
  config: {lr: {uniform: [0.0001, 0.001]}}
"""
RECORD = {
    "name": "tune",
    "mode": "max",
    "metric": None,
    "parameters": [{"name": "lr", "low": 0.0001, "high": 0.001, "describe": "uniform"}],
    "seeds": [],
    "trials": 2,
    "stop": {},
    "run": "DynaMITE",
    "env": "x",
    "search_alg": "random",
    "scheduler": "fifo",
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stranger's folder, in which the user stands, with a home of their own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "strangers_folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    # `python -m pytest` looks for modules where one stands; the installed command does not.
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    return folder


@pytest.fixture(scope="module")
def original(driver_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    algorithm = small_config("DynaMITE").build_algo()
    path = tmp_path_factory.mktemp("trial") / "checkpoint_000000"
    algorithm.save_to_path(str(path))
    algorithm.stop()
    return path


@pytest.fixture
def checkpoint(original: Path, place: Path) -> Path:
    return Path(shutil.copytree(original, place / "runs" / "DynaMITE_x" / "checkpoint_000000"))


def poison(folder: Path, trial: Path) -> None:
    """Puts a mark-leaving thing wherever some reader might look."""
    for path in folder.rglob("*.pkl"):
        path.write_bytes(PICKLED)
    (trial / "params.pkl").write_bytes(PICKLED)
    (trial / "error.pkl").write_bytes(PICKLED)
    settings = {"env": "viewer:E-v0", "env_config": {}, "seed": 1, "callbacks": "viewer.Callbacks"}
    (trial / "params.json").write_text(json.dumps(settings))
    (trial / "result.json").write_text(json.dumps(result(1, 10, 1.0)) + "\n")
    state = {"trial_data": [], "runner_data": FALLBACK, "stats": {}}
    for name in (STATE, "experiment_state-zzzz.json", "search_gen_state-z.json"):
        (trial.parent / name).write_text(json.dumps(state))
    for name in ("callback-states-z.pkl", "searcher-state-z.pkl"):
        (trial.parent / name).write_bytes(PICKLED)
    for place in {folder, trial.parent, trial, *trial.glob("checkpoint_*")}:
        for name in MODULES:
            (place / f"{name}.py").write_text(PLUGIN)
        (place / "matplotlibrc").write_text("backend: module://viewer\n")


@pytest.fixture
def run(place: Path, checkpoint: Path) -> Path:
    """A run's folder in which everything is poisoned."""
    poison(place, checkpoint.parent)
    policy = json.loads((checkpoint / "policy.json").read_text())
    policy["config"]["callbacks_class"] = "viewer.Callbacks"
    (checkpoint / "policy.json").write_text(json.dumps(policy))
    return place / "runs"


@pytest.fixture
def sweep(place: Path) -> Path:
    """A sweep's folder likewise, whose file names a plugin."""
    folder = place / "tune"
    trial = folder / "DynaMITE_1"
    trial.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(SWEEP.replace("  stop", "  plugins: [strangers]\n  stop"))
    (folder / "sweep.json").write_text(json.dumps(RECORD))
    poison(place, trial)
    told = {"trial_id": "1", "status": "TERMINATED", "relative_logdir": trial.name}
    state = {"trial_data": [[json.dumps(told), "{}"]], "runner_data": FALLBACK}
    (folder / STATE).write_text(json.dumps(state))
    return folder


def held(place: Path) -> None:
    assert not list(place.rglob(MARK)), "code of the folder was run"


# --- no code is run -------------------------------------------------------------------------------


def test_no_reader_of_a_run_runs_code_of_it(
    rllib: Callable[..., Ended],  # noqa: F811
    run: Path,
    checkpoint: Path,
    place: Path,
) -> None:
    (place / "tiny.yaml").write_text(TINY.replace("tiny:", "runs:"))
    quick = ("--quick", "--episodes", 4)
    env = ("--env", "DLCMDP/GridWorld-v0", "--env-config", '{"size": 3, "horizon": 6}')
    for code, *command in (
        (0, "list"),
        (0, "evaluate", run, *quick),
        (0, "report", run, "--out", place / "page.html", "--figures", place / "figures"),
        (0, "iida", "collect", *env, "--steps", 6, "--num-envs", 1, "--out", place / "data.npz")
        + ("--generator", checkpoint),
        (2, "train", "file", place / "tiny.yaml", "--storage-path", place, "--resume"),
        (2, "train", "file", place / "tiny.yaml", "--restore", checkpoint),
    ):
        ended = rllib(*command)
        assert ended.code == code, (command, ended.err)
        held(place)


def test_no_reader_of_a_sweep_runs_code_of_it(
    rllib: Callable[..., Ended],  # noqa: F811
    sweep: Path,
    place: Path,
) -> None:
    page = ("--out", place / "page.html")
    for code, *command in (
        (0, "sweep", "status", sweep),
        (0, "sweep", "best", sweep, "--out", place / "best.yaml"),
        (0, "report", sweep, *page),
        (2, "sweep", "resume", sweep),
        (2, "train", "file", sweep / "sweep.yaml", "--storage-path", place, "--resume"),
    ):
        ended = rllib(*command)
        assert ended.code == code, (command, ended.err)
        held(place)


def test_words_of_a_sweeps_files_are_words_on_a_terminal_and_on_its_page(
    rllib: Callable[..., Ended],  # noqa: F811
    sweep: Path,
    place: Path,
) -> None:
    hostile = "[/]\x1b[31m</script><img src=x onerror=alert(1)>"
    parameters = [{"name": "lr", "listed": [hostile, "x"], "describe": hostile}]
    record = RECORD | {"parameters": parameters, "run": hostile, "env": hostile}
    (sweep / "sweep.json").write_text(json.dumps(record))
    (sweep / "DynaMITE_1" / "params.json").write_text(json.dumps({"lr": hostile}))
    ended = rllib("sweep", "status", sweep)
    assert ended.code == 0 and "\x1b" not in ended.out and "[/]" in ended.out
    assert rllib("report", sweep, "--out", place / "page.html").code == 0
    assert "<img" not in (place / "page.html").read_text().replace("<image", "")


def test_a_process_of_its_own_that_stands_in_the_folder_runs_no_code_of_it(
    run: Path, sweep: Path, place: Path
) -> None:
    """Here the interpreter itself starts in the folder, by a script as an installed command is."""
    script = place.parent / "rllib"
    script.write_text("import sys\nfrom rllib_metarl.cli.main import main\nsys.exit(main())\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for command in (("evaluate", run, "--quick", "--episodes", "4"), ("sweep", "resume", sweep)):
        words = [sys.executable, str(script), *map(str, command)]
        ended = subprocess.run(words, capture_output=True, text=True, cwd=place, env=environment)
        assert ended.returncode in (0, 2) and "Traceback" not in ended.stderr, ended.stderr
        held(place)


@pytest.mark.parametrize(
    "line",
    [
        "plugins: [strangers]",
        "env: strangers:Env-v0",
        "env: strangers.Env",
        "run: strangers.Algorithm",
        "env: subprocess.Popen",
        "config: {callbacks_class: strangers.Callbacks}",
        "config: {replay_buffer_config: {type: strangers.Buffer}}",
    ],
)
def test_a_sweeps_own_file_names_code_only_if_it_is_sealed(
    rllib: Callable[..., Ended],  # noqa: F811
    sweep: Path,
    place: Path,
    line: str,
) -> None:
    key = line.partition(":")[0]
    kept = [one for one in SWEEP.splitlines() if not one.strip().startswith(f"{key}:")]
    (sweep / "sweep.yaml").write_text("\n".join([*kept, f"  {line}", ""]))
    ended = rllib("sweep", "resume", sweep)
    assert ended.code == 2 and "--plugin" in ended.err and "--trust-checkpoint" in ended.err
    held(place)


def test_a_sealed_sweep_may_name_code_until_it_is_changed(sweep: Path) -> None:
    from rllib_metarl.cli.running.sweep_trust import check_code, seal_experiment

    file, written = sweep / "sweep.yaml", {"tune": {"plugins": ["strangers", "other.part"]}}
    with pytest.raises(UserError, match="names the module strangers"):
        check_code(file, written, ())
    check_code(file, written, ("strangers", "other"))
    with checkpoints.trusting():
        check_code(file, written, ())
    seal_experiment(sweep)
    check_code(file, written, ())
    file.write_text(file.read_text() + "# more\n")
    with pytest.raises(UserError, match="names the module strangers"):
        check_code(file, written, ())


def test_an_evaluation_is_not_written_through_a_link(
    rllib: Callable[..., Ended],  # noqa: F811
    checkpoint: Path,
    tmp_path: Path,
) -> None:
    """The default file lies in the run's folder, where a stranger may have put something."""
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (checkpoint.parent / "evaluation.json").symlink_to(precious)
    assert rllib("evaluate", checkpoint, "--episodes", 8).code == 0
    assert precious.read_text() == "kept"
    assert json.loads((checkpoint.parent / "evaluation.json").read_text())["episodes"] == 8


# --- what a list may name -------------------------------------------------------------------------


@pytest.fixture
def small(place: Path) -> Path:
    """As little as a list can be of."""
    folder = place / "checkpoint_000000"
    (folder / "inner").mkdir(parents=True)
    (folder / "policy.json").write_text("{}")
    (folder / "inner" / "state.pkl").write_text("state")
    checkpoints.finish(folder)
    return folder


def listing(folder: Path, **files: Any) -> None:
    (folder / "whole.json").write_text(json.dumps({"files": files, "seal": "x"}))


@pytest.mark.parametrize(
    "name", ["/dev/zero", "../secret", "inner/../policy.json", "./policy.json", "", "inner//x", "."]
)
def test_a_list_names_files_of_its_folder_only(small: Path, name: str) -> None:
    (small.parent / "secret").write_text("{}")
    listing(small, **{name: [2, "x"]})
    assert checkpoints.examine(small).problem == (
        "whole.json names what cannot be a file of its folder"
    )


@pytest.mark.parametrize("digest", [None, [1], [1.0, "x"], [-1, "x"], [True, "x"], [2, 3], "2x"])
def test_a_list_gives_sizes_and_digests(small: Path, digest: Any) -> None:
    listing(small, **{"policy.json": digest})
    assert not checkpoints.is_whole(small)


def replaced_by_link(path: Path) -> None:
    kept = path.rename(path.parents[1] / "elsewhere")
    path.symlink_to(kept)


def replaced_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replaced_by_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def folder_behind_link(path: Path) -> None:
    kept = path.parent.rename(path.parents[2] / "elsewhere")
    path.parent.symlink_to(kept)


def longer(path: Path) -> None:
    os.truncate(path, 1 << 40)  # takes no room on the disk, and hours to read


DAMAGES = [replaced_by_link, replaced_by_pipe, replaced_by_device, folder_behind_link, longer]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_a_plain_file_of_the_listed_size_is_not_read(
    small: Path, damage: Callable[[Path], None]
) -> None:
    assert checkpoints.is_own(small)
    damage(small / "inner" / "state.pkl")
    problem = checkpoints.examine(small).problem
    assert problem is not None and "inner/state.pkl" in problem
    with pytest.raises(UserError, match="inner/state.pkl.*damaged"):
        Checkpoint.open(small)


@pytest.mark.parametrize("damage", [replaced_by_link, replaced_by_pipe, replaced_by_device, longer])
def test_a_list_that_is_no_plain_file_is_none(small: Path, damage: Callable[[Path], None]) -> None:
    damage(small / "whole.json")
    assert checkpoints.examine(small).problem == "whole.json is damaged"
    with pytest.raises(UserError, match="whole.json is damaged"):
        Checkpoint.open(small)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": 3}', "[" * 100_000, "\ud800"])
def test_a_damaged_list_is_told(small: Path, content: str) -> None:
    (small / "whole.json").write_text(content, errors="surrogatepass")
    assert checkpoints.examine(small).problem == "whole.json is damaged"


def more_code(folder: Path) -> None:
    (folder / "inner" / "more.pkl").write_bytes(PICKLED)


def nested_list(folder: Path) -> None:
    (folder / "inner" / "whole.json").write_bytes(PICKLED)


def linked_folder(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    (folder / "linked").symlink_to(folder.parent / "elsewhere")


def more_pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe.pkl")


@pytest.mark.parametrize("add", [more_code, nested_list, linked_folder, more_pipe])
def test_a_file_more_is_seen_however_it_is_hidden(small: Path, add: Callable[[Path], None]) -> None:
    add(small)
    assert checkpoints.is_whole(small) and not checkpoints.is_own(small)
    with pytest.raises(UserError, match="--trust-checkpoint"):
        checkpoints.require_trust(small)


def test_a_folder_of_such_checkpoints_is_searched_without_reading_them(small: Path) -> None:
    (small / "rllib_checkpoint.json").write_text("{}")
    listing(small, **{"/dev/zero": [1, "x"]})
    assert find(small.parent) == small
    with pytest.raises(UserError, match="names what cannot be"):
        Checkpoint.open(find(small.parent))


# --- weights --------------------------------------------------------------------------------------


def arrays(checkpoint: Path) -> dict[str, Any]:
    with np.load(checkpoint / "policy.npz") as file:
        return dict(file)


def without_any(weights: dict[str, Any]) -> dict[str, Any]:
    return {"x": np.zeros(0)}


def without_one(weights: dict[str, Any]) -> dict[str, Any]:
    return dict(list(weights.items())[1:])


def with_one_more(weights: dict[str, Any]) -> dict[str, Any]:
    return weights | {"more": np.zeros(1)}


def with_nan(weights: dict[str, Any]) -> dict[str, Any]:
    return weights | {next(iter(weights)): np.full_like(next(iter(weights.values())), np.nan)}


def with_infinity(weights: dict[str, Any]) -> dict[str, Any]:
    return weights | {next(iter(weights)): np.full_like(next(iter(weights.values())), -np.inf)}


def of_another_shape(weights: dict[str, Any]) -> dict[str, Any]:
    return weights | {next(iter(weights)): np.zeros((1, 1, 1), np.float32)}


def of_words(weights: dict[str, Any]) -> dict[str, Any]:
    return weights | {next(iter(weights)): np.full(next(iter(weights.values())).shape, "word")}


WRONG = [without_any, without_one, with_one_more, with_nan, with_infinity, of_another_shape]


@pytest.mark.parametrize("change", [*WRONG, of_words])
def test_weights_are_all_there_fit_and_are_finite_or_are_refused(
    checkpoint: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    np.savez(checkpoint / "policy.npz", **change(arrays(checkpoint)))
    with pytest.raises(UserError, match="policy cannot be restored"):
        Checkpoint.open(checkpoint).module()


@pytest.mark.parametrize("change", [without_one, with_nan])
def test_so_are_weights_in_pickles(
    checkpoint: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    (checkpoint / "policy.json").unlink()
    file = checkpoint / "learner_group/learner/rl_module/default_policy/module_state.pkl"
    with checkpoints.trusting():
        Checkpoint.open(checkpoint).module()
        file.write_bytes(pickle.dumps(change(pickle.loads(file.read_bytes()))))
        with pytest.raises(UserError, match="policy cannot be restored"):
            Checkpoint.open(checkpoint).module()


def test_no_memory_is_taken_for_what_a_file_only_claims(checkpoint: Path) -> None:
    policy = json.loads((checkpoint / "policy.json").read_text())
    policy["module"]["model_config"]["policy_hidden"] = [10_000_000, 10_000_000]
    (checkpoint / "policy.json").write_text(json.dumps(policy))
    with pytest.raises(UserError, match="policy_hidden is .*at most 16 widths"):
        Checkpoint.open(checkpoint).module()


def test_weights_that_unpack_without_end_are_refused(checkpoint: Path) -> None:
    zeros = {name: np.zeros(1 << 20) for name in arrays(checkpoint)}
    np.savez_compressed(checkpoint / "policy.npz", **zeros)
    with pytest.raises(UserError, match="unpacks to far more"):
        Checkpoint.open(checkpoint).module()


def test_another_checkpoints_weights_are_refused_by_every_reader_where_there_is_a_list(
    rllib: Callable[..., Ended],  # noqa: F811
    checkpoint: Path,
    place: Path,
) -> None:
    checkpoints.finish(checkpoint)
    weights = arrays(checkpoint)
    np.savez(checkpoint / "policy.npz", **{name: value + 1 for name, value in weights.items()})
    (place / "tiny.yaml").write_text(TINY)
    data = ("--env", "DLCMDP/GridWorld-v0", "--out", place / "data.npz")
    for command in (
        ("evaluate", checkpoint, "--quick"),
        ("iida", "collect", *data, "--generator", checkpoint),
        ("train", "file", place / "tiny.yaml", "--restore", checkpoint),
    ):
        ended = rllib(*command)
        assert ended.code == 2 and "policy.npz" in ended.err and "is damaged" in ended.err


@pytest.mark.parametrize("content", ["", "[]", '{"ray_version": 5}', "{", "\x00", "[" * 100_000])
@pytest.mark.parametrize("listed", [False, True])
def test_a_damaged_version_file_is_told(checkpoint: Path, content: str, listed: bool) -> None:
    if listed:
        checkpoints.finish(checkpoint)
    (checkpoint / "rllib_checkpoint.json").write_text(content)
    with pytest.raises(UserError, match="rllib_checkpoint.json.*damaged"):
        Checkpoint.open(checkpoint)


@pytest.mark.parametrize("damage", [replaced_by_link, replaced_by_pipe, replaced_by_device])
@pytest.mark.parametrize("name", ["policy.json", "policy.npz", "rllib_checkpoint.json"])
def test_files_without_a_list_are_plain_ones_too(
    checkpoint: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(checkpoint / name)
    with pytest.raises(UserError, match=r"damaged|incomplete|can run any code"):
        Checkpoint.open(checkpoint).module()


@pytest.mark.parametrize("change", [{"env": 3}, {"env_config": [1]}, {"held_out_seed": "x"}])
def test_settings_of_another_kind_are_told(checkpoint: Path, change: dict[str, Any]) -> None:
    policy = json.loads((checkpoint / "policy.json").read_text())
    policy["config"] |= change
    (checkpoint / "policy.json").write_text(json.dumps(policy))
    with pytest.raises(UserError, match="policy.json cannot be read.*damaged"):
        Checkpoint.open(checkpoint)


@pytest.mark.parametrize("name", ["x" * 5_000, "a/" * 3_000])
def test_a_name_that_no_folder_can_have_is_no_checkpoint(
    rllib: Callable[..., Ended],  # noqa: F811
    place: Path,
    name: str,
) -> None:
    (place / "tiny.yaml").write_text(TINY)
    for command in (("evaluate", name), ("train", "file", place / "tiny.yaml", "--restore", name)):
        ended = rllib(*command)
        assert ended.code == 2 and "no " in ended.err and "checkpoint" in ended.err


# --- records --------------------------------------------------------------------------------------


@pytest.fixture
def experiment(place: Path) -> Iterator[Path]:
    """A run's folder with a sealed record."""
    folder = place / "results"
    record = folder / ".rllib" / "record_000003"
    record.mkdir(parents=True)
    (folder / STATE).write_text('{"trial_data": ["newest"]}')
    shutil.copy(folder / STATE, record)
    checkpoints.finish(record)
    yield folder
    held(place)


def test_records_are_those_of_the_seal_whatever_lies_beside_them(experiment: Path) -> None:
    from rllib_metarl.cli.running.recovery import check_own, restore_records

    names = ("experiment_state-zzzz.json", "experiment_state-backup.json", "callback-states-x.pkl")
    later = "experiment_state-2099-01-01_00-00-00.json"
    for name in (*names, later):
        (experiment / name).write_text(json.dumps({"trial_data": [], "runner_data": FALLBACK}))
    forged = experiment / ".rllib" / "record_000009"
    shutil.copytree(experiment / ".rllib" / "record_000003", forged)
    (forged / STATE).write_text(json.dumps(FALLBACK))
    listed = checkpoints.digest_of(forged / STATE)
    listing(forged, **{STATE: listed})
    (experiment / STATE).write_text(json.dumps(FALLBACK))
    notes: list[str] = []
    check_own(experiment)
    restore_records(experiment, notes.append)
    assert [path.name for path in experiment.glob("[a-z]*.*")] == [STATE]
    assert json.loads((experiment / STATE).read_text()) == {"trial_data": ["newest"]}
    aside = experiment / ".rllib" / "aside"
    assert {path.name for path in aside.iterdir()} == {*names, later}, "nothing is lost"
    assert len(notes) == len(names) and all(str(aside) in note for note in notes)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_link_to_folder(path: Path) -> None:
    path.symlink_to("/")


@pytest.mark.parametrize("make", [make_pipe, make_link, make_link_to_folder])
@pytest.mark.parametrize("name", [STATE, "sweep.json", "x.pkl", "trial/result.json"])
def test_tune_is_given_plain_files_alone(
    experiment: Path, name: str, make: Callable[[Path], None]
) -> None:
    from rllib_metarl.cli.running.recovery import check_own

    (experiment / "trial").mkdir()
    (experiment / name).unlink(missing_ok=True)
    make(experiment / name)
    with pytest.raises(UserError, match="is not a regular file"):
        check_own(experiment)


def test_the_newest_record_is_that_of_the_latest_time(sweep: Path) -> None:
    from rllib_metarl.report.sweep_data import read_sweep

    (sweep / "experiment_state-zzzz.json").write_text("no JSON")
    assert [trial.trial_id for trial in read_sweep(sweep).trials] == ["1"]
