"""`rllib evaluate` on a tiny checkpoint: what it prints, and what it leaves behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rllib_metarl.cli.evaluate import FRESH_SEED
from rllib_metarl.cli.showing.evaluation import rows, show
from tests.algorithms.small import small_config
from tests.cli.conftest import Ended

SECTIONS = ("protocol", "belief", "calibration", "uncertainty", "termination")
Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def trained(shared_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial's folder with one checkpoint."""
    algorithm = small_config("DynaMITE", reward_likelihood="bernoulli").build_algo()
    algorithm.train()
    folder = tmp_path_factory.mktemp("trial")
    algorithm.save_to_path(str(folder / "checkpoint_000000"))
    algorithm.stop()
    return folder


@pytest.fixture
def trial(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "trial"))


def test_all_of_it_is_written_where_the_report_looks(trial: Path, rllib: Run) -> None:
    ended = rllib("evaluate", trial, "--episodes", 32)
    assert ended.code == 0, ended.err
    file = trial / "evaluation.json"
    assert ended.lines[-1] == f"all of it: {file}"
    result = json.loads(file.read_text(), parse_constant=_no_such_number)
    assert all(result[section] for section in SECTIONS)
    assert len(result["meta_episodes"]) == 6
    assert result["held_out_seed"] == FRESH_SEED != small_config().held_out_seed
    assert set(result["absent"]) == {"protocol.inner_episode_returns"}
    _is_a_short_table(ended)


def _no_such_number(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def _is_a_short_table(ended: Ended) -> None:
    assert len(ended.lines) < 50 and "ideal" in ended.out
    for group in ("return", "belief", "calibration", "uncertainty", "switches"):
        assert any(line.strip().startswith(group) for line in ended.lines), group
    for row in ("normalised_score", "log_loss", "ece", "AUROC both_pay", "auroc"):
        assert any(row in line for line in ended.lines), row
    assert "no protocol.inner_episode_returns: the env has no inner episodes" in ended.lines


def test_the_return_alone_is_quick(trial: Path, rllib: Run) -> None:
    ended = rllib("evaluate", trial, "--episodes", 32, "--quick")
    assert ended.code == 0, ended.err
    assert not (trial / "evaluation.json").exists()
    assert "normalised_score" in ended.out and "belief" not in ended.out
    told = trial / "told.json"
    rllib("evaluate", trial, "--episodes", 4, "--quick", "--seed", 0, "--json", told)
    assert json.loads(told.read_text())["held_out_seed"] == 0


def test_strange_worlds_of_ones_own(trial: Path, rllib: Run) -> None:
    worlds = '{"slow": {"p_switch": 0.01}}'
    ended = rllib("evaluate", trial, "--episodes", 16, "--variants", worlds)
    assert ended.code == 0, ended.err
    result = json.loads((trial / "evaluation.json").read_text())
    assert set(result["uncertainty"]["out_of_distribution"]) == {"slow"}
    (row,) = result["protocol"]["return_by_variant"]
    assert row["variant"] == "slow" and row["env_config"] == {"p_switch": 0.01}
    assert any("AUROC slow" in line for line in ended.lines)


@pytest.mark.parametrize(
    ("worlds", "part"),
    [
        ('{"slow": 3}', "--variants: slow is 3; give env arguments"),
        ('{"slow": {"p_swich": 0.01}}', "no setting 'p_swich'"),
        ("slow", "--variants"),
    ],
)
def test_mistaken_worlds_are_told(trial: Path, rllib: Run, worlds: str, part: str) -> None:
    ended = rllib("evaluate", trial, "--episodes", 2, "--variants", worlds)
    assert ended.code == 2 and part in ended.err and "Traceback" not in ended.err
    assert not (trial / "evaluation.json").exists()


def test_what_rllibs_own_algorithms_have_is_shown() -> None:
    result = {"run": "PPO", "return_mean": 5.0, "normalised_score": None, "references": None}
    assert [row[1:] for row in rows(result)] == [
        ("return_mean", "5.000", None),
        ("normalised_score", None, None),
    ]
    console = Console(record=True, width=80, file=StringIO())
    show(result, console)
    assert "run: PPO" in console.export_text()
