"""MAME: what explores, what adapts and by how much, and what the exploration is paid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from rllib_metarl.algorithms.mame.learner import exploration_rewards
from rllib_metarl.algorithms.maml.adaptation import adapted, shared
from rllib_metarl.algorithms.maml.objective import Objective
from rllib_metarl.ops.inner_step import n_step_returns
from tests.algorithms.small import small_config, small_learner, small_runner


def both(**settings: Any) -> tuple[Any, Any]:
    """A runner and a learner with the same weights, and a latent that is not zero."""
    env = {"env": "Navigation2D-v0", "env_config": {"horizon": 10}}
    config = small_config("MAME", **(env | settings))
    runner, learner = small_runner(config), small_learner(config)
    with torch.no_grad():
        learner.agent.policy.latent.normal_()
        learner.agent.step_scale.uniform_(0.5, 2.0)
    runner.module.set_state(learner.agent.get_state())
    return runner, learner


def phases_of(runner: Any, learner: Any) -> Any:
    return learner.batch_of(runner.sample(explore=True)).phases


def test_returns_of_the_next_steps() -> None:
    reward = torch.tensor([[1.0, 2.0, 3.0, 9.0]])
    valid = torch.tensor([[True, True, True, False]])
    found = n_step_returns(reward, valid, 0.5, 2)
    assert found.tolist() == [[2.0, 3.5, 3.0, 0.0]]
    assert n_step_returns(reward, valid, 0.5, 99).tolist() == [[2.75, 3.5, 3.0, 0.0]]


def test_the_explorer_acts_first_and_the_adapted_policy_then() -> None:
    runner, learner = both()
    first, second = phases_of(runner, learner)
    agent, codec = learner.agent, learner.agent.actions
    explored = codec.log_prob(agent.explorer(first.observation), first.action)
    torch.testing.assert_close(explored, first.log_prob, atol=1e-4, rtol=1e-4)
    objective = Objective(agent, [first, second], learner.config)
    acted = codec.log_prob(objective.old[1], second.action)
    torch.testing.assert_close(acted, second.log_prob, atol=1e-4, rtol=1e-4)
    unadapted = codec.log_prob(agent.policy(second.observation), second.action)
    assert (unadapted - second.log_prob).abs().max() > 1e-3


def test_the_latent_alone_adapts_by_learnt_step_sizes() -> None:
    runner, learner = both()
    agent, steps = learner.agent, phases_of(runner, learner)[0]
    before = shared(agent, 2)
    assert before.keys() == {"latent"}
    latent = before["latent"].clone().requires_grad_()
    (slope,) = torch.autograd.grad(agent.inner_loss({"latent": latent}, steps, "").sum(), latent)
    after, sound = adapted(agent, before, steps, 0.5, "")
    assert sound.all() and slope.abs().max() > 1e-3
    torch.testing.assert_close(after["latent"], latent.detach() - 0.5 * agent.step_scale * slope)


def test_exploration_is_paid_what_its_steps_improve() -> None:
    """A step of which there is more moves the outer loss by as much as it was paid."""
    runner, learner = both()
    agent = learner.agent.double()
    first, second = (
        steps.map(lambda x: x.double() if x.is_floating_point() else x)
        for steps in phases_of(runner, learner)
    )
    paid = exploration_rewards(Objective(agent, [first, second], learner.config))

    def outer(share: torch.Tensor) -> torch.Tensor:
        changed = Objective(
            agent, [replace(first, weight=first.weight * share), second], learner.config
        )
        losses = changed.losses(changed.chain(changed.start(), graph=False))
        return losses.outer.detach()

    # Where the clip does not bind: at the weights that sampled.
    for step in (0, 7, 23):
        more, less = (torch.ones_like(first.weight) for _ in range(2))
        more[:, step] += 1e-4
        less[:, step] -= 1e-4
        expected = -(outer(more) - outer(less)) / 2e-4
        torch.testing.assert_close(paid[:, step], expected, atol=1e-7, rtol=1e-3)
    assert paid.abs().max() > 1e-5


def test_everything_is_learnt_and_the_prediction_gets_better() -> None:
    runner, learner = both(num_epochs=20, lr=0.003, inner_lr=0.02)
    episodes = runner.sample(explore=True)
    before = {name: value.clone() for name, value in learner.agent.state_dict().items()}
    told = [learner.update(episodes=episodes)["default_policy"] for _ in range(2)]
    errors = [float(one["prediction_loss"].peek()) for one in told]
    assert errors[1] < 0.7 * errors[0]
    for name, value in learner.agent.named_parameters():
        assert not torch.equal(before[name], value), name


def test_an_evaluation_counts_the_steps_that_were_explored() -> None:
    runner, learner = both(adaptation_steps=2, env_config={"horizon": 10, "ends_at_goal": False})
    held_out = learner.config.held_out(3, 7)
    curve = held_out.summary(held_out.play(runner.module))["protocol"]["adaptation"]
    assert [row["env_steps"] for row in curve] == [0, 20, 40]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"inner_steps": 2}, "inner_steps is 2"), ({"outer_update": "trpo"}, "use mame")],
)
def test_settings_of_other_algorithms_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        small_config("MAME", **settings).validate()
