"""Sub-envs that raise, hang or return invalid values."""

from __future__ import annotations

import logging
import time
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rllib_metarl.envs import BatchedEnvs, BrokenEnv, Guard, Stream, Tolerance, make_vector

LENGTH = 6


class Faulty(gym.Env):
    """Counts its steps; goes wrong at a step, or at a reset, of the first env that is made."""

    observation_space = gym.spaces.Box(0.0, 100.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, fault: str | None = None, at: int = 3) -> None:
        self.fault, self.at = fault, at

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps = 0
        self.task = float(self.np_random.random())
        if self.fault == "reset":
            raise OSError("the simulator is gone")
        return self._observation(), {"context": np.float32(self.task)}

    def step(self, action: Any) -> Any:
        self.steps += 1
        reward: Any = 1.0
        observation = self._observation()
        if self.steps == self.at:
            match self.fault:
                case "raise":
                    raise ZeroDivisionError("by zero")
                case "hang":
                    time.sleep(60)
                case "nan":
                    observation[0] = np.nan
                case "shape":
                    observation = observation[:1]
                case "object":
                    observation = np.array([None, None])
                case "reward":
                    reward = float("inf")
                case "no number":
                    reward = None
        return (
            *(observation, reward, self.steps >= LENGTH, False),
            {"context": np.float32(self.task)},
        )

    def _observation(self) -> np.ndarray:
        return np.array([self.steps, self.task], np.float32)


def guarded(*faults: str | None, most: int = 5, again: bool = False, **patience: Any) -> Any:
    """One sub-env for each fault; the ones that take their places are well unless `again`."""

    def make(i: int) -> gym.Env:
        return Faulty(faults[i] if again else None)

    tolerance = Tolerance(patience.get("step_timeout_s"), most)
    batched = BatchedEnvs([Faulty(fault) for fault in faults], Guard(make, tolerance))
    batched.set_stream(Stream(0))
    return batched


def played(env: BatchedEnvs, steps: int) -> list[Any]:
    first = env.reset()[0]
    return [first, *(env.step(np.zeros(env.num_envs, int)) for _ in range(steps))]


FAULTS = ("raise", "hang", "nan", "shape", "object", "reward", "no number")


@pytest.mark.parametrize("fault", FAULTS)
def test_the_meta_episode_is_truncated_and_a_new_env_takes_its_place(fault: str) -> None:
    env = guarded(None, fault, step_timeout_s=0.2)
    _, *steps = played(env, 9)
    observation, reward, terminated, truncated, infos = steps[2]
    assert truncated.tolist() == [False, True] and not terminated.any()
    assert reward.tolist() == [1.0, 0.0] and env.faults == 1
    np.testing.assert_array_equal(infos["final_obs"][1], steps[1][0][1])  # where it was before
    assert infos["final_info"]["context"][1] == np.float32(steps[1][0][1, 1])  # labels are there
    assert observation[:, 0].tolist() == [3.0, 0.0]
    assert steps[8][2].tolist() == [False, True], "the new one goes its whole length"
    assert np.isfinite([step[0] for step in steps]).all()


def test_the_others_do_not_notice() -> None:
    with_fault, without = (played(guarded(None, fault), 15) for fault in ("raise", None))
    for one, other in zip(with_fault[1:], without[1:], strict=True):
        np.testing.assert_array_equal(one[0][0], other[0][0])
        assert one[1][0] == other[1][0] and one[2][0] == other[2][0]


def test_new_envs_have_tasks_of_their_own_and_the_same_ones_when_it_is_done_again() -> None:
    once, again = (played(guarded("raise", "raise"), 4) for _ in range(2))
    np.testing.assert_array_equal(once[-1][0], again[-1][0])
    tasks = {*once[0][:, 1].tolist(), *once[-1][0][:, 1].tolist()}
    assert len(tasks) == 4


def test_a_reset_that_fails_is_tried_again_in_a_new_env() -> None:
    env = guarded(None, "reset")
    observations, infos = env.reset()
    assert env.faults == 1 and observations[:, 0].tolist() == [0.0, 0.0]
    assert set(infos) == {"context"}


@pytest.mark.parametrize("fault", ["raise", "reset"])
def test_too_many_in_a_row_are_too_many(fault: str) -> None:
    env = guarded(fault, again=True, most=4)
    with pytest.raises(BrokenEnv, match=r"4 faults in a row.*(by zero|is gone).*test_guard.py:"):
        played(env, 50)
    assert env.faults == 4


def test_a_meta_episode_that_ends_well_begins_the_count_anew() -> None:
    env = guarded(None, "raise", again=True, most=4)
    played(env, 60)
    assert env.faults > 10


def test_it_is_told_which_env_did_what_and_where(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "rllib_metarl"):
        played(guarded(None, "raise"), 3)
    (record,) = caplog.records
    assert "sub-env 1 raised ZeroDivisionError: by zero" in record.message
    assert "test_guard.py:" in record.message


def test_without_a_guard_an_error_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        played(BatchedEnvs([Faulty("raise")]), 3)


def test_an_alarm_that_somebody_else_uses_is_left_alone() -> None:
    import signal

    def mine(*_: Any) -> None: ...

    before = signal.signal(signal.SIGALRM, mine)
    try:
        played(guarded(None, step_timeout_s=0.1), 3)
        assert signal.getsignal(signal.SIGALRM) is mine
    finally:
        signal.signal(signal.SIGALRM, before)


def test_an_env_that_fails_at_its_close_does_not_keep_the_others_open() -> None:
    closed = []

    class Shut(gym.Env[np.ndarray, int]):
        observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        action_space = gym.spaces.Discrete(2)

        def close(self) -> None:
            closed.append(self)
            raise RuntimeError("shut")

    BatchedEnvs([Shut(), Shut()]).close()
    assert len(closed) == 2


def test_make_vector_tolerates_faults_if_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = gym.envs.registration.EnvSpec("Test/Faulty-v0", entry_point=Faulty)
    monkeypatch.setitem(gym.registry, spec.id, spec)
    env = make_vector(spec.id, 1, {"fault": "raise"}, Stream(0), tolerance=Tolerance(None, 5))
    env.reset()
    truncated = [bool(env.step(np.zeros(1, int))[3][0]) for _ in range(3)]
    assert truncated == [False, False, True] and env.faults == 1
