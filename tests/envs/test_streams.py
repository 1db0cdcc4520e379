"""No two sub-environments share randomness; runs repeat; restarts do not replay."""

from __future__ import annotations

import numpy as np
import pytest

from rllib_metarl.envs import Stream, make_vector

GRID = "DLCMDP/GridWorld-v0"


def switches(stream: Stream, num_envs: int = 64, episodes: int = 4) -> np.ndarray:
    """The switch sequences of a worker's sub-envs, [num_envs, episodes * horizon]."""
    env = make_vector(GRID, num_envs, {"p_switch": 0.3, "horizon": 40}, stream)
    env.reset()
    stay = np.full(num_envs, 4)
    return np.stack([env.step(stay)[4]["switched"] for _ in range(episodes * 40)], 1)


def test_no_two_of_8_workers_with_64_envs_share_a_switch_sequence():
    everyone = np.concatenate([switches(Stream(3, worker)) for worker in range(8)])
    assert len(np.unique(everyone, axis=0)) == 8 * 64


def test_no_two_streams_share_a_state():
    names = [
        (Stream(seed, worker, evaluation, incarnation), env)
        for seed in (0, 1, 2**32, 2**40)
        for worker in range(8)
        for evaluation, incarnation in ((False, 0), (False, 1), (False, 2), (True, 0))
        for env in range(16)
    ]
    states = {tuple(s.seed_sequence(i).generate_state(4).tolist()) for s, i in names}
    assert len(states) == len(names)


def test_a_run_is_reproducible():
    assert np.array_equal(switches(Stream(5, 2)), switches(Stream(5, 2)))


@pytest.mark.parametrize(
    "other", [Stream(6, 2), Stream(5, 3), Stream(5, 2, evaluation=True), Stream(5, 2, False, 1)]
)
def test_another_seed_worker_purpose_or_incarnation_gives_other_tasks(other):
    ours, theirs = switches(Stream(5, 2)), switches(other)
    assert not (ours[:, None] == theirs[None]).all(-1).any()


def test_evaluation_meets_the_same_tasks_each_time_and_after_a_restart():
    env = make_vector(GRID, 4)
    seen = []
    for incarnation in (0, 0, 1):
        env.set_stream(Stream(5, 1, evaluation=True, incarnation=incarnation))
        observations, infos = env.reset()
        seen.append(np.concatenate([observations, infos["context"]], 1))
        env.step(np.zeros(4, int))
    assert np.array_equal(seen[0], seen[1]) and np.array_equal(seen[0], seen[2])


def test_reset_without_seed_goes_on_in_the_stream():
    env = make_vector(GRID, 3, stream=Stream(1))
    first, second = env.reset()[0], env.reset()[0]
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "settings", [{"seed": -1}, {"seed": 2**64}, {"seed": 0, "worker_index": -1}]
)
def test_numbers_out_of_range_are_named(settings):
    with pytest.raises(ValueError, match="Stream: (seed|worker_index) is .*must be a whole number"):
        Stream(**settings)
