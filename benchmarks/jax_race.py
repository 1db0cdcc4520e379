"""Races RL² against the same work as one compiled JAX program, and against the core's own limit.

    python benchmarks/jax_race.py --json jax-race.json          # RL² with an LSTM
    python benchmarks/jax_race.py --cell gru

Both run in processes of their own on the same core and take turns. JAX lies in a virtual
environment of its own (`--venv`), made from `jax_requirements.txt` where it does not exist; where
the packages cannot be had, the script says so and ends with 0. Its compiling is not counted.
`limit` is what one env step's matrix products would take at the speed of a 512 x 512 one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
VENV = FOLDER.parent / ".venv-jax"
SIDES = ("ours", "jax")
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


def jax_python(folder: Path) -> Path | str:
    """The Python that has JAX, or why there is none."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        install = [python, "-m", "pip", "install", "-q", "-r", FOLDER / "jax_requirements.txt"]
        done = subprocess.run([*map(str, install)], capture_output=True, text=True)
        if done.returncode:
            return f"skipped: JAX cannot be installed: {done.stderr.strip().splitlines()[-1]}"
    ready = subprocess.run([str(python), "-c", "import jax, optax"], capture_output=True, text=True)
    if ready.returncode:
        return f"skipped: no JAX in {folder}: {ready.stderr.strip().splitlines()[-1]}"
    return python


def flops(cell: str, epochs: int) -> float:
    """Floating-point operations of the matrix products per env step.

    Forward once when acting, once for the values, and `epochs` times with a backward pass, which
    takes twice as many.
    """
    units, gates, seen = 64, 4 if cell == "lstm" else 3, 6
    memory = (seen + 6) * units + 2 * units * gates * units
    heads = 2 * (seen + units) * units + 5 * units + units
    return 2.0 * (memory + heads) * (2 + 3 * epochs)


def peak_flops(seconds: float = 0.3) -> float:
    """Operations per CPU second of torch's matrix product on one core."""
    import torch

    torch.set_num_threads(1)
    a, b = torch.rand(512, 512), torch.rand(512, 512)
    began, times = time.process_time(), 0
    while time.process_time() - began < seconds:
        a @ b
        times += 1
    return 2.0 * 512**3 * times / (time.process_time() - began)


def ours(given: argparse.Namespace) -> None:
    """The other side of `jax_rl2.py`, with the same lines in and out."""
    import ray
    from throughput import HORIZON, rl2_config

    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    config = rl2_config(given.envs)
    size = given.envs * HORIZON // given.minibatches
    config.training(recurrent_cell=given.cell, num_epochs=given.epochs, minibatch_size=size)
    algorithm = config.build_algo()
    algorithm.train()
    print(json.dumps({"ready": True}), flush=True)
    steps = given.iterations * given.envs * HORIZON
    for _ in sys.stdin:
        wall, cpu, returns = time.perf_counter(), time.process_time(), []
        for _ in range(given.iterations):
            returns.append(algorithm.train()["env_runners"]["episode_return_mean"])
        line = {
            "wall": 1e6 * (time.perf_counter() - wall) / steps,
            "cpu": 1e6 * (time.process_time() - cpu) / steps,
            "return": statistics.mean(returns),
            "peak": peak_flops(),
        }
        print(json.dumps(line), flush=True)


class Side:
    """A process that trains when it is told to."""

    def __init__(self, command: list[str], core: int | None) -> None:
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        self.process = subprocess.Popen(
            [*pinned, *command],
            env=os.environ | ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.ready = self.read()

    def read(self) -> dict[str, Any]:
        """The next line of JSON."""
        for line in self.process.stdout or ():
            if line.startswith("{"):
                told: dict[str, Any] = json.loads(line)
                return told
        raise SystemExit(f"{self.process.args} ended with {self.process.wait()}")

    def turn(self) -> dict[str, Any]:
        """One round."""
        assert self.process.stdin is not None
        print("go", file=self.process.stdin, flush=True)
        return self.read()

    def close(self) -> None:
        """Ends it: no more lines come."""
        self.process.communicate()


def race(given: argparse.Namespace, python: Path) -> dict[str, Any]:
    """Rounds of both sides, each first in every other round, one to warm up; and the medians."""
    names = ("envs", "cell", "epochs", "minibatches", "iterations")
    options = [part for name in names for part in (f"--{name}", str(getattr(given, name)))]
    commands = {
        "ours": [sys.executable, str(FOLDER / "jax_race.py"), "--ours", *options],
        "jax": [str(python), str(FOLDER / "jax_rl2.py"), *options],
    }
    sides = {name: Side(command, given.core) for name, command in commands.items()}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    for number in range(given.rounds + 1):
        for name in sorted(SIDES, reverse=bool(number % 2)):
            rounds[name].append(sides[name].turn())
    for side in sides.values():
        side.close()
    rounds = {name: told[1:] for name, told in rounds.items()}
    compiled = sides["jax"].ready["compile_s"]
    return {"rounds": rounds, "compile_s": compiled} | summary(
        rounds, flops(given.cell, given.epochs)
    )


def summary(rounds: dict[str, list[dict[str, Any]]], work: float) -> dict[str, Any]:
    """Medians in us per env step, JAX's time / ours, and shares of the core's peak."""

    def median(side: str, key: str) -> float:
        return statistics.median(told[key] for told in rounds[side])

    limit = 1e6 * work / median("ours", "peak")
    return {
        "us_per_step": {s: {k: median(s, k) for k in ("wall", "cpu")} for s in SIDES},
        "ratio": {k: median("jax", k) / median("ours", k) for k in ("wall", "cpu")},
        "limit_us_per_step": limit,
        "share_of_peak": {side: limit / median(side, "cpu") for side in SIDES},
    }


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--envs", type=int, default=64)
    parser.add_argument("--cell", choices=("lstm", "gru"), default="lstm")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--minibatches", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=4, help="of a round")
    parser.add_argument("--core", type=int, help="pin both sides to this one (needs taskset)")
    parser.add_argument("--venv", type=Path, default=VENV, help="where JAX is, or shall be")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Prints a row of the table, or why there is none."""
    given = arguments(argv)
    if given.ours:
        ours(given)
        return
    python = jax_python(given.venv)
    if isinstance(python, str):
        print(python)
        return
    told = {"cell": given.cell, "envs": given.envs, "load_average": os.getloadavg()[0]}
    told |= race(given, python)
    print(json.dumps({key: value for key, value in told.items() if key != "rounds"}))
    if given.json:
        given.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
