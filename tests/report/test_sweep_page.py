"""A sweep's page and tables, from folders as `rllib train` leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rllib_metarl.cli.main import main
from rllib_metarl.report.sweep_data import read_sweep
from tests.fuzz.inputs import STATE, sweep_files


def written(folder: Path, **how: Any) -> Path:
    for name, content in sweep_files(**how).items():
        path = folder / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / "mine"


def test_several_seeds_and_nothing_searched_are_read_by_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, page = written(tmp_path, searched=False), tmp_path / "page.html"
    for command in (["sweep", "status"], ["sweep", "best"], ["report", "--out", str(page)]):
        assert main([*command, str(sweep)]) == 0
    told = capsys.readouterr()
    assert "best: trials 1, 2, evaluation/return_mean 30.5\n" in told.out and told.err == ""
    assert "30.5" in page.read_text()


@pytest.mark.parametrize("seeds", [[1, 2], [7, 3]])
def test_the_best_config_has_the_first_seed_in_whatever_order_the_trials_are(
    tmp_path: Path, seeds: list[int]
) -> None:
    """A sweep that was resumed goes on with its trials in another order."""
    sweep = written(tmp_path, searched=False, seeds=seeds)
    record = json.loads((sweep / STATE).read_text())
    for trials in (record["trial_data"], record["trial_data"][::-1]):
        (sweep / STATE).write_text(json.dumps(record | {"trial_data": trials}))
        assert main(["sweep", "best", str(sweep)]) == 0
        (best,) = yaml.safe_load((sweep / "best.yaml").read_text()).values()
        assert best["config"]["seed"] == seeds[0]


ODD: dict[str, tuple[str, Any, str]] = {
    "a list for a name": ("name", [1], "name: "),
    "another mode": ("mode", "median", "mode: "),
    "no seeds": ("seeds", "two", "seeds: "),
    "a limit that is text": ("stop", {"training_iteration": "soon"}, "stop.training_iteration: "),
    "too many trials": ("trials", 10**30, "trials: "),
    "a range that ends before it begins": (
        *("parameters", [{"name": "lr", "low": 2, "high": 1}]),
        "from 2 to 1 is no range",
    ),
    "a logarithm of nothing": (
        *("parameters", [{"name": "lr", "low": 0, "high": 1, "logarithmic": True}]),
        "cannot begin at 0",
    ),
    "a list of nothing": ("parameters", [{"name": "lr", "listed": []}], "nothing is listed"),
    "an unknown part": ("parameters", [{"name": "lr", "odd": 1}], "parameters.0.odd: "),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_record_is_refused_with_its_place(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, value, told = ODD[case]
    sweep = written(tmp_path)
    record = json.loads((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").write_text(json.dumps({**record, key: value}))
    assert main(["sweep", "status", str(sweep)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sweep / 'sweep.json'}: ") and told in error
    assert "writes it again" in error and error.count("\n") == 1


@pytest.mark.parametrize("name", ["/etc", "../other", 3, "x" * 2_000])
def test_trials_lie_in_the_sweeps_folder(
    name: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = written(tmp_path)
    record = json.loads((sweep / STATE).read_text())
    trial = json.loads(record["trial_data"][0][0]) | {"relative_logdir": name}
    record["trial_data"][0][0] = json.dumps(trial)
    (sweep / STATE).write_text(json.dumps(record))
    assert main(["sweep", "status", str(sweep)]) == 2
    assert f"error: {sweep / STATE}: cannot be read" in capsys.readouterr().err


def test_a_copy_of_tunes_record_under_another_name_is_not_read(tmp_path: Path) -> None:
    sweep = written(tmp_path)
    (sweep / "experiment_state-backup.json").write_text("{}")
    assert main(["sweep", "status", str(sweep)]) == 0


def test_trials_keep_their_numbers_however_tune_lists_them(tmp_path: Path) -> None:
    """After a resumption it lists the one that reported last first."""
    sweep = written(tmp_path)
    record = json.loads((sweep / STATE).read_text())
    trials = [
        json.dumps(json.loads(one) | {"experiment_tag": f"{number}_lr=0.1"})
        for number, (one, _) in enumerate(record["trial_data"], 9)
    ]
    record["trial_data"] = [[one, "{}"] for one in reversed(trials)]
    (sweep / STATE).write_text(json.dumps(record))
    expected = [json.loads(one)["trial_id"] for one in trials]
    assert [trial.trial_id for trial in read_sweep(sweep).trials] == expected
