"""How much faster one call of ``mujoco.rollout`` is than gymnasium's own environment.

Closed loop: each action is a function of the observation before it. In each round three contestants
make the same number of steps one after the other, so that what else the machine does meets them
alike; the ratios are medians over the rounds.

    python benchmarks/mujoco_vector.py [--envs 64] [--steps 4000] [--rounds 5] [--json FILE]

`gymnasium` is one ``HalfCheetah-v5`` (which needs gymnasium's mujoco extra), `vector` is
``DLCMDP/HalfCheetahVel-v0`` with `--envs` rows, sessions, labels and rewards included, on one
thread and on two. The mark is 1.3 for one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np

from rllib_metarl.envs import make_vector

MARK = 1.3


def policy(observations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return actions [N, 6] for observations [N, 17]."""
    return np.tanh(observations @ weights).astype(np.float32)


def gymnasium_steps(weights: np.ndarray) -> Callable[[int], None]:
    """Return a function that makes so many steps in gymnasium's environment."""
    env = gym.make("HalfCheetah-v5", max_episode_steps=200, disable_env_checker=True)
    last = [env.reset(seed=0)[0]]

    def make(steps: int) -> None:
        observation = last[0]
        for _ in range(steps):
            result = env.step(policy(observation[None], weights)[0])
            observation = result[0]
            if result[2] or result[3]:
                observation = env.reset()[0]
        last[0] = observation

    return make


def vector_steps(envs: int, threads: int, weights: np.ndarray) -> Callable[[int], None]:
    """Return a function that makes so many steps in a vector environment, all rows counted."""
    env = make_vector("DLCMDP/HalfCheetahVel-v0", envs, {"threads": threads})
    last = [env.reset(seed=0)[0]]

    def make(steps: int) -> None:
        for _ in range(-(-steps // envs)):
            last[0] = env.step(policy(last[0], weights))[0]

    return make


def measure(envs: int, steps: int, rounds: int) -> dict[str, object]:
    """Return steps per second of each contestant and the ratios to gymnasium."""
    weights = np.random.default_rng(0).normal(0.0, 0.3, (17, 6))
    contestants = {
        "gymnasium": gymnasium_steps(weights),
        "vector_1_thread": vector_steps(envs, 1, weights),
        "vector_2_threads": vector_steps(envs, 2, weights),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for make in contestants.values():
        make(steps // 4)  # not counted: caches, lazily made things
    for _ in range(rounds):
        for name, make in contestants.items():
            begun = time.perf_counter()
            make(steps)
            seconds[name].append(time.perf_counter() - begun)
    speeds = {name: steps / statistics.median(took) for name, took in seconds.items()}
    ratios = {
        name: statistics.median(
            a / b for a, b in zip(seconds["gymnasium"], seconds[name], strict=True)
        )
        for name in contestants
        if name != "gymnasium"
    }
    return {
        "envs": envs,
        "steps": steps,
        "rounds": rounds,
        "steps_per_second": {name: round(speed) for name, speed in speeds.items()},
        "ratio_to_gymnasium": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "mark": MARK,
        "passed": ratios["vector_1_thread"] >= MARK,
    }


def main(argv: list[str] | None = None) -> None:
    """Measure, print and, if asked, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--envs", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args(argv)
    figures = measure(arguments.envs, arguments.steps, arguments.rounds)
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
