"""What needs Python at every env step gets RLlib's own runner, by itself and with a word."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.util.debug import reset_log_once

from rllib_metarl import checkpoints
from rllib_metarl.errors import UserError
from rllib_metarl.evaluation.protocol import evaluate_checkpoint
from rllib_metarl.learning.batch import rollout_from_episodes
from rllib_metarl.sampling import held_out
from rllib_metarl.sampling.runner import MetaEpisodeRunner
from rllib_metarl.sampling.stepwise import StepwiseHeldOut, StepwiseRunner
from tests.algorithms.small import small_config
from tests.sampling.tiny import Corridor

FACTOR = 3.0


class Scale(ConnectorV2):
    """Multiplies observations; writes them back into the episode, as RLlib's own pieces do."""

    def __call__(self, *, batch: Any, episodes: Any, **kwargs: Any) -> Any:
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False):
            scaled = episode.get_observations(-1) * np.float32(FACTOR)
            episode.set_observations(new_data=scaled, at_indices=-1)
        return batch


class Still(ConnectorV2):
    """Module-to-env: whatever the policy says, it stays where it is."""

    def __call__(self, *, batch: Any, **kwargs: Any) -> Any:
        batch["actions"] = {key: [np.int64(4)] for key in batch["actions"]}
        return batch


class Count(RLlibCallback):
    """Counts what it is called for."""

    steps: list[int] = []
    ended: list[int] = []

    def on_episode_step(self, *, episode: Any, **kwargs: Any) -> None:
        self.steps.append(len(episode))

    def on_episode_end(self, *, episode: Any, prev_episode_chunks: Any, **kwargs: Any) -> None:
        assert not prev_episode_chunks
        self.ended.append(len(episode))


@pytest.fixture(autouse=True)
def fresh() -> None:
    reset_log_once()
    Count.steps, Count.ended = [], []


def _config(name: str = "DynaMITE", connector: Any = None, **settings: Any) -> Any:
    config = small_config(name, **settings)
    config.env_runners(env_to_module_connector=connector) if connector else None
    return config


def _runner(config: Any, worker_index: int = 1) -> Any:
    """The runner that the config chooses, its module with random weights."""
    config.validate()
    runner = config.env_runner_cls(config=config, worker_index=worker_index, num_workers=2)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in runner.module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return runner


@pytest.mark.parametrize("name", ["DynaMITE", "OraclePPO"])
def test_a_callback_at_every_step_is_called_in_training(shared_ray: None, name: str) -> None:
    longer = {"size": 3, "horizon": 10, "p_switch": 0.3}  # than a fragment, which is 6
    config = _config(name, env_config=longer)
    algorithm = config.callbacks(Count).build_algo()
    for _ in range(2):
        result = algorithm.train()
    assert type(algorithm.env_runner) is StepwiseRunner
    algorithm.stop()
    assert len(Count.steps) == result["num_env_steps_sampled_lifetime"] == 160
    assert len(Count.ended) == 16 and set(Count.ended) == {10}
    assert np.isfinite(result["learners"]["default_policy"]["policy_loss"])
    assert result["env_runners"]["episode_len_mean"] == 10


@pytest.mark.parametrize("several", [False, True])
def test_a_connector_of_the_user_changes_what_the_policy_sees(several: bool) -> None:
    plain = _runner(_config().callbacks(Count)).sample(num_timesteps=48, explore=False)

    def made(*_: Any) -> Any:
        return [Scale(), Scale()] if several else Scale()

    runner = _runner(_config(connector=made))
    episodes = runner.sample(num_timesteps=48, explore=False)
    first = [np.stack([e.get_observations(0) for e in sample]) for sample in (plain, episodes)]
    np.testing.assert_allclose(first[0] * (FACTOR**2 if several else FACTOR), first[1])
    assert first[0].any()
    data = rollout_from_episodes(episodes, runner.module)
    t = data.trajectories
    with torch.no_grad():
        seen = runner.module.encode(t.inputs)
    belief = runner.module.policy_belief(seen)
    torch.testing.assert_close(belief[:, :-1], data.belief, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(belief[:, -1], data.final_belief, atol=1e-5, rtol=1e-5)


def test_a_connector_between_module_and_env_acts() -> None:
    config = small_config()
    config.env_runners(module_to_env_connector=lambda *_: Still())
    episodes = _runner(config).sample(num_timesteps=48, explore=True)
    position = np.stack([e.get_observations() for e in episodes])[..., :2]
    assert (position == position[:, :1]).all() and len(episodes) == 8


def test_it_is_said_once_which_setting_is_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "rllib_metarl")
    for _ in range(2):
        _runner(_config(connector=lambda *_: Scale()).callbacks(Count), worker_index=0)
    (record,) = [r for r in caplog.records if r.name == "rllib_metarl"]
    assert "env_to_module_connector is set" in record.message and "slower" in record.message
    assert "\n" not in record.message
    _runner(small_config().callbacks(on_episode_start=print), worker_index=0)
    assert "on_episode_start is set" in caplog.records[-1].message


