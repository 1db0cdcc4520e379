"""Held tasks through an EnvRunner, and held-out tasks of another class than those of training."""

from __future__ import annotations

import numpy as np

from rllib_metarl.envs import Stream, draw_tasks
from tests.algorithms.small import SMALL_GRID, small_config, small_runner


def test_a_runner_plays_the_tasks_it_is_told_and_says_which() -> None:
    runner = small_runner(small_config("RL2", env_config=SMALL_GRID | {"p_switch": 0.0}))
    runner.sample(num_episodes=8, explore=True)
    tasks, ids = draw_tasks(2, runner.env.unwrapped.task_width, Stream(7)), np.arange(8) % 2
    runner.hold_tasks(tasks, ids)
    contexts: dict[int, set[float]] = {0: set(), 1: set()}
    for episode in runner.sample(num_episodes=16, explore=True):
        number = int(episode.get_extra_model_outputs("task_id")[0])
        contexts[number].add(float(episode.get_extra_model_outputs("context")[0][0]))
    assert all(len(found) == 1 for found in contexts.values())


def test_held_out_tasks_may_be_of_another_class(shared_ray: None) -> None:
    config = small_config("RL2", held_out_env_config={"active_reward": 5.0})
    algorithm = config.build_algo()
    try:
        held_out = algorithm.make_held_out(8, 0)
        assert held_out.env.unwrapped.simulator.parameters.active_reward == 5.0
        assert algorithm.env_runner.env.unwrapped.simulator.parameters.active_reward == 1.0
        assert held_out.env.unwrapped.simulator.parameters.horizon == SMALL_GRID["horizon"]
        held_out.close()
    finally:
        algorithm.stop()
