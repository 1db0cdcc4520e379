"""A soak: training while one of its EnvRunners is killed every minute.

    python -m benchmarks.soak --minutes 120 --out soak.json

DynaMITE-RL on the GridWorld with two EnvRunners. A thread kills one of them (SIGKILL) every
`--every` seconds. Each iteration's score, env steps and memory (resident, of this process and of
the EnvRunners, in MiB) go into a JSON file as they come, with a summary at the end: kills, restarts
and the growth of memory between the first and the last quarter. `--every 0` kills nobody: the run
to compare with.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MIB = 2**20


def resident(pid: int) -> float:
    """Resident memory of a process in MiB; 0 where it has gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def runner_pids(algorithm: Any) -> list[int]:
    """Processes of the EnvRunners that are alive."""
    group = algorithm.env_runner_group
    pids = group.foreach_env_runner(
        lambda runner: os.getpid(), local_env_runner=False, timeout_seconds=10
    )
    return [int(pid) for pid in pids]


class Killer(threading.Thread):
    """Kills one of the processes that it knows every so often.

    Args:
        every_s: seconds between kills; 0 for none.
        seed: chooses whom.
    """

    def __init__(self, every_s: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.every_s, self.rng = every_s, random.Random(seed)
        self.pids: list[int] = []
        self.kills = 0
        self.ended = threading.Event()

    def run(self) -> None:
        """Kills until it is told to end."""
        while self.every_s and not self.ended.wait(self.every_s):
            alive = [pid for pid in self.pids if resident(pid)]
            if alive:
                os.kill(self.rng.choice(alive), signal.SIGKILL)
                self.kills += 1


def config_of(options: argparse.Namespace) -> Any:
    """The tuned example's settings, with EnvRunners in processes of their own."""
    import yaml

    from rllib_metarl.algorithms import ALGORITHMS

    (spec,) = yaml.safe_load(options.example.read_text()).values()
    settings = spec["config"]
    config = ALGORITHMS[spec["run"]].config()().update_from_dict(settings)
    config.environment(spec["env"], env_config=settings.get("env_config", {}))
    envs = max(1, config.num_envs_per_env_runner // max(1, options.runners))
    config.env_runners(num_env_runners=options.runners, num_envs_per_env_runner=envs)
    config.fault_tolerance(
        restart_failed_env_runners=True,
        env_runner_health_probe_timeout_s=10,
        delay_between_env_runner_restarts_s=0,
    )
    config.debugging(seed=options.seed)
    return config


def iterations(algorithm: Any, killer: Killer, minutes: float) -> Iterator[dict[str, Any]]:
    """Trains for so long; tells of each iteration."""
    began = time.monotonic()
    while time.monotonic() - began < 60.0 * minutes:
        result = algorithm.train()
        killer.pids = pids = runner_pids(algorithm)
        evaluation = result.get("evaluation", {})
        yield {
            "seconds": round(time.monotonic() - began, 1),
            "iteration": result["training_iteration"],
            "env_steps": result["num_env_steps_sampled_lifetime"],
            "train_return": result["env_runners"].get("episode_return_mean"),
            "normalised_score": evaluation.get("normalised_score"),
            "driver_mib": round(resident(os.getpid()), 1),
            "runners_mib": [round(resident(pid), 1) for pid in pids],
            "kills": killer.kills,
            "restarts": algorithm.env_runner_group.num_remote_worker_restarts(),
        }


def sizes(rows: list[dict[str, Any]], key: str) -> list[float]:
    """The memory of each row; of several processes the largest, of none there is nothing to say."""
    values = (row[key] if isinstance(row[key], list) else [row[key]] for row in rows)
    return [max(value) for value in values if value]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the whole came to; memory as medians over the first and the last quarter."""
    quarter = max(1, len(rows) // 4)

    def grown(key: str) -> dict[str, float]:
        early, late = (
            statistics.median(sizes(part, key) or [0.0])
            for part in (rows[:quarter], rows[-quarter:])
        )
        return {"first_quarter": early, "last_quarter": late, "growth": late - early}

    last = rows[-1]
    return {
        "minutes": last["seconds"] / 60.0,
        "iterations": last["iteration"],
        "env_steps": last["env_steps"],
        "env_steps_per_s": last["env_steps"] / last["seconds"],
        "iterations_without_runners": sum(not row["runners_mib"] for row in rows),
        "kills": last["kills"],
        "restarts": last["restarts"],
        "normalised_score": last["normalised_score"],
        "train_return": last["train_return"],
        "driver_mib": grown("driver_mib"),
        "runners_mib": grown("runners_mib"),
    }


def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Runs it and writes the log as it grows."""
    import ray

    ray.init(
        num_cpus=options.runners + 1,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    algorithm = config_of(options).build_algo()
    killer = Killer(options.every, options.seed)
    killer.start()
    rows: list[dict[str, Any]] = []
    settings = {key: str(value) for key, value in vars(options).items()}
    try:
        for row in iterations(algorithm, killer, options.minutes):
            rows.append(row)
            if len(rows) % options.write_every == 0:
                write(options.out, settings, rows)
    finally:
        killer.ended.set()
        algorithm.stop()
        ray.shutdown()
    return write(options.out, settings, rows)


def write(path: Path, settings: dict[str, str], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The log so far; returns its summary."""
    summarised = summary(rows)
    new = path.with_suffix(".new")
    new.write_text(
        json.dumps({"settings": settings, "summary": summarised, "iterations": rows}) + "\n"
    )
    new.replace(path)
    return summarised


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    example = Path(__file__).parents[1] / "tuned_examples" / "dynamite" / "gridworld.yaml"
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--every", type=float, default=60.0, help="seconds between kills; 0: none")
    parser.add_argument("--runners", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--example", type=Path, default=example)
    parser.add_argument("--write-every", type=int, default=20, help="iterations between writes")
    parser.add_argument("--out", type=Path, default=Path("soak.json"))
    return parser.parse_args(argv)


if __name__ == "__main__":
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    print(json.dumps(soak(arguments()), indent=2))
