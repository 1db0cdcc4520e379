"""The raw numbers of a results page, one file a page: `docs/results/<page>/runs.json`.

A run, `<agent>-<seed>`, has what `rllib train --json` and `rllib evaluate --json` wrote (`train`,
`evaluate`), its held-out evaluations during training (`curve`) and what else was measured of it.
Each stands on a line of its own, so that a new one is one line of a diff.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from threading import Lock
from typing import Any

from rllib_metarl.checkpoints import write_whole

FILE = "runs.json"
_LOCK = Lock()


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """All runs of a page by name; none where nothing was run yet."""
    file = folder / FILE
    runs: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    return runs


def add(folder: Path, run: str, **parts: Any) -> None:
    """Adds parts to a run, or replaces them; safe among the threads of one process."""
    with _LOCK:
        runs = read(folder)
        runs.setdefault(run, {}).update(parts)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / FILE, dump(runs).encode())


def dump(runs: dict[str, dict[str, Any]]) -> str:
    """The file's text: a line for each run, in the order of agents and seeds."""
    lines = (f"{json.dumps(run)}: {json.dumps(runs[run])}" for run in sorted(runs, key=_order))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def of_agent(folder: Path, agent: str, part: str = "evaluate") -> list[dict[str, Any]]:
    """An agent's runs that have a part, in the order of their seeds."""
    runs = read(folder)
    names = [run for run in sorted(runs, key=_order) if _order(run)[0] == agent]
    return [runs[name] for name in names if part in runs[name]]


def _order(run: str) -> tuple[str, int]:
    agent, seed = re.fullmatch(r"(.+)-(\d+)", run).groups()  # type: ignore[union-attr]
    return agent, int(seed)
