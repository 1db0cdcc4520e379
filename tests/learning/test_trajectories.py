from __future__ import annotations

import pickle
from dataclasses import fields

import pytest
import torch

from rllib_metarl.learning.batch import Trajectories
from rllib_metarl.learning.trajectories import TrajectoryBuffer


def _batch(numbers: list[int], steps: int = 4, labels: bool = True) -> Trajectories:
    """Meta-episode number n has `steps` steps of reward n."""
    b = len(numbers)
    number = torch.tensor(numbers, dtype=torch.float32)[:, None].expand(b, steps)
    session = torch.arange(steps).expand(b, steps) // 2 + torch.tensor(numbers)[:, None]
    return Trajectories(
        observation=number[:, :1, None].expand(b, steps + 1, 2).clone(),
        action=torch.nn.functional.one_hot(session % 3, 3).float(),
        reward=number.clone(),
        valid=torch.ones(b, steps, dtype=torch.bool),
        length=torch.full((b,), steps),
        session=session.clone() if labels else None,
        switched=(session % 2).clone() if labels else None,
    )


def _numbers(buffer: TrajectoryBuffer, draws: int = 400) -> set[int]:
    return set(buffer.sample(draws).reward[:, 0].int().tolist())


def _equal(one: Trajectories, other: Trajectories) -> bool:
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)]
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


def test_the_oldest_leave_when_it_is_full() -> None:
    buffer = TrajectoryBuffer(5)
    for numbers in ([0, 1, 2], [3, 4, 5], [6, 7]):
        buffer.add(_batch(numbers))
    assert len(buffer) == 5 and _numbers(buffer) == {3, 4, 5, 6, 7}
    buffer.add(_batch([8]))
    assert _numbers(buffer) == {4, 5, 6, 7, 8}


def test_a_batch_larger_than_the_buffer_leaves_its_newest() -> None:
    buffer = TrajectoryBuffer(3)
    buffer.add(_batch([0]))
    buffer.add(_batch([1, 2, 3, 4, 5]))
    assert len(buffer) == 3 and _numbers(buffer) == {3, 4, 5}


def test_what_is_drawn_is_what_was_added() -> None:
    buffer = TrajectoryBuffer(10)
    buffer.add(_batch([3, 4, 5]))
    drawn = buffer.sample(50)
    expected = _batch(drawn.reward[:, 0].int().tolist())
    assert _equal(drawn, expected)
    assert drawn.session.dtype == torch.int64 and drawn.valid.dtype == torch.bool


def test_longer_and_shorter_meta_episodes_share_the_buffer() -> None:
    buffer = TrajectoryBuffer(4)
    buffer.add(_batch([0, 1], steps=3))
    buffer.add(_batch([2, 3], steps=6))
    buffer.add(_batch([4], steps=2))  # takes the place of number 0
    drawn = buffer.sample(200)
    assert _numbers(buffer) == {1, 2, 3, 4}
    steps = {1: 3, 2: 6, 3: 6, 4: 2}
    for row in range(200):
        number = int(drawn.reward[row, 0])
        n = steps[number]
        assert int(drawn.length[row]) == n == int(drawn.valid[row].sum())
        assert (drawn.observation[row, : n + 1] == number).all()
        assert not drawn.observation[row, n + 1 :].any() and not drawn.reward[row, n:].any()


def test_a_place_taken_by_a_shorter_meta_episode_keeps_nothing_of_the_longer() -> None:
    buffer = TrajectoryBuffer(2)
    buffer.add(_batch([7, 8], steps=6))
    buffer.add(_batch([9], steps=2))
    drawn = buffer.sample(100)
    short = drawn.length == 2
    assert short.any() and not drawn.reward[short, 2:].any() and not drawn.valid[short, 2:].any()


def test_the_storage_doubles_and_only_when_it_is_full() -> None:
    buffer, rows = TrajectoryBuffer(20), []
    for number in range(20):
        buffer.add(_batch([number]))
        rows.append(len(buffer._storage["length"]))
    assert rows == [1, 2, 4, 4, *[8] * 4, *[16] * 8, *[20] * 4]


def test_samples_are_no_longer_than_what_they_hold() -> None:
    buffer = TrajectoryBuffer(10)
    buffer.add(_batch([0], steps=3))
    buffer.add(_batch([1], steps=6))
    lengths = set()
    for _ in range(50):
        drawn = buffer.sample(1)
        lengths.add(drawn.reward.shape[1])
        assert drawn.reward.shape[1] == int(drawn.length) == drawn.observation.shape[1] - 1
    assert lengths == {3, 6}


def test_every_meta_episode_is_drawn_equally_often() -> None:
    buffer = TrajectoryBuffer(8, seed=1)
    for number in range(6):
        buffer.add(_batch([number]))
    counts = torch.bincount(buffer.sample(6000).reward[:, 0].long(), minlength=6)
    assert counts.min() > 850 and counts.max() < 1150


@pytest.mark.parametrize("labels", [True, False])
def test_state_brings_back_contents_order_and_next_samples(labels: bool) -> None:
    buffer = TrajectoryBuffer(5, seed=2)
    buffer.add(_batch([0, 1, 2], labels=labels))
    buffer.add(_batch([3, 4, 5, 6], labels=labels))
    buffer.sample(3)
    state = pickle.loads(pickle.dumps(buffer.get_state()))
    other = TrajectoryBuffer(5, seed=99)
    other.set_state(state)
    for numbers in ([7], [8, 9, 10], [11]):
        assert _equal(buffer.sample(8), other.sample(8))
        buffer.add(_batch(numbers, labels=labels))
        other.add(_batch(numbers, labels=labels))
    assert _equal(buffer.sample(8), other.sample(8)) and len(other) == 5


def test_a_state_does_not_change_with_the_buffer_it_was_taken_from() -> None:
    buffer = TrajectoryBuffer(3)
    buffer.add(_batch([0, 1, 2]))
    state = buffer.get_state()
    buffer.add(_batch([3, 4, 5]))
    other = TrajectoryBuffer(3)
    other.set_state(state)
    assert _numbers(other) == {0, 1, 2}


def test_a_state_fits_a_buffer_of_another_capacity() -> None:
    full = TrajectoryBuffer(6)
    full.add(_batch([0, 1, 2, 3, 4, 5]))
    full.add(_batch([6, 7]))
    for capacity, kept in ((4, {4, 5, 6, 7}), (10, {2, 3, 4, 5, 6, 7})):
        other = TrajectoryBuffer(capacity)
        other.set_state(full.get_state())
        assert _numbers(other) == kept and len(other) == len(kept)
        other.add(_batch([8]))
        expected = kept - {4} | {8} if capacity == 4 else kept | {8}
        assert _numbers(other) == expected


def test_an_empty_buffer_says_so_and_its_state_travels() -> None:
    buffer = TrajectoryBuffer(3)
    with pytest.raises(ValueError, match="empty"):
        buffer.sample(1)
    other = TrajectoryBuffer(3)
    other.set_state(buffer.get_state())
    other.add(_batch([1]))
    assert len(other) == 1
