"""Ctrl-C leaves a checkpoint, and --resume truly goes on from it."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, Ended, finish, start


@pytest.fixture(scope="module")
def interrupted(folder: Path) -> Ended:
    (folder / "tiny.yaml").write_text(TINY)
    process = start(
        *("train", "file", folder / "tiny.yaml", "--storage-path", folder / "results"),
        *("--stop", '{"training_iteration": 100000}'),
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    # The whole group, as a terminal does it: Ray's processes must survive until the checkpoint.
    os.killpg(process.pid, signal.SIGINT)
    return finish(process, first)


def results(folder: Path) -> list[dict]:
    (path,) = folder.glob("results/tiny/*/result.json")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_interrupted_run_has_a_checkpoint_and_says_how_to_go_on(interrupted):
    assert interrupted.code == 130, interrupted.err
    resume, checkpoint = interrupted.lines[-2:]
    assert resume.startswith("resume with: rllib train file") and resume.endswith("--resume")
    path = Path(checkpoint.removeprefix("checkpoint: "))
    assert (path / "rllib_checkpoint.json").is_file()
    assert "Traceback" not in interrupted.err


def test_the_printed_command_goes_on_where_it_stopped(interrupted, folder):
    before = results(folder)
    last = before[-1]["training_iteration"]
    printed = interrupted.lines[-2].removeprefix("resume with: rllib ")
    goal = json.dumps({"training_iteration": last + 2})
    arguments = [goal if "100000" in word else word for word in shlex.split(printed)]
    ended = finish(start(*arguments))
    assert ended.code == 0, ended.err
    after = results(folder)
    assert [r["training_iteration"] for r in after] == list(range(1, last + 3))
    steps = [r["num_env_steps_sampled_lifetime"] for r in after]
    assert steps == [240 * (i + 1) for i in range(last + 2)]
    buffered = [r["learners"]["default_policy"]["vae_buffer_episodes"] for r in after]
    assert buffered[last] > buffered[last - 1], "the trajectory buffer came back"


@pytest.mark.slow
def test_a_second_interrupt_ends_at_once_and_leaves_no_process(folder):
    (folder / "tiny.yaml").write_text(TINY)
    process = start(
        *("train", "file", folder / "tiny.yaml", "--storage-path", folder / "twice"),
        *("--stop", '{"training_iteration": 100000}'),
    )
    assert process.stdout is not None
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process).code == 130
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
