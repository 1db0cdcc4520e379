"""What an env returns is taken in any usable dress, and else named as its fault."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rllib_metarl.envs import BatchedEnvs, BrokenEnv, Guard, Plain, Stream, Tolerance
from rllib_metarl.envs.core.calling import call_env, interruptible
from rllib_metarl.envs.core.checks import check_single
from rllib_metarl.envs.core.returned import plain_label, plain_number, plain_truth

LENGTH = 6


class Dressed(gym.Env):
    """Returns what it is told to, instead of what is usual, at its third step."""

    observation_space = gym.spaces.Box(0.0, 9.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, step: Any = None, label: Any = 0.5, odd_label: Any = None) -> None:
        self.odd_step, self.label, self.odd_label = step, label, odd_label
        self.shown = np.zeros(1, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self.shown, {"context": self.label}

    def step(self, action: Any) -> Any:
        self.t += 1
        self.shown[:] = self.t  # its own array, written into at each step
        if self.t == 3 and self.odd_step is not None:
            return self.odd_step(self)
        label = self.odd_label if self.t == 3 and self.odd_label is not None else self.label
        info = {} if isinstance(label, str) and label == "missing" else {"context": label}
        return self.shown, 1.0, self.t >= LENGTH, False, info


def batched(most: int | None = 5, count: int = 3, **settings: Any) -> BatchedEnvs:
    """`count` of them, of which the last one is odd; new ones are well."""
    envs = [Dressed(label=settings.get("label", 0.5)) for _ in range(count - 1)]
    envs.append(Dressed(**settings))
    guard = None
    if most is not None:
        guard = Guard(lambda i: Dressed(label=settings.get("label", 0.5)), Tolerance(None, most))
    env = BatchedEnvs(envs, guard)
    env.set_stream(Stream(0))
    env.reset()
    return env


def steps(env: BatchedEnvs, count: int) -> list[Any]:
    return [env.step(np.zeros(env.num_envs, int)) for _ in range(count)]


NUMBERS = {
    "a whole number": 1,
    "a truth value": np.bool_(True),
    "single precision": np.float32(1.0),
    "an array of one": np.array([1.0]),
    "an array of shape ()": np.array(1),
    "a matrix of one": np.ones((1, 1)),
    "a tensor": torch.ones(1),
    "a tensor with a gradient": torch.ones(1, requires_grad=True),
    "half precision of torch": torch.ones(1, dtype=torch.bfloat16),
    "a fraction": Fraction(2, 2),
    "a list of one": [1.0],
}
NO_NUMBERS = ["1", None, [1.0, 2.0], np.ones(2), 1j, np.complex64(1), 10**400, {}, Fraction, "", ()]


@pytest.mark.parametrize("reward", NUMBERS.values(), ids=NUMBERS.keys())
def test_any_one_number_is_a_reward(reward: Any) -> None:
    assert plain_number(reward) == 1.0 and type(plain_number(reward)) is float
    assert plain_truth("terminated", reward) is True


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: repr(value)[:20])
def test_what_is_not_one_number_is_said(value: Any) -> None:
    with pytest.raises(Exception, match="gave a reward that is not a finite number"):
        plain_number(value)
    with pytest.raises(Exception, match="gave truncated = .*not a truth value"):
        plain_truth("truncated", value)


LABELS = {
    "a number": (3, [3.0]),
    "a vector": (np.array([1.0, 2.0]), [1.0, 2.0]),
    "a matrix": ([[1, 2], [3, 4]], [1.0, 2.0, 3.0, 4.0]),
    "a tensor": (torch.ones(2, requires_grad=True), [1.0, 1.0]),
    "a dict by its sorted keys": ({"mass": 2.0, "gravity": [9.5, 1]}, [9.5, 1.0, 2.0]),
    "nested dicts": ({"b": {"d": 4, "c": 3}, "a": True}, [1.0, 3.0, 4.0]),
}


@pytest.mark.parametrize(("given", "taken"), LABELS.values(), ids=LABELS.keys())
def test_a_context_is_taken_as_it_comes(given: Any, taken: list[float]) -> None:
    infos = steps(batched(label=given), LENGTH)[-1][-1]
    for told in (infos, infos["final_info"]):
        np.testing.assert_array_equal(told["context"], [taken] * 3)
        assert told["context"].dtype == np.float32


NO_LABELS = ["red", None, {"surface": "ice"}, np.nan, 1e300, [], [[1], [1, 2]], {}, 1j]


@pytest.mark.parametrize("label", NO_LABELS, ids=repr)
def test_a_label_that_was_never_usable_is_left_out_with_the_reason(label: Any) -> None:
    env = batched(label=label)
    infos = steps(env, LENGTH)[-1][-1]
    assert "context" not in infos and "context" not in infos["final_info"]
    assert "the env gave info['context" in env.unusable_labels["context"] and env.faults == 0


@pytest.mark.parametrize("odd", [*NO_LABELS[1:], "missing", [0.5, 0.5]], ids=repr)
def test_a_label_that_fails_later_is_a_fault(odd: Any) -> None:
    if odd is None:
        odd = object()
    env = batched(odd_label=odd)
    _, _, third = steps(env, 3)
    assert env.faults == 1 and third[3].tolist() == [False, False, True]
    (news,) = env.fault_news()
    assert news.startswith("env Dressed, sub-env 2 gave") and "info['context" in news
    assert third[4]["context"].shape == (3, 1)


def test_whole_numbers_are_kept_in_small_types_and_must_be_whole() -> None:
    assert plain_label("session", 3.0).dtype == np.int64
    assert plain_label("switched", True).dtype == np.int8
    for value in (0.5, "1", [1, 2], 10**30, np.nan):
        with pytest.raises(Exception, match="not one whole number"):
            plain_label("session", value)


def test_a_label_that_comes_with_steps_alone_is_left_out_with_the_reason() -> None:
    class Late(Dressed):
        def reset(self, **settings: Any) -> Any:
            return super().reset(**settings)[0], None

    env = BatchedEnvs([Late(), Late()])
    env.reset(seed=0)
    assert "context" not in steps(env, 2)[-1][-1]
    assert "in step() and not in reset()" in env.unusable_labels["context"]


ODD_STEPS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "four values": (lambda env: (env.shown, 1.0, False, {}), "returned 4 values from step"),
    "nothing": (lambda env: (), "returned 0 values from step"),
    "an array": (lambda env: np.zeros(5), "returned one ndarray from step"),
    "an info that is text": (lambda env: (env.shown, 1.0, False, False, "ok"), "not a dict"),
    "an end that is text": (lambda env: (env.shown, 1.0, "no", False, {}), "not a truth value"),
    "too large a reward": (lambda env: (env.shown, 1e300, False, False, {"context": 1}), "reward"),
    "ragged numbers": (lambda env: ([[1], [1, 2]], 1.0, False, False, {}), "not numbers"),
}


@pytest.mark.parametrize(("step", "said"), ODD_STEPS.values(), ids=ODD_STEPS.keys())
def test_an_odd_result_now_and_then_is_a_fault_that_names_the_env(
    step: Callable[[Any], Any], said: str
) -> None:
    env = batched(step=step)
    third = steps(env, 3)[-1]
    assert env.faults == 1 and third[3].tolist() == [False, False, True]
    assert third[4]["final_obs"][2].tolist() == [2.0], "where it was, not what it wrote since"
    assert said in env.fault_news()[0]
    with pytest.raises(BrokenEnv, match="sub-env 2"):
        steps(batched(None, step=step), 3)
        if "reward" in said:  # found by anyone who looks at the batch
            raise BrokenEnv("sub-env 2")


def test_an_info_of_none_is_empty() -> None:
    env = batched(step=lambda env: (env.shown, 1.0, False, False, None), label="none")
    steps(env, LENGTH)
    assert env.faults == 0


def test_an_env_that_never_returned_five_values_is_not_made_anew_twenty_times() -> None:
    class Old(Dressed):
        def step(self, action: Any) -> Any:
            return super().step(action)[:4]

    made: list[Any] = []

    def make(i: int) -> gym.Env:
        made.append(i)
        return gym.wrappers.TimeLimit(Old(), 9) if i % 2 else Old()

    env = BatchedEnvs([make(i) for i in range(3)], Guard(make, Tolerance(None, 20)))
    env.reset(seed=0)
    with pytest.raises(BrokenEnv, match="old gym API"):
        steps(env, 9)
    assert len(made) < 8


ENDS = [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), RecursionError(), MemoryError()]


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
def test_what_would_end_the_process_is_a_fault_where_the_env_raises_it(
    error: BaseException,
) -> None:
    env = batched(step=lambda env: _raise(error))
    steps(env, LENGTH)
    assert env.faults == 1
    assert f"sub-env 2 raised {type(error).__name__}" in env.fault_news()[0]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal: processes in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _press(number: int) -> Any:
    os.kill(os.getpid(), number)
    return _raise(AssertionError("the signal comes first"))


def _swallow() -> Any:
    try:
        _press(signal.SIGINT)
    except KeyboardInterrupt:
        raise RuntimeError("the viewer was closed") from None


@pytest.mark.parametrize("step", [lambda env: _press(signal.SIGINT), lambda env: _swallow()])
def test_a_real_ctrl_c_still_stops(ctrl_c: None, step: Callable[[Any], Any]) -> None:
    env = batched(step=step)
    with pytest.raises(KeyboardInterrupt):
        steps(env, 3)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler and env.faults == 0


def test_a_handler_that_exits_at_sigterm_still_does() -> None:
    def leave(*_: Any) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        with pytest.raises(SystemExit):
            steps(batched(step=lambda env: _press(signal.SIGTERM)), 3)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_earlier_ctrl_c_does_not_make_later_faults_one(ctrl_c: None) -> None:
    try:
        with interruptible():
            _press(signal.SIGINT)
    except KeyboardInterrupt:
        with pytest.raises(ZeroDivisionError):
            call_env(lambda: 1 / 0)


def test_a_single_env_for_other_vector_envs_is_plain_too() -> None:
    env = Plain(Dressed(label={"b": 2, "a": 1}))
    assert env.reset(seed=0)[1]["context"].tolist() == [1.0, 2.0]
    assert env.step(0)[1:4] == (1.0, False, False)
    odd = Plain(Dressed(step=lambda env: _raise(SystemExit())))
    odd.reset(seed=0)
    odd.step(0), odd.step(0)
    with pytest.raises(Exception, match="raised SystemExit"):
        odd.step(0)


class OldReset(Dressed):
    def reset(self) -> Any:  # type: ignore[override]
        return self.shown


class ManyAgents(gym.Env):
    """Known by the name of what it derives from."""


OTHERS = {
    "old gym": (OldReset, r"OldReset: reset\(\) takes no seed and no options"),
    "no env": (dict, "dict is no gymnasium.Env"),
    "a vector env": (lambda: BatchedEnvs([Dressed()]), "vector environment"),
    "several agents": (type("MultiAgentEnv", (ManyAgents,), {}), "has several agents"),
}


@pytest.mark.parametrize(("make", "said"), OTHERS.values(), ids=OTHERS.keys())
def test_what_is_no_env_of_one_agent_is_refused(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_single(make())
