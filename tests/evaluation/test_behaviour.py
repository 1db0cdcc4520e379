"""Behaviour over a meta-episode, on recordings small enough to count by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rllib_metarl.evaluation.belief import behaviour
from rllib_metarl.recording import Recording, record
from rllib_metarl.sampling.collector import MetaEpisodeData


def recording(rewards: Any, context: Any = None, **labels: Any) -> Recording:
    paid = np.array(rewards, np.float64)
    count, steps = paid.shape
    if context is not None:
        labels["context"] = np.array(context, np.float32)[..., None]
    return Recording(
        np.zeros((count, steps + 1, 1)),
        np.zeros((count, steps), np.int64),
        paid,
        np.ones((count, steps), np.bool_),
        np.zeros((count, steps + 1, 0)),
        **{key: np.array(value) for key, value in labels.items()},
    )


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behaviour, "FEWEST", 1)


def test_inner_episodes_are_summed_apart() -> None:
    played = recording([[1, 2, 4], [8, 16, 32]], inner_done=[[0, 0, 1, 0], [0, 0, 1, 0]])
    assert behaviour.inner_episode_returns(played) == [(3 + 24) / 2, (4 + 32) / 2]
    assert behaviour.inner_episode_returns(recording([[1.0]])) is None


def test_sessions_are_summed_apart(few: None) -> None:
    played = recording([[1, 2, 4], [8, 16, 32]], session=[[0, 0, 1, 1], [0, 0, 0, 1]])
    first, second = behaviour.return_by_session(played) or []
    assert (first["mean"], first["episodes"]) == ((3 + 56) / 2, 2)
    assert first["standard_error"] == pytest.approx(53 / 2)
    assert first["per_step"] == pytest.approx(59 / 5)
    # the last label belongs to no transition: the second one has no second session
    assert (second["mean"], second["episodes"], second["per_step"]) == (4.0, 1, 4.0)


def test_a_switch_to_the_same_context_is_no_change() -> None:
    played = recording(np.zeros((1, 4)), [[0, 0, 1, 1, 0]], switched=[[0, 1, 1, 0, 1]])
    assert behaviour.changes(played).tolist() == [[False, False, True, False]]


def test_steps_are_counted_from_the_last_change() -> None:
    events = np.array([[False, True, False, False, True]])
    assert behaviour.steps_since(events).tolist() == [[-1, 0, 1, 2, 0]]


def test_rewards_after_a_change(few: None) -> None:
    rewards = [[1, 0, 0.5, 1, 0], [1, 1, 1, 0, 1]]
    played = recording(rewards, [[0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]])
    curve = behaviour.reward_since_switch(played)
    assert [row["mean"] for row in curve] == pytest.approx([0.0, 0.75, 1.0])
    assert [row["count"] for row in curve] == [3, 2, 1]
    assert behaviour.reward_before_switch(played) == 1.0


def _curve(*rewards: float) -> list[dict[str, float]]:
    return [{"mean": reward, "standard_error": 0.01} for reward in rewards]


def test_recovery_is_when_nine_tenths_are_made_up() -> None:
    assert behaviour.recovery_steps(_curve(0.5, 0.0, 0.3, 0.89, 0.9, 0.5), 1.0) == 4
    assert behaviour.recovery_steps(_curve(0.0, 0.5, 0.8), 1.0) is None  # never
    assert behaviour.recovery_steps(_curve(0.99, 1.0), 1.0) is None  # nothing was lost
    assert behaviour.recovery_steps([], None) is None


def _detection(told: list[int], truth: list[int]) -> dict[str, Any]:
    probabilities = np.eye(2)[[told]]
    valid = np.ones((1, len(told) - 1), np.bool_)
    return behaviour.detection(probabilities, np.array([truth]), valid)


def test_a_change_is_noticed_when_the_new_class_is_held_likelier() -> None:
    #           it changes before transition 2; after two transitions the belief has followed
    found = _detection([0, 0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1])
    assert found == {"delay": 2.0, "detected": 1.0, "changes": 1}


def test_a_change_that_is_over_before_it_is_noticed_is_missed() -> None:
    found = _detection([0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0])
    # The way back counts for nothing: the belief held that class all the time.
    assert found == {"delay": None, "detected": 0.0, "changes": 1}


def test_who_held_the_new_class_before_the_change_has_noticed_nothing() -> None:
    assert _detection([1, 1, 1, 1], [0, 0, 1, 1])["changes"] == 0


def test_returns_by_the_first_context_where_there_are_few() -> None:
    played = recording([[1, 1], [3, 3], [5, 5]], [[0, 1, 1], [1, 1, 1], [0, 0, 0]])
    rows = behaviour.return_by_context(played) or []
    assert [(row["value"], row["mean"], row["episodes"]) for row in rows] == [
        (0.0, 6.0, 2),
        (1.0, 6.0, 1),
    ]
    assert rows[0]["standard_error"] == pytest.approx(4.0) and np.isnan(rows[1]["standard_error"])


def test_returns_by_fifths_of_a_continuous_context() -> None:
    values = np.arange(100) / 100
    played = recording(values[:, None] * 10, np.stack([values, values], 1))
    rows = behaviour.return_by_context(played) or []
    assert [row["episodes"] for row in rows] == [20] * 5
    assert [row["value"] for row in rows] == pytest.approx([0.095, 0.295, 0.495, 0.695, 0.895])
    assert [row["mean"] for row in rows] == pytest.approx([0.95, 2.95, 4.95, 6.95, 8.95])


def _episode(steps: int, belief: int = 4) -> MetaEpisodeData:
    now = np.arange(steps)
    return MetaEpisodeData(
        observations=np.arange(steps + 1.0)[:, None],
        actions=now,
        rewards=now.astype(np.float64),
        belief=np.tile(now[:, None], (1, belief)) + np.arange(belief),
        logits=np.zeros((steps, 2)),
        log_prob=np.zeros(steps),
        final_belief=steps + np.arange(belief),
        terminated=True,
        truncated=False,
        env_index=0,
        labels={"context": now[:, None], "session": now, "switched": np.ones(steps, np.int8)},
    )


def test_meta_episodes_of_different_lengths_are_padded() -> None:
    played = record([_episode(3), _episode(1)], {"a": slice(0, 1), "b": slice(2, 3)})
    assert played.valid.tolist() == [[True, True, True], [True, False, False]]
    assert played.returns.tolist() == [3.0, 0.0] and played.lengths.tolist() == [3, 1]
    assert played.session is not None and played.session[0].tolist() == [0, 1, 2, 2]
    assert played.switched is not None and played.switched[1].tolist() == [1, 0, 0, 0]
    assert played.inner_done is None
    assert played.mean is not None and played.mean[0].tolist() == [[0, 2], [1, 3], [2, 4], [3, 5]]
    assert played.log_var is not None and (played.log_var[0] == played.mean[0] + 1).all()
    assert len(played.take([1])) == 1
