"""RL², the LSTM actor-critics and the blind reference: what trains what, and that they learn."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.tune.registry import register_env

from rllib_metarl.errors import UserError
from rllib_metarl.learning.batch import rollout_from_episodes
from tests.algorithms.small import (
    GRID,
    SMALL_GRID,
    numbers,
    small_config,
    small_learner,
    small_runner,
)

ACTOR_CRITIC = {"num_epochs": 1, "minibatch_size": None}


def _columns(learner: Any, config: Any) -> dict[str, torch.Tensor]:
    episodes = small_runner(config).sample(num_timesteps=48, explore=True)
    rollout = rollout_from_episodes(episodes, learner.agent)
    return learner.ppo_columns(rollout) | learner.sequence_columns(rollout)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_learner_sees_the_policy_that_sampled(cell: str) -> None:
    """Through the memory of the whole trial, to the last bit that single precision gives."""
    config = small_config("RL2", recurrent_cell=cell)
    learner, runner = small_learner(config), small_runner(config)
    learner.agent.load_state_dict(runner.module.state_dict(), strict=False)
    episodes = runner.sample(num_timesteps=48, explore=True)
    rollout = rollout_from_episodes(episodes, learner.agent)
    columns = learner.ppo_columns(rollout) | learner.sequence_columns(rollout)
    outputs = learner.module[DEFAULT_MODULE_ID].forward_train(columns)
    logits = outputs[Columns.ACTION_DIST_INPUTS].log_softmax(-1)
    log_prob = logits.gather(-1, rollout.action.long().unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(log_prob, rollout.log_prob, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(outputs[Columns.EMBEDDINGS], rollout.belief, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["RL2", "LSTMA2C"])
def test_a_late_advantage_reaches_the_memory_of_the_first_step(name: str) -> None:
    extra = ACTOR_CRITIC if name == "LSTMA2C" else {}
    config = small_config(name, **extra)
    learner = small_learner(config)
    columns = _columns(learner, config)
    columns[PREVIOUS] = columns[PREVIOUS].clone().requires_grad_()
    advantage = torch.zeros_like(columns[Postprocessing.ADVANTAGES])
    advantage[:, -1] = 1.0
    columns[Postprocessing.ADVANTAGES] = advantage
    outputs = learner.agent._forward_train(columns)
    learner.compute_loss_for_module(
        module_id=DEFAULT_MODULE_ID, config=config, batch=columns, fwd_out=outputs
    ).backward()
    assert (columns[PREVIOUS].grad[:, 1] != 0).all()


PREVIOUS = "previous_reward"


def test_the_actor_critics_loss_is_the_policy_gradient_on_unscaled_advantages() -> None:
    config = small_config("LSTMA2C", vf_loss_coeff=0.0, entropy_coeff=0.0, **ACTOR_CRITIC)
    learner = small_learner(config)
    columns = _columns(learner, config)
    advantage = columns[Postprocessing.ADVANTAGES]
    assert advantage.mean().abs() > 1e-3  # nobody has centred them
    outputs = learner.agent._forward_train(columns)
    loss = learner.compute_loss_for_module(
        module_id=DEFAULT_MODULE_ID, config=config, batch=columns, fwd_out=outputs
    )
    logits = outputs[Columns.ACTION_DIST_INPUTS].log_softmax(-1)
    log_prob = logits.gather(-1, columns[Columns.ACTIONS].long().unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(loss, -(log_prob * advantage).mean())


@pytest.mark.parametrize("optimiser", ["rmsprop", "adam"])
def test_the_actor_critic_takes_one_step_a_batch(optimiser: str) -> None:
    learner = small_learner(small_config("LSTMA2C", optimiser=optimiser, **ACTOR_CRITIC))
    kind = {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam}[optimiser]
    assert isinstance(learner.get_optimizer(DEFAULT_MODULE_ID, "policy"), kind)
    steps: list[int] = []
    learner.ppo_step = lambda batch: steps.append(len(batch[Columns.OBS]))
    config = learner.config
    rollout = rollout_from_episodes(
        small_runner(config).sample(num_timesteps=48, explore=True), learner.agent
    )
    learner.learn_policy(rollout, config.num_epochs, config.minibatch_size)
    assert steps == [8]


MISTAKES: dict[str, tuple[str, dict[str, Any], str]] = {
    "cell": ("RL2", {"recurrent_cell": "rnn"}, "recurrent_cell is 'rnn': use gru or lstm"),
    "memory": ("RL2", {"memory_steps": 2}, "memory_steps is 2: use a whole number from 3"),
    "frozen": ("RL2", {"policy_gradient_to_encoder": False}, "nothing else trains RL²'s memory"),
    "epochs": ("LSTMA2C", {"num_epochs": 2}, "takes one gradient step on each batch"),
    "minibatch": ("LSTMA2C", {"minibatch_size": 6, "num_epochs": 1}, "minibatch_size 6"),
    "optimiser": ("LSTMA2C", {"optimiser": "sgd"} | ACTOR_CRITIC, "optimiser is 'sgd'"),
    "no actors": ("LSTMA3C", ACTOR_CRITIC, "actors are processes of their own"),
    "blind film": ("BlindPPO", {"belief_conditioning": "film"}, "neither encoder nor belief"),
    "oracle": ("OraclePPO", {"oracle_sees": "future"}, "oracle_sees is 'future'"),
}


@pytest.mark.parametrize(("name", "settings", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_settings_that_do_not_fit_are_named(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        small_config(name, **settings).validate()


def test_the_blind_reference_acts_alike_whatever_came_before() -> None:
    runner = small_runner(small_config("BlindPPO"))
    for episode in runner.sample(num_timesteps=48, explore=True):
        observation = torch.as_tensor(episode.get_observations()[:-1])
        nothing = torch.zeros(len(observation), 0)
        expected = runner.module.act(observation, nothing).detach()
        stored = torch.as_tensor(episode.get_extra_model_outputs(Columns.ACTION_DIST_INPUTS))
        torch.testing.assert_close(stored, expected)


def test_asynchronous_actors_deliver_one_by_one_and_get_newer_weights(shared_ray: None) -> None:
    config = small_config("LSTMA3C", runners=2, updates_per_iteration=6, **ACTOR_CRITIC)
    config.training(train_batch_size_per_learner=24)
    algorithm = config.build_algo()
    reports = [algorithm.train() for _ in range(3)]
    learnt = algorithm.learner_group._learner.agent.policy.output.weight
    local = algorithm.env_runner.module.policy.output.weight
    algorithm.stop()
    for before, report in zip([None, *reports], reports, strict=False):
        asynchrony = report["asynchrony"]
        sampled = report["num_env_steps_sampled_lifetime"]
        sampled -= before["num_env_steps_sampled_lifetime"] if before else 0
        # One batch of one actor's 4 sub-envs is one gradient step.
        assert asynchrony["updates"] >= 6 and sampled == 24 * asynchrony["updates"]
        assert np.isfinite(list(numbers(report).values())).all()
    # The next sample was under way when the weights changed, but not for long.
    assert 0 < reports[-1]["asynchrony"]["staleness_mean"] < 6
    assert torch.equal(learnt, local)


class Gated(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A GridWorld that, on the second worker, makes no step until a file is there."""

    def __init__(self, gate: str, worker: int) -> None:
        super().__init__(gymnasium.make(GRID, **SMALL_GRID))
        self._gate = Path(gate) if worker == 2 else None

    def step(self, action: Any) -> Any:
        while self._gate and not self._gate.exists():
            time.sleep(0.01)
        return super().step(action)


def test_no_actor_waits_for_another(shared_ray: None, tmp_path: Path) -> None:
    gate = tmp_path / "open"
    register_env("Gated", lambda context: Gated(context["gate"], context.worker_index))
    config = small_config(
        "LSTMA3C",
        env="Gated",
        runners=2,
        env_config={"gate": str(gate)},
        updates_per_iteration=6,
        fetch_timeout_s=60.0,
        train_batch_size_per_learner=24,
        **ACTOR_CRITIC,
    )
    config.env_runners(sample_timeout_s=30.0)
    algorithm = config.build_algo()
    try:
        asynchrony = algorithm.train()["asynchrony"]
    finally:
        gate.touch()
        algorithm.stop()
    # Six batches of the one actor; nobody else's weights came between, so none was stale.
    assert asynchrony["updates"] == 6 and asynchrony["staleness_max"] == 0
