"""How long `rllib train` takes to its first line, and to its first iteration; and the import.

    python benchmarks/start.py --rounds 5 --against ../another-checkout --json start.json

A tiny experiment is trained for one iteration. Where another checkout is named, both take turns,
and the ratios are new / old of the medians. Wall-clock times depend on what else the machine does:
CPU time of the command's own process (`import_cpu_s`: of its imports alone) does so less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENT = """
tiny:
  run: DynaMITE
  env: DLCMDP/GridWorld-v0
  stop: {training_iteration: 1}
  config: {num_envs_per_env_runner: 4, train_batch_size_per_learner: 240, minibatch_size: 120}
"""
IMPORTS = """
import time
from rllib_metarl.cli import experiment, runner
from rllib_metarl.algorithms import ALGORITHMS
ALGORITHMS["DynaMITE"].algorithm()
print(time.process_time())
"""


def environment(tree: Path) -> dict[str, str]:
    """So that Python takes the package of a checkout."""
    return os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def started(tree: Path, folder: Path) -> dict[str, float]:
    """Seconds from the command to what it prints."""
    (folder / "tiny.yaml").write_text(EXPERIMENT)
    options = ["train", "file", folder / "tiny.yaml", "--storage-path", folder / "results"]
    command = [sys.executable, "-m", "rllib_metarl.cli.main", *map(str, options)]
    began, times = time.perf_counter(), {}
    with subprocess.Popen(
        command, env=environment(tree), cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout or ():
            times.setdefault("first_line_s", time.perf_counter() - began)
            if "iter 1" in line:
                times["first_iteration_s"] = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{tree}: the command ended with {process.returncode}")
    times["end_s"] = time.perf_counter() - began
    return times


def imported(tree: Path) -> dict[str, float]:
    """CPU seconds of what the command imports before it starts Ray."""
    command = [sys.executable, "-c", IMPORTS]
    done = subprocess.run(command, env=environment(tree), check=True, capture_output=True)
    return {"import_cpu_s": float(done.stdout)}


def helped(tree: Path) -> dict[str, float]:
    """Seconds of `rllib --help`."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "rllib_metarl.cli.main", "--help"]
    subprocess.run(command, env=environment(tree), check=True, stdout=subprocess.DEVNULL)
    return {"help_s": time.perf_counter() - began}


def measure(trees: dict[str, Path], rounds: int) -> dict[str, dict[str, float]]:
    """Medians of each checkout, which take turns, each first in every other round."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for number in range(rounds):
        for name in sorted(trees, reverse=bool(number % 2)):
            with tempfile.TemporaryDirectory() as folder:
                times = started(trees[name], Path(folder))
            found[name].append(times | imported(trees[name]) | helped(trees[name]))
    return {
        name: {key: statistics.median(one[key] for one in runs) for key in runs[0]}
        for name, runs in found.items()
    }


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and prints a line for each checkout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="root of another checkout")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    arguments = parser.parse_args(argv)
    trees = {"new": ROOT} | ({"old": arguments.against.resolve()} if arguments.against else {})
    report = {"load_average": os.getloadavg()[0], "medians": measure(trees, arguments.rounds)}
    for name, medians in report["medians"].items():
        print(name, {key: round(value, 2) for key, value in medians.items()})
    if arguments.against:
        pairs = report["medians"]["new"], report["medians"]["old"]
        report["ratios"] = {key: pairs[0][key] / pairs[1][key] for key in pairs[0]}
        print("new / old", {key: round(value, 2) for key, value in report["ratios"].items()})
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
