"""How training speeds up with EnvRunners and learners, and where the learner becomes the limit.

    OMP_NUM_THREADS=1 python benchmarks/scaling.py [--json FILE] [--runners 1 2 4 8]

Three tables from one run:

- `runners`: DynaMITE on the GridWorld with 0, 1, 2 EnvRunners: env steps/s of whole iterations, and
  the shares of sampling and learning.
- `learners`: the same with 0, 1, 2 learners and one batch for all; one update's time.
- `costly`: an environment whose every step takes a given time *without* using a core (it sleeps),
  so that many runners fit on few cores. Beside each measured rate stands that of the model
  1 / (1 / (n s) + 1 / l): n runners of s steps/s each take turns with a learner of l steps/s. The
  model goes on to 64 runners, which is more than the machine can hold.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import ray
from ray.tune.registry import register_env

import rllib_metarl.envs  # noqa: F401
from rllib_metarl.algorithms.dynamite.dynamite import DynaMITEConfig

ENVS, HORIZON, ITERATIONS = 64, 60, 6
TABLES = ["runners", "learners", "costly"]


class Costly(gym.Wrapper[Any, Any, Any, Any]):
    """A GridWorld whose every step takes `seconds` more."""

    def __init__(self, seconds: float) -> None:
        super().__init__(gym.make("DLCMDP/GridWorld-v0"))
        self.seconds = seconds

    def step(self, action: Any) -> Any:
        time.sleep(self.seconds)
        return self.env.step(action)


def config(
    runners: int, learners: int = 0, *, batches: int = 1, envs: int = ENVS
) -> DynaMITEConfig:
    """The tuned example's settings; `batches` of 64 meta-episodes an iteration."""
    config = DynaMITEConfig().environment("DLCMDP/GridWorld-v0")
    config.env_runners(
        num_env_runners=runners,
        num_envs_per_env_runner=envs * batches // max(runners, 1),
        rollout_fragment_length=HORIZON,
        num_cpus_per_env_runner=0.1,
    )
    config.learners(num_learners=learners, num_cpus_per_learner=0.1)
    steps = envs * batches * HORIZON // max(learners, 1)
    config.training(
        train_batch_size_per_learner=steps,
        minibatch_size=480 // max(learners, 1),
        num_epochs=4,
        vae_updates=6,
        vae_batch_size=32,
        vae_max_pairs=6000,
        evaluate_every_steps=0,
    )
    return config.debugging(seed=0)


def measure(config: DynaMITEConfig, iterations: int = ITERATIONS) -> dict[str, float]:
    """Medians over iterations, in seconds and env steps/s; the first two warm up."""
    algorithm = config.build_algo()
    rows = []
    for iteration in range(iterations + 2):
        begin = time.perf_counter()
        result = algorithm.train()
        wall = time.perf_counter() - begin
        if iteration >= 2:
            steps = result["env_runners"]["num_env_steps_sampled"]
            timers = result["timers"]
            rows.append(
                (
                    steps / wall,
                    wall,
                    timers["env_runner_sampling_timer"],
                    timers["learner_update_timer"],
                )
            )
    algorithm.stop()
    names = ("steps_per_s", "iteration_s", "sampling_s", "learning_s")
    columns = [sorted(column)[len(column) // 2] for column in zip(*rows, strict=True)]
    return dict(zip(names, map(float, columns), strict=True)) | {"steps": float(steps)}


def costly(runners: int, seconds: float) -> DynaMITEConfig:
    """8 sub-envs a runner, which step one after the other."""
    chosen = config(runners, batches=1).environment("Costly", env_config={"seconds": seconds})
    chosen.env_runners(num_envs_per_env_runner=8)
    return chosen.training(train_batch_size_per_learner=8 * HORIZON * runners, minibatch_size=None)


def model(runners: int, sampling: float, learning: float) -> float:
    """Env steps/s of n runners that take turns with one learner, rates per runner and learner."""
    return 1.0 / (1.0 / (runners * sampling) + 1.0 / learning)


def costly_table(
    counts: list[int], seconds: float, iterations: int = ITERATIONS
) -> list[dict[str, float]]:
    """Measured and modelled rates; the model has its two numbers from one runner."""
    rows: list[dict[str, float]] = []
    one = None
    for runners in counts:
        found = measure(costly(runners, seconds), iterations)
        one = one or found
        sampling = one["steps"] / one["sampling_s"]
        learning = one["steps"] / (one["iteration_s"] - one["sampling_s"])
        rows.append({"runners": runners, **found, "model": model(runners, sampling, learning)})
    for runners in (16, 32, 64):
        if runners not in counts:
            rows.append({"runners": runners, "model": model(runners, sampling, learning)})
    return rows


def table(name: str, arguments: argparse.Namespace) -> list[dict[str, float]]:
    """The rows of one of the three tables."""
    iterations, envs = arguments.iterations, arguments.envs
    if name == "costly":
        return costly_table(arguments.runners, arguments.seconds, iterations)
    if name == "runners":
        configs = {n: config(n, envs=envs) for n in arguments.counts}
    else:
        configs = {n: config(0, n, batches=2, envs=envs) for n in arguments.counts}
    return [{name: n} | measure(chosen, iterations) for n, chosen in configs.items()]


def main(argv: list[str] | None = None) -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runners", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=0.0005, help="that a costly step takes")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--counts", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--envs", type=int, default=ENVS, help="of an iteration's batch")
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    arguments = parser.parse_args(argv)
    register_env("Costly", lambda context: Costly(**context))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    local = {"address": "local", "_node_ip_address": "127.0.0.1"}
    ray.init(num_cpus=16, include_dashboard=False, log_to_driver=False, **local)
    report = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
        "costly_step_s": arguments.seconds,
        **{name: table(name, arguments) for name in arguments.tables},
    }
    ray.shutdown()
    for name in arguments.tables:
        for row in report[name]:
            print(name, {key: round(value, 4) for key, value in row.items()}, flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
