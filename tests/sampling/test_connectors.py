"""The belief module on RLlib's stock runner does what it does on ours."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rllib_metarl.learning.batch import rollout_from_episodes
from rllib_metarl.sampling.connectors import AddPreviousTransition
from rllib_metarl.sampling.runner import MetaEpisodeRunner
from tests.algorithms.small import small_config, small_learner

COLUMNS = ("belief", "action_dist_inputs")


def _config(runner: type = SingleAgentEnvRunner, **settings: Any) -> Any:
    return small_config(seed=5, **settings).env_runners(env_runner_cls=runner)


def _runner(runner: type, **settings: Any) -> Any:
    torch.manual_seed(0)
    built = runner(config=_config(runner, **settings), worker_index=1, num_workers=1)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in built.module.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        built.module.policy.output.bias.zero_()
    return built


def _rngs(first_seed: int, count: int = 8) -> list[Any]:
    generators = [gym.utils.seeding.np_random(first_seed + i)[0] for i in range(count)]
    return [generator.bit_generator.state for generator in generators]


@pytest.fixture(scope="module")
def both() -> tuple[list[Any], list[Any]]:
    """16 greedy meta-episodes of each runner from the same seeds, two of each sub-env."""
    stock, ours = _runner(SingleAgentEnvRunner), _runner(MetaEpisodeRunner)
    ours.env.unwrapped.set_rng_state(_rngs(stock._seed))
    theirs = [e for _ in range(2) for e in stock.sample(num_timesteps=48, explore=False)]
    return theirs, ours.sample(num_timesteps=96, explore=False)


def test_both_runners_give_the_same_meta_episodes(both: tuple[list[Any], list[Any]]) -> None:
    assert len(both[0]) == len(both[1]) == 16
    for theirs, own in zip(*both, strict=True):
        for name in ("get_observations", "get_actions", "get_rewards"):
            values = [np.asarray(getattr(e, name)(), np.float64) for e in (theirs, own)]
            np.testing.assert_allclose(*values, atol=1e-6, err_msg=name)
        for name in COLUMNS:
            values = [e.get_extra_model_outputs(name) for e in (theirs, own)]
            np.testing.assert_allclose(*values, atol=1e-5, err_msg=name)
    actions = np.concatenate([e.get_actions() for e in both[0]])
    assert len(set(actions.tolist())) > 1


def test_a_batch_from_the_stock_runner_is_the_same_batch(
    both: tuple[list[Any], list[Any]],
) -> None:
    """Labels come from infos there, and the belief after the last observation is encoded again."""
    module = _runner(MetaEpisodeRunner).module
    theirs, own = (rollout_from_episodes(episodes, module) for episodes in both)
    for name in ("session", "switched", "reward", "observation", "action"):
        values = [getattr(rollout.trajectories, name) for rollout in (theirs, own)]
        torch.testing.assert_close(*values, msg=name, check_dtype=True)
    torch.testing.assert_close(theirs.final_belief, own.final_belief, atol=1e-5, rtol=1e-5)
    assert own.trajectories.switched.any()


def test_state_and_previous_transition_go_on_where_rllib_cuts_an_episode() -> None:
    whole = _runner(SingleAgentEnvRunner).sample(num_episodes=8, explore=False)
    cutting = _runner(SingleAgentEnvRunner)
    pieces = [e for _ in range(3) for e in cutting.sample(num_timesteps=16, explore=False)]
    assert {len(piece) for piece in pieces} == {2}
    for i, episode in enumerate(whole):
        parts = [p for p in pieces if p.id_ == pieces[i].id_]
        belief = np.concatenate([p.get_extra_model_outputs("belief") for p in parts])
        np.testing.assert_allclose(belief, episode.get_extra_model_outputs("belief"), atol=1e-5)


def test_box_actions_are_fed_back_as_the_policy_gave_them() -> None:
    """RLlib keeps the policy's action in the episode and scales it for the env alone.

    A connector that the user has added too changes nothing.
    """
    config = small_config("VariBAD", env="Pendulum-v1")
    learner = small_learner(config)
    stock = config.env_runners(
        env_runner_cls=SingleAgentEnvRunner,
        env_to_module_connector=lambda *_: AddPreviousTransition(),
    )
    runner = SingleAgentEnvRunner(config=stock, worker_index=1, num_workers=1)
    runner.module.load_state_dict(learner.agent.state_dict(), strict=False)
    episodes = runner.sample(num_timesteps=48, explore=True)
    data = rollout_from_episodes(episodes, learner.agent)
    with torch.no_grad():
        t = data.trajectories
        belief = learner.agent.encode(t.inputs)
    torch.testing.assert_close(
        learner.agent.policy_belief(belief)[:, :-1], data.belief, atol=1e-5, rtol=1e-5
    )


def test_dynamite_trains_on_the_stock_runner(shared_ray: None) -> None:
    algorithm = _config().build_algo()
    for _ in range(2):
        result = algorithm.train()
    algorithm.stop()
    learnt = result["learners"]["default_policy"]
    assert result["num_env_steps_sampled_lifetime"] == 96
    assert np.isfinite([learnt["policy_loss"], learnt["vae_elbo"]]).all()
    assert learnt["vae_buffer_episodes"] == 16
