"""Training goes on where an env raises, hangs or returns invalid values."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_metarl.errors import UserError
from tests.algorithms.small import numbers, small_config

SAID = {
    "raise": "raised RuntimeError: the physics engine fell over",
    "hang": "took too long",
    "invalid values": "gave an observation that is NaN",
}


class Troubled(gym.Env):
    """Goes wrong at step 4, as often as its folder says and in the way it says."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config: Any) -> None:
        self.folder, self.kind = Path(config["folder"]), config["kind"]
        self.times = config["times"]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps == 4 and self._is_due():
            if self.kind == "raise":
                raise RuntimeError("the physics engine fell over")
            if self.kind == "hang":
                time.sleep(3600)
            if self.kind == "hang without Python":
                _block_for_ever()
            return np.full(2, np.nan, np.float32), 0.0, False, False, {}
        return np.zeros(2, np.float32), float(action), self.steps >= 6, False, {}

    def _is_due(self) -> bool:
        """Each time is one file, made by whichever process comes first."""
        for number in range(self.times):
            try:
                os.close(os.open(self.folder / str(number), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            return True
        return False


def _block_for_ever() -> None:
    """Like C code that does not come back: signals wait."""
    import signal

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    time.sleep(3600)


def training(
    folder: Path, kind: str, runners: int, times: int = 3, stepwise: bool = False, **settings: Any
) -> Any:
    env_config = {"folder": str(folder), "kind": kind, "times": times}
    config = small_config("RL2", env=Troubled, env_config=env_config, runners=runners, **settings)
    config.env_runners(sample_timeout_s=2.0 if "hang" in kind else 60.0)
    config.fault_tolerance(
        delay_between_env_runner_restarts_s=0,
        env_runner_health_probe_timeout_s=20,
        env_runner_restore_timeout_s=60,
    )
    return (config.callbacks(Look) if stepwise else config).build_algo()


class Look(RLlibCallback):
    """Looks at every step, which brings RLlib's own EnvRunner."""

    def on_episode_step(self, **told: Any) -> None:
        pass


SLOW = pytest.mark.slow  # EnvRunners in processes of their own, once more
CASES = [("raise", 0), ("hang", 0), ("invalid values", 0), ("raise", 2)]


@pytest.mark.parametrize(
    ("kind", "runners", "stepwise"),
    [
        *((*case, False) for case in CASES),
        *(pytest.param(kind, 2, False, marks=SLOW) for kind in ("hang", "invalid values")),
        *((kind, 0, True) for kind in SAID),
        pytest.param("raise", 2, True, marks=SLOW),
    ],
)
def test_training_goes_on_and_the_faults_are_counted(
    shared_ray: None, tmp_path: Path, kind: str, runners: int, stepwise: bool
) -> None:
    times = 1 if kind == "hang" else 3
    algorithm = training(tmp_path, kind, runners, times, stepwise)
    try:
        results = [algorithm.train() for _ in range(3)]
    finally:
        algorithm.stop()
    counted = sum(result["env_runners"].get("env_faults", 0) for result in results)
    assert counted == times == len(list(tmp_path.iterdir()))
    told = (algorithm.run_folder() / "faults.log").read_text().splitlines()
    assert len(told) == times
    assert all(re.search(rf"EnvRunner \d, env Troubled, sub-env \d {SAID[kind]}", t) for t in told)
    assert results[-1]["num_env_steps_sampled_lifetime"] >= 3 * 48
    assert np.isfinite(list(numbers(results[-1]).values())).all()


@pytest.mark.parametrize(
    ("runners", "stepwise"), [(0, False), (0, True), pytest.param(1, False, marks=SLOW)]
)
def test_an_env_that_never_works_ends_training_with_its_own_words(
    shared_ray: None, tmp_path: Path, runners: int, stepwise: bool
) -> None:
    algorithm = training(tmp_path, "raise", runners, 10_000, stepwise, max_env_faults=5)
    try:
        with pytest.raises(UserError, match="5 faults in a row.*engine fell over.*--resume"):
            for _ in range(5):
                algorithm.train()
    finally:
        algorithm.stop()


def test_with_no_fault_allowed_the_exception_comes_through(
    shared_ray: None, tmp_path: Path
) -> None:
    algorithm = training(tmp_path, "raise", runners=0, times=1, max_env_faults=0)
    try:
        with pytest.raises(RuntimeError, match="^the physics engine fell over$"):
            algorithm.train()
    finally:
        algorithm.stop()


@pytest.mark.slow
def test_an_env_runner_that_python_cannot_wake_is_started_anew(
    shared_ray: None, tmp_path: Path
) -> None:
    algorithm = training(tmp_path, "hang without Python", 2, times=1)
    try:
        hung, deadline = 0, time.time() + 120
        while time.time() < deadline:
            result = algorithm.train()
            hung += result.get("faults", {}).get("hung_env_runners", 0)
            if hung and algorithm.env_runner_group.num_healthy_remote_workers() == 2:
                break
        before = algorithm.env_steps()
        algorithm.train()
    finally:
        algorithm.stop()
    assert hung == 1 and algorithm.env_steps() > before
