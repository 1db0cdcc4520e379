"""Checkpoints of earlier versions, which later ones must go on reading.

`python -m tests.golden.stored` writes those that are not there yet. None is ever replaced: where a
version stores something new, it adds a checkpoint under another name.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import ray

from rllib_metarl import checkpoints
from rllib_metarl.evaluation.protocol import evaluate_checkpoint
from tests.algorithms.small import GRID, numbers, small_config
from tests.golden.runs import ONE_STEP, RUNS

FOLDER = Path(__file__).parent / "checkpoints"
EXPECTED = FOLDER / "expected.json"
EPISODES = 8
# As in `RUNS`, but for the one whose actors are processes of their own.
KINDS: dict[str, dict[str, Any]] = {name: runs["grid"] for name, runs in RUNS.items()}
KINDS["LSTMA3C"] = ONE_STEP | {"runners": 2, "updates_per_iteration": 2}
KINDS["LSTMA3C"]["train_batch_size_per_learner"] = 24


def unpack(name: str, into: Path) -> Path:
    """The checkpoint folder of a kind."""
    folder = into / name / "checkpoint_000000"
    shutil.unpack_archive(FOLDER / f"{name}.tar.xz", folder)
    return folder


def expected(name: str) -> dict[str, Any]:
    """What a kind was worth, and what it reported of its next iteration."""
    told: dict[str, Any] = json.loads(EXPECTED.read_text())[name]
    return told


def goes_on(checkpoint: Path, algorithm: Any) -> dict[str, float]:
    """Numbers of one more iteration of a trusted checkpoint."""
    with checkpoints.trusting():
        restored = algorithm.from_checkpoint(str(checkpoint))
    told = {key: float(value) for key, value in numbers(restored.train()).items()}
    restored.stop()
    return told


def _write(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    algorithm = small_config(name, env=GRID, **settings).build_algo()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        algorithm.train()
        algorithm.save_to_path(str(checkpoint))
        algorithm.stop()
        shutil.make_archive(str(FOLDER / name), "xztar", checkpoint)
        score = evaluate_checkpoint(checkpoint, EPISODES, quick=True)["return_mean"]
        return {"return_mean": score, "next": goes_on(checkpoint, type(algorithm))}


def main() -> None:
    """Writes the kinds that are missing."""
    FOLDER.mkdir(exist_ok=True)
    local = {"address": "local", "_node_ip_address": "127.0.0.1"}
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, **local)
    told = json.loads(EXPECTED.read_text()) if EXPECTED.is_file() else {}
    for name, settings in KINDS.items():
        if name not in told:
            told[name] = _write(name, settings)
            EXPECTED.write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
    ray.shutdown()


if __name__ == "__main__":
    main()
