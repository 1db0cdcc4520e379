"""The results pages follow from their raw numbers, and raw numbers are kept as they came."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def learning(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`benchmarks/learning.py`, which imports its neighbours by name as a script does."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("learning")


def test_every_page_is_what_its_raw_numbers_say(learning: Any) -> None:
    for name, page in learning.PAGES.items():
        assert learning.differences(name, page) == []


@pytest.mark.parametrize("file", ["runs.json", "summary.json", "table.md", "README.md"])
def test_a_changed_number_is_found(
    learning: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    shutil.copytree(ROOT / "docs/results/reacher", tmp_path / "reacher")
    monkeypatch.setattr(learning, "RESULTS", tmp_path)
    page = learning.PAGES["reacher"]
    wall = f"{learning.rows_of('reacher', page)['rl2']['wall_s_median']}"
    path = tmp_path / "reacher" / file
    text = path.read_text()
    number = wall if file.endswith("json") else f"{float(wall):.0f} |"
    assert number in text
    path.write_text(text.replace(number, number.replace(number[0], str(9 - int(number[0])), 1)))
    assert learning.differences("reacher", page)


def test_runs_are_added_in_the_order_of_agents_and_seeds(learning: Any, tmp_path: Path) -> None:
    raw = learning.raw
    for run in ("b-0", "a-10", "a-p0.07-1", "a-2"):
        raw.add(tmp_path, run, train={"env_steps": 1})
    raw.add(tmp_path, "a-10", evaluate={"return_mean": 1.5})
    text = (tmp_path / "runs.json").read_text()
    assert list(json.loads(text)) == ["a-2", "a-10", "a-p0.07-1", "b-0"]
    assert text.count("\n") == 6
    assert raw.of_agent(tmp_path, "a") == [
        {"train": {"env_steps": 1}, "evaluate": {"return_mean": 1.5}}
    ]
