"""Replay by task: what is kept, what is drawn, and what goes into a checkpoint."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import numpy as np
import pytest

from rllib_metarl.errors import UserError
from rllib_metarl.learning.replay import TaskReplay, check_memory

WIDTHS = {"observation": 2, "reward": 1}


def of_task(task: int, count: int, begin: int = 0) -> dict[str, Any]:
    number = np.arange(begin, begin + count, dtype=np.float32)[:, None]
    return {"observation": np.full((count, 2), task), "reward": number}


def filled(capacity: int = 6, context: int = 4) -> TaskReplay:
    replay = TaskReplay(3, capacity, context, WIDTHS, seed=1)
    replay.add(0, of_task(0, 3), np.array([True, False, True]))
    replay.add(2, of_task(2, 10), np.ones(10, bool))
    return replay


def test_samples_are_of_the_tasks_asked_for_and_of_the_newest() -> None:
    replay = filled()
    assert replay.playable().tolist() == [0, 2]
    batch = replay.sample(np.array([2, 0, 2]), 200)
    assert batch["observation"].shape == (3, 200, 2) and batch["reward"].shape == (3, 200, 1)
    assert [np.unique(rows).tolist() for rows in batch["observation"]] == [[2], [0], [2]]
    assert np.unique(batch["reward"][0]).tolist() == [4, 5, 6, 7, 8, 9]
    context = replay.sample_context(np.array([0, 2]), 200)
    assert [np.unique(rows).tolist() for rows in context["reward"]] == [[0, 2], [6, 7, 8, 9]]
    replay.add(2, of_task(2, 2, begin=20), np.zeros(2, bool))
    assert np.unique(replay.sample(np.array([2]), 300)["reward"]).tolist() == [6, 7, 8, 9, 20, 21]


def test_tasks_are_drawn_once_while_there_are_enough() -> None:
    replay = filled()
    assert all(sorted(replay.tasks(2)) == [0, 2] for _ in range(20))
    assert set(replay.tasks(50)) == {0, 2}


def test_a_checkpoint_goes_on_bit_for_bit() -> None:
    replay = filled()
    replay.tasks(2)
    state = pickle.loads(pickle.dumps(replay.get_state()))
    assert len(state["learnt"]["rows"]) == 9  # only what is filled
    other = TaskReplay(3, 6, 4, WIDTHS, seed=99)
    other.set_state(state)
    for one in (replay, other):
        one.add(2, of_task(2, 3, begin=30), np.ones(3, bool))
        one.context.clear(0)
    assert replay.playable().tolist() == other.playable().tolist() == [2]
    for _ in range(3):
        ids = replay.tasks(4)
        assert np.array_equal(ids, other.tasks(4))
        ours, theirs = replay.sample(ids, 9), other.sample(ids, 9)
        assert all(np.array_equal(ours[key], theirs[key]) for key in WIDTHS)


@pytest.mark.parametrize("tasks, capacity", [(4, 6), (3, 5)])
def test_a_replay_of_another_size_is_refused(tasks: int, capacity: int) -> None:
    with pytest.raises(UserError, match="3 tasks of up to 6 transitions, this run"):
        TaskReplay(tasks, capacity, 4, WIDTHS).set_state(filled().get_state())


def test_mistakes_are_named(caplog: pytest.LogCaptureFixture) -> None:
    replay = filled()
    with pytest.raises(UserError, match="task 1 has no transitions"):
        replay.sample(np.array([0, 1]), 4)
    replay.context.clear(0)
    with pytest.raises(UserError, match="task 0 has no transitions"):
        replay.sample_context(np.array([0]), 4)
    for bad in (np.nan, np.inf):
        with pytest.raises(UserError, match="task 1 whose reward is NaN or infinite"):
            replay.add(1, of_task(1, 3) | {"reward": np.full((3, 1), bad)}, np.ones(3, bool))
    with pytest.raises(UserError, match="replay is empty"):
        TaskReplay(3, 6, 4, WIDTHS).tasks(2)
    with pytest.raises(UserError, match="more memory than there is: 100 tasks x 10,000,000,000"):
        check_memory(100, 10**10, 30)
    with caplog.at_level(logging.INFO, "rllib_metarl"):
        check_memory(80, 20_000, 9)
    assert "80 tasks x 20,000 transitions x 9 numbers = 54.9 MiB" in caplog.text
