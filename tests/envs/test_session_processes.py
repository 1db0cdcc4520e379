"""When the context changes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from rllib_metarl.envs import Bernoulli, FixedLength, Never, NormalLength, SessionProcess
from rllib_metarl.envs.core.sessions import session_process


def lengths(process: SessionProcess, rows: int = 400, horizon: int = 1000) -> np.ndarray:
    """Lengths of the complete sessions of `rows` sequences."""
    switched = process.switches(np.random.default_rng(0).random((rows, horizon)))
    ends = [np.flatnonzero(row) + 1 for row in switched]
    return np.concatenate([np.diff(row, prepend=0) for row in ends])


def test_bernoulli_sessions_are_geometric():
    found = lengths(Bernoulli(0.2))
    assert found.mean() == pytest.approx(5.0, abs=0.1)
    for n in (1, 2, 5):
        assert np.mean(found == n) == pytest.approx(0.2 * 0.8 ** (n - 1), abs=0.01)


def test_fixed_sessions_all_have_their_length():
    assert set(lengths(FixedLength(7)).tolist()) == {7}


def test_normal_lengths_have_their_moments_and_minimum():
    found = lengths(NormalLength(20, 4, minimum=10))
    assert found.min() >= 10
    assert found.mean() == pytest.approx(20.0, abs=0.2)
    assert found.std() == pytest.approx(4.0, abs=0.2)


def test_normal_lengths_below_the_minimum_become_the_minimum():
    found = lengths(NormalLength(5, 5, minimum=5))
    assert np.mean(found == 5) == pytest.approx(0.5398, abs=0.01)  # P(z < 0.1)
    assert np.mean(found == 6) == pytest.approx(0.0781, abs=0.01)  # P(0.1 < z < 0.3)


def test_never_never_switches():
    assert len(lengths(Never())) == 0


@pytest.mark.parametrize(
    "process", [Bernoulli(0.3), Never(), FixedLength(4), NormalLength(6, 2, 3)]
)
def test_step_by_step_equals_all_at_once(process):
    uniforms = np.random.default_rng(1).random((1, 200))
    age, one_by_one = 1, []
    for u in uniforms[0]:
        one_by_one.append(bool(u < process.hazard(age)))
        age = 1 if one_by_one[-1] else age + 1
    assert process.switches(uniforms)[0].tolist() == one_by_one


@pytest.mark.parametrize("process", [Bernoulli(0.3), Never(), FixedLength(4)])
def test_the_schedule_is_the_frequency_of_switches(process):
    switched = process.switches(np.random.default_rng(2).random((20000, 12)))
    assert switched.mean(0) == pytest.approx(process.schedule(12), abs=0.015)


def test_random_lengths_have_no_schedule():
    assert NormalLength(6, 2).schedule(10) is None


def test_plain_data_gives_the_process():
    data = {"kind": "normal_length", "mean": 80, "std": 20, "minimum": 10}
    assert session_process(data) == NormalLength(80, 20, 10)
    assert session_process({"kind": "never"}) == Never()
    assert pickle.loads(pickle.dumps(session_process(data))) == NormalLength(80, 20, 10)


@pytest.mark.parametrize(
    "data, message",
    [
        ({"kind": "bernouli", "p": 0.1}, "did you mean 'bernoulli'"),
        ({"kind": "bernoulli", "q": 0.1}, "unexpected keyword argument 'q'"),
        ({"kind": "bernoulli", "p": 1.5}, "p is 1.5, but must be a number from 0 to 1"),
        ({"kind": "fixed_length", "n": 0}, "n is 0, but must be a whole number from 1"),
        ({"kind": "normal_length", "mean": 3, "std": 0}, "std is 0"),
        ({"kind": "normal_length", "mean": float("nan"), "std": 1}, "mean is nan"),
        ("bernoulli", "give a SessionProcess or a dict"),
    ],
)
def test_bad_processes_are_refused_with_the_mend(data, message):
    with pytest.raises(ValueError, match=message):
        session_process(data)
