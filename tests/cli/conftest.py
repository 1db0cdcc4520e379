"""Running the command in this process (mistakes, lists) and as a process of its own (training)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rllib_metarl.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "rllib_metarl.cli.main"]

# DynaMITE as small as it gets, with every part on, so that every metric is reported.
TINY = """
tiny:
  run: DynaMITE
  env: DLCMDP/GridWorld-v0
  stop: {training_iteration: 3}
  config:
    seed: 1
    num_env_runners: 0
    num_envs_per_env_runner: 4
    train_batch_size_per_learner: 240
    minibatch_size: 120
    num_epochs: 1
    vae_updates: 1
    vae_batch_size: 4
    decode_state: true
    evaluate_every_steps: 480
    held_out_episodes: 4
"""


@dataclass
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.strip().splitlines()


@pytest.fixture
def rllib(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs the command in this process."""

    def run(*arguments: object) -> Ended:
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes an experiment file."""

    def written(text: str) -> Path:
        path = tmp_path / "experiment.yaml"
        path.write_text(textwrap.dedent(text).lstrip())
        return path

    return written


def start(*arguments: object, cwd: Path = ROOT) -> subprocess.Popen[str]:
    """Starts the command as the leader of a process group, as a shell does."""
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment,
        start_new_session=True,
    )


def until_an_iteration(process: subprocess.Popen[str]) -> str:
    """What was printed until a line reported the next iteration."""
    said = ""
    assert process.stdout is not None
    for line in process.stdout:
        said += line
        if " iter " in line:
            return said
    raise AssertionError(f"it ended:\n{said}\n{process.stderr and process.stderr.read()}")


def finish(process: subprocess.Popen[str], before: str = "") -> Ended:
    """Waits for the command; kills its group if it does not end."""
    try:
        out, err = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"the command did not end:\n{out}\n{err}") from None
    return Ended(process.returncode, before + out, err)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One folder for the run that a module's tests share."""
    yield tmp_path_factory.mktemp("run")