def test_nothing_else_changes_the_runner() -> None:
    config = small_config().callbacks(on_train_result=print, on_sample_end=print)
    config.validate()
    assert config.env_runner_cls is MetaEpisodeRunner and config.notes() == []
    own = small_config().callbacks(Count).env_runners(env_runner_cls=SingleAgentEnvRunner)
    own.validate()
    assert own.env_runner_cls is SingleAgentEnvRunner and own.notes() == []


def test_the_fast_runner_makes_the_calls_that_are_not_for_each_step() -> None:
    made, sampled = [], []
    config = small_config().callbacks(
        on_environment_created=lambda **kwargs: made.append(kwargs),
        on_sample_end=lambda *, samples, **kwargs: sampled.extend(samples),
    )
    runner = _runner(config, worker_index=2)
    assert type(runner) is MetaEpisodeRunner
    assert runner.sample(num_timesteps=48) == sampled
    (call,) = made
    assert call["env"] is runner.env.unwrapped and call["env_runner"] is runner
    assert (call["env_context"]["size"], call["env_context"].worker_index) == (3, 2)


def test_the_choice_is_made_anew_at_each_validation() -> None:
    config = small_config().callbacks(on_episode_end=print)
    for _ in range(2):
        config.validate()
        assert config.env_runner_cls is StepwiseRunner
    frozen = config.copy()
    frozen.freeze()
    frozen.validate()
    config.callbacks(on_episode_end=None).validate()
    assert config.env_runner_cls is MetaEpisodeRunner


def test_a_way_of_vectorising_that_would_cut_meta_episodes_wrongly_is_refused() -> None:
    config = small_config().callbacks(Count)
    config.env_runners(gym_env_vectorize_mode="vector_entry_point")
    with pytest.raises(UserError, match="on_episode_step.*gym_env_vectorize_mode.*sync"):
        config.validate()


def test_meta_episodes_of_any_length_come_whole() -> None:
    lengths = iter((3, 5, 11, 4, 3, 5, 11, 4))
    config = small_config("VariBAD", env=lambda _: Corridor(next(lengths)))
    config.env_runners(rollout_fragment_length=2)
    runner = _runner(config.callbacks(Count))
    episodes = [e for _ in range(8) for e in runner.sample()]
    assert {e.t_started for e in episodes} == {0} and all(e.is_done for e in episodes)
    assert {len(e) for e in episodes} == {3, 4, 5, 11} == set(Count.ended)
    assert len(Count.steps) - sum(map(len, episodes)) == runner._steps_under_way()
    for episode in episodes:
        np.testing.assert_array_equal(episode.get_observations()[:, 1], range(len(episode) + 1))
    data = rollout_from_episodes(episodes, runner.module)
    t = data.trajectories
    with torch.no_grad():
        seen = runner.module.encode(t.inputs)
    belief = runner.module.policy_belief(seen)
    torch.testing.assert_close(belief[:, :-1][t.valid], data.belief[t.valid], atol=1e-4, rtol=1e-4)
    last = belief[torch.arange(len(t.length)), t.length]
    torch.testing.assert_close(last, data.final_belief, atol=1e-4, rtol=1e-4)
    metrics = runner.get_metrics()
    assert metrics["episode_len_max"].peek() == 11


def _tasks(runner: Any, **how: Any) -> list[float]:
    """A number that each Corridor draws with its first observation."""
    episodes = runner.sample(**(how or {"num_timesteps": 24}), explore=False)
    return [float(e.get_observations(0)[3]) for e in episodes]


def _corridors(**settings: Any) -> Any:
    return small_config("VariBAD", env=lambda _: Corridor(3), **settings).callbacks(Count)


