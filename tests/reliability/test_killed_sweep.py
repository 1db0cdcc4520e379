"""A sweep killed again and again prunes the trials of one that was left alone, and has its best."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from rllib_metarl.report.sweep_data import read_sweep
from tests.cli.conftest import finish, start

KILLS = 30
"""At most: a sweep may have come to its end before."""
ASHA = """
swept:
  run: DynaMITE
  env: DLCMDP/GridWorld-v0
  scheduler: asha
  scheduler_config: {grace_period: 2, reduction_factor: 2}
  metric: env_runners/episode_return_mean
  num_samples: 3
  seeds: 2
  max_concurrent_trials: 1
  stop: {training_iteration: 9}
  checkpoint_config: {checkpoint_frequency: 1, num_to_keep: 1}
  config:
    lr: {loguniform: [1e-5, 3e-2]}
    num_env_runners: 0
    num_envs_per_env_runner: 4
    train_batch_size_per_learner: 24
    minibatch_size: 24
    num_epochs: 1
    vae_updates: 1
    vae_batch_size: 4
    env_config: {size: 3, horizon: 6}
    evaluate_every_steps: 0
"""


def _sweep(folder: Path, *more: object) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "sweep.yaml").write_text(ASHA)
    places = ("--storage-path", folder, "--ray-num-cpus", 1)
    return start("train", "file", folder / "sweep.yaml", *places, *more)


def _lines(folder: Path) -> int:
    logs = folder.glob("swept/*/result.json")
    return sum(path.read_bytes().count(b"\n") for path in logs)


def _kill_later(process: Any, folder: Path, delay_s: float) -> bool:
    """SIGKILL, so long after the first new result; False where it has ended before that."""
    before, deadline = _lines(folder), time.monotonic() + 200
    while process.poll() is None and _lines(folder) == before and time.monotonic() < deadline:
        time.sleep(0.05)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(delay_s)
    ended = process.poll() is not None
    process.kill()
    process.communicate()
    return not ended


def _came_to(folder: Path) -> tuple[list[tuple[Any, ...]], str]:
    sweep = read_sweep(folder / "swept")
    trials = sorted((one.values["lr"], one.env_steps, one.value) for one in sweep.trials)
    return trials, (folder / "swept" / "best.yaml").read_text().replace(str(folder), "")


@pytest.mark.slow
def test_a_sweep_killed_again_and_again_prunes_the_same_trials(tmp_path: Path) -> None:
    alone, killed, rng = tmp_path / "alone", tmp_path / "killed", random.Random(0)
    again: list[str] = []
    ended = finish(_sweep(alone))
    assert ended.code == 0, ended.err
    kills = 0
    while kills < KILLS and _kill_later(_sweep(killed, *again), killed, rng.random()):
        kills, again = kills + 1, ["--resume-if-any"]
    assert kills >= 8, "it was over before it was killed"
    ended = finish(_sweep(killed, "--resume-if-any"))
    assert ended.code == 0, ended.err
    expected = _came_to(alone)
    assert len({steps for _, steps, _ in expected[0]}) > 1, "some were pruned and some were not"
    assert _came_to(killed) == expected
