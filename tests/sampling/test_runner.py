from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rllib_metarl.sampling.runner import STREAMS, MetaEpisodeRunner
from tests.algorithms.small import small_config


def _runner(worker_index: int = 1, seed: int | None = 3, **settings: Any) -> MetaEpisodeRunner:
    config = small_config(seed=seed, **settings)
    return MetaEpisodeRunner(config=config, worker_index=worker_index, num_workers=2)


def _sample(runner: MetaEpisodeRunner, meta_episodes: int = 8) -> list[Any]:
    return runner.sample(num_timesteps=6 * meta_episodes, explore=True)


def _tasks(episodes: list[Any]) -> list[tuple[float, ...]]:
    """Start, goals and the context of every step of each meta-episode."""
    contexts = [e.get_extra_model_outputs("context")[:, 0] for e in episodes]
    starts = [e.get_observations(0) for e in episodes]
    return [(*start, *context) for start, context in zip(starts, contexts, strict=True)]


def test_an_episode_of_rllib_is_a_whole_meta_episode_with_its_columns() -> None:
    episodes = _sample(_runner())
    assert len(episodes) == 8
    for episode in episodes:
        assert len(episode) == 6 and episode.t_started == 0 and episode.is_truncated
        assert episode.get_observations().shape == (7, 6)
        for key, width in {"belief": 4, "context": 1}.items():
            assert episode.get_extra_model_outputs(key).shape == (6, width)
        assert episode.get_extra_model_outputs("session").shape == (6,)
        assert episode.custom_data["final_belief"].shape == (4,)
        assert not any(episode.get_infos(0))  # labels travel as columns, not as infos


def test_the_same_seed_gives_the_same_meta_episodes() -> None:
    for one, other in zip(_sample(_runner(), 24), _sample(_runner(), 24), strict=True):
        np.testing.assert_array_equal(one.get_observations(), other.get_observations())
        np.testing.assert_array_equal(one.get_actions(), other.get_actions())
        np.testing.assert_array_equal(one.get_rewards(), other.get_rewards())


def test_no_meta_episode_comes_twice_within_or_across_workers() -> None:
    tasks = [t for worker in (0, 1, 2) for t in _tasks(_sample(_runner(worker), 24))]
    tasks += _tasks(_sample(_runner(1, seed=4), 24))
    tasks += _tasks(_sample(_runner(1, seed=None), 24))
    tasks += _tasks(_sample(_runner(1, seed=None), 24))
    # Equal tasks happen by chance on so small a grid, never eight in a row.
    rows = [tuple(tasks[i : i + 8]) for i in range(0, len(tasks), 8)]
    assert len(set(rows)) == len(rows)


def test_workers_draw_their_actions_apart() -> None:
    actions = [np.stack([e.get_actions() for e in _sample(_runner(w), 24)]) for w in (1, 2)]
    assert (actions[0] == actions[1]).mean() < 0.5  # five actions, nearly uniform policy


def test_state_continues_the_streams() -> None:
    runner = _runner()
    _sample(runner)
    state = runner.get_state()
    coming = [_tasks(_sample(runner)) for _ in range(2)]  # the first have begun already
    for _ in range(2):
        restored = _runner()
        _sample(restored, 3)
        restored.set_state(state)
        assert [_tasks(_sample(restored)) for _ in range(2)] == coming


def test_a_runners_own_state_continues_its_meta_episodes() -> None:
    runner = _runner()
    _sample(runner)
    state, weights = runner.own_state(), runner.module.state_dict()
    coming = [e.get_actions().tolist() for e in _sample(runner)]
    restored = _runner()
    restored.module.load_state_dict(weights)
    restored.set_own_state(state)
    assert [e.get_actions().tolist() for e in _sample(restored)] == coming


def test_the_state_of_another_does_not_disturb_a_worker_that_has_begun() -> None:
    other = _runner(2)
    _sample(other)
    one, undisturbed = _runner(1), _runner(1)
    for runner in (one, undisturbed):
        _sample(runner)
    one.set_state(other.get_state())
    assert _tasks(_sample(one)) == _tasks(_sample(undisturbed))


def test_a_state_without_meta_episodes_under_way_goes_on_with_tasks_not_seen_before() -> None:
    runner = _runner()
    _sample(runner)
    state = runner.get_state()
    state[STREAMS]["under_way"] = None  # as of an env that cannot tell, or of an older checkpoint
    coming = [_tasks(_sample(runner)) for _ in range(2)]
    restored = _runner()
    restored.set_state(state)
    assert _tasks(_sample(restored)) == coming[1]


def test_streams_are_a_component_of_the_state_that_can_be_left_out() -> None:
    runner = _runner()
    assert STREAMS in runner.get_state()
    assert STREAMS not in runner.get_state(components=["rl_module"])
    assert STREAMS not in runner.get_state(not_components=[STREAMS])


def test_the_state_of_one_worker_does_not_make_another_its_twin() -> None:
    """RLlib hands a restarted worker the local worker's state."""
    first, second = _runner(1), _runner(2)
    state = _runner(0).get_state()
    first.set_state(state)
    second.set_state(state)
    assert _tasks(_sample(first)) != _tasks(_sample(second))


def test_a_worker_that_joins_a_run_under_way_does_not_begin_where_the_run_began() -> None:
    joined, again, later, first = (_runner(1) for _ in range(4))
    for runner, steps in ((joined, 480), (again, 480), (later, 960), (first, 0)):
        runner.set_state({"num_env_steps_sampled_lifetime": steps})
    tasks = [_tasks(_sample(runner)) for runner in (joined, again, later, first)]
    assert tasks[0] == tasks[1]  # resuming twice gives the same
    assert tasks[3] == _tasks(_sample(_runner(1)))
    assert len({tuple(t) for t in tasks}) == 3


def test_force_reset_begins_new_meta_episodes() -> None:
    runner = _runner()
    first = _sample(runner)
    forced = runner.sample(num_timesteps=48, explore=True, force_reset=True)
    assert _tasks(first) != _tasks(forced)
    assert [len(e) for e in forced] == [6] * 8


def test_metrics_count_the_steps_of_what_was_returned() -> None:
    runner = _runner()
    episodes = _sample(runner)
    metrics = runner.get_metrics()
    metrics = {key: getattr(value, "peek", lambda v=value: v)() for key, value in metrics.items()}
    returns = [e.get_return() for e in episodes]
    assert metrics["episode_return_mean"] == pytest.approx(np.mean(returns))
    assert metrics["episode_len_mean"] == 6
    assert metrics["num_env_steps_sampled"] == 48


def test_rllib_still_calls_what_the_runner_overrides() -> None:
    """`_sample` is private in RLlib: if its name or arguments change, sampling would go astray."""
    theirs, own = (
        # Ray adds an argument of its own to the methods of a class that became an actor.
        {name for name in inspect.signature(cls._sample).parameters if not name.startswith("_ray_")}
        for cls in (SingleAgentEnvRunner, MetaEpisodeRunner)
    )
    assert theirs == own
    assert "self._sample(" in inspect.getsource(SingleAgentEnvRunner.sample)