def test_no_worker_and_no_resumed_run_sees_the_tasks_of_another() -> None:
    first, second = (_runner(_corridors(), worker_index=i) for i in (1, 2))
    seen = [*_tasks(first), *_tasks(first), *_tasks(second)]
    assert len(set(seen)) == len(seen) == 24
    assert _tasks(_runner(_corridors())) == seen[:8]  # of the same worker with the same seed
    resumed = _runner(_corridors())
    resumed.set_state(first.get_state())
    assert not set(_tasks(resumed)) & set(seen)
    joined = _runner(_corridors())
    joined.set_state({"num_env_steps_sampled_lifetime": 96})
    assert not set(_tasks(joined)) & set(seen)
    reset = _tasks(first, num_episodes=8) + _tasks(first, num_episodes=8)
    assert len({*seen, *reset}) == 40


def test_evaluation_plays_the_same_tasks_each_time() -> None:
    config = _corridors()
    config.in_evaluation = True
    runner = _runner(config)
    first = _tasks(runner, num_episodes=8)
    assert first == _tasks(runner, num_episodes=8) and len(set(first)) == 8
    config.held_out_seed = 1
    assert not set(first) & set(_tasks(_runner(config), num_episodes=8))


def test_held_out_tasks_are_played_in_turns_and_are_the_same_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(held_out, "MAX_ENVS", 4)
    lengths = (2, 5, 3, 7)
    made: list[Corridor] = []

    def make(_: Any) -> Corridor:
        made.append(Corridor(lengths[len(made) % 4]))
        return made[-1]

    config = small_config("OraclePPO", env=make).callbacks(Count)
    config.env_runners(env_to_module_connector=lambda *_: Scale())
    module = _runner(config).module
    del made[:]
    evaluation = StepwiseHeldOut(config, 10, seed=3)
    first, again = (evaluation.play(module) for _ in range(2))
    assert [e.env_index for e in first] == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1] and not Count.steps
    assert len({len(e) for e in first}) > 1
    tasks = [e.observations[0, 3] for e in first]
    assert tasks == [e.observations[0, 3] for e in again] and len(set(tasks)) == 10
    assert evaluation.runner._done_episodes_for_metrics == []
    for episode in first:
        np.testing.assert_array_equal(episode.belief, episode.labels["context"])
        np.testing.assert_array_equal(episode.observations[:, 1] / FACTOR, range(len(episode) + 1))
    evaluation.close()


def test_an_oracle_without_its_label_is_told() -> None:
    config = small_config("OraclePPO", env=lambda _: Corridor(3, labels=False)).callbacks(Count)
    with pytest.raises(UserError, match=r"no info\['context'\].*Sessions"):
        _runner(config).sample()


def test_held_out_evaluation_goes_through_the_connectors(shared_ray: None, tmp_path: Path) -> None:
    """Twice the same, in training and from a checkpoint, with the state of a filter."""
    config = _config(connector=lambda *_: [Scale(), MeanStdFilter()])
    algorithm = config.training(lr=0.05).build_algo()
    for _ in range(3):
        algorithm.train()
    random_state = torch.get_rng_state()
    result, again = (algorithm.evaluate_held_out() for _ in range(2))
    assert torch.equal(random_state, torch.get_rng_state())
    assert result == again and result["episodes"] == config.held_out_episodes
    assert result["references"]["bayes"] > 0
    assert type(algorithm._held_out) is StepwiseHeldOut
    path = algorithm.save_to_path(str(tmp_path))
    algorithm.stop()
    with pytest.raises(UserError, match="--trust-checkpoint"):  # connectors are pickled
        evaluate_checkpoint(Path(path), episodes=config.held_out_episodes)
    with checkpoints.trusting():
        stored = evaluate_checkpoint(Path(path), episodes=config.held_out_episodes)
    assert {key: stored[key] for key in result} == result


def test_a_remote_runner_falls_back_too(shared_ray: None) -> None:
    config = _config(connector=lambda *_: Scale(), runners=1)
    algorithm = config.build_algo()
    for _ in range(2):
        result = algorithm.train()
    algorithm.stop()
    assert result["num_env_steps_sampled_lifetime"] == 96
    assert np.isfinite(result["learners"]["default_policy"]["vae_elbo"])
