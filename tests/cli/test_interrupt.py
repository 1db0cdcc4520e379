"""Signals leave a checkpoint, and --resume truly goes on from it."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rllib_metarl.cli.running import interrupt as implementation
from rllib_metarl.cli.running.interrupt import Criteria, Interrupt
from tests.cli.conftest import TINY, Ended, finish, start, until_an_iteration


@pytest.fixture(scope="module")
def interrupted(folder: Path) -> Ended:
    (folder / "tiny.yaml").write_text(TINY)
    process = start(
        *("train", "file", folder / "tiny.yaml", "--storage-path", folder / "results"),
        *("--stop", '{"training_iteration": 100000}'),
    )
    first = until_an_iteration(process)
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
    until_an_iteration(process)
    os.killpg(process.pid, signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process).code == 130
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


class Trial(SimpleNamespace):
    """As much of a trial as a signal looks at."""

    RUNNING = "RUNNING"

    def __init__(self) -> None:
        super().__init__(trial_id="one", status=self.RUNNING, is_saving=False)


@pytest.fixture
def left() -> Iterator[list[int]]:
    """How often Tune's loop was told to end."""
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would stay ignored
    yield seen
    signal.signal(signal.SIGUSR1, before)
    signal.signal(signal.SIGHUP, hangup)


def test_ctrl_c_waits_for_the_iteration_however_long_it_is(
    left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(implementation, "GRACE_S", 0.0)
    trial, result = Trial(), {}
    with Interrupt(Criteria({})) as interrupt:
        signal.raise_signal(signal.SIGINT)
        interrupt.on_step_end(1, [trial])
        assert not left
        interrupt.on_trial_result(1, [trial], trial, result)
        interrupt.on_trial_save(1, [trial], trial)
        interrupt.on_step_end(2, [trial])
    assert left and result and not interrupt.unsaved


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("after_ctrl_c", [False, True])
def test_what_will_soon_kill_waits_no_longer_than_it_says(
    left: list[int], monkeypatch: pytest.MonkeyPatch, number: int, after_ctrl_c: bool
) -> None:
    trial = Trial()
    with Interrupt(Criteria({})) as interrupt:
        if after_ctrl_c:
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(number)
        interrupt.on_step_end(1, [trial])
        assert not left
        monkeypatch.setattr(implementation.time, "monotonic", lambda: interrupt._deadline + 1)
        trial.is_saving = True  # what has been begun may be finished
        interrupt.on_step_end(2, [trial])
        assert not left
        trial.is_saving = False
        signal.raise_signal(signal.SIGTERM)  # some senders repeat themselves
        interrupt.on_step_end(3, [trial])
    assert left and interrupt.unsaved == {"one"} and interrupt.signal == number


def test_a_command_under_nohup_is_not_ended_by_its_terminal(left: list[int]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt(Criteria({})) as interrupt:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupt.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_leaves_a_checkpoint_and_a_shells_code(
    folder: Path, number: signal.Signals
) -> None:
    (folder / "tiny.yaml").write_text(TINY)
    process = start(
        *("train", "file", folder / "tiny.yaml", "--storage-path", folder / number.name),
        *("--stop", '{"training_iteration": 100000}'),
    )
    first = until_an_iteration(process)
    os.killpg(process.pid, number)
    ended = finish(process, first)
    assert ended.code == 128 + number, ended.err
    assert "Traceback" not in ended.err
    resume, checkpoint = ended.lines[-2:]
    assert resume.endswith("--resume")
    assert (Path(checkpoint.removeprefix("checkpoint: ")) / "rllib_checkpoint.json").is_file()


SLOW_ENV = """
import time
import gymnasium as gym
import rllib_metarl.envs

class Slow(gym.Wrapper):
    def step(self, action):
        time.sleep(0.2)
        return self.env.step(action)

gym.register("Slow-v0", lambda: Slow(gym.make("DLCMDP/GridWorld-v0", size=3, horizon=6)))
"""
SLOW = """
plugins: [slow_env]
slow:
  run: DynaMITE
  env: Slow-v0
  stop: {training_iteration: 4}
  config:
    seed: 1
    num_envs_per_env_runner: 4
    train_batch_size_per_learner: 48
    minibatch_size: 24
    vae_batch_size: 4
    evaluate_every_steps: 0
"""


def numbers(place: Path) -> dict[int, Any]:
    """What each iteration came to."""
    (path,) = place.glob("slow/*/result.json")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {one["training_iteration"]: one["learners"]["default_policy"] for one in lines}


@pytest.mark.slow
def test_an_iteration_that_takes_too_long_is_given_up_and_comes_again(tmp_path: Path) -> None:
    (tmp_path / "slow_env.py").write_text(SLOW_ENV)
    (tmp_path / "slow.yaml").write_text(SLOW)  # an iteration of 10 s, without a checkpoint
    arguments = ("train", "file", tmp_path / "slow.yaml", "--storage-path", tmp_path)
    process = start(*arguments)
    first = until_an_iteration(process) + until_an_iteration(process)
    process.terminate()
    ended = finish(process, first)
    assert ended.code == 143, ended.err
    assert "abandoned the current iteration" in ended.err
    assert Path(ended.lines[-1].removeprefix("checkpoint: ")).is_dir()
    before = numbers(tmp_path)
    again = finish(start(*arguments, "--resume"))
    assert again.code == 0, again.err
    after = numbers(tmp_path)
    assert list(after) == [1, 2, 3, 4]
    for iteration, told in before.items():
        assert after[iteration]["policy_loss"] == told["policy_loss"]
