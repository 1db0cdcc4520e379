"""Where two algorithms must be one, and what must not matter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from tests.algorithms.small import small_batch, small_config, small_learner, small_runner

OFF = {
    "session_masking": False,
    "prior_conditioning": False,
    "consistency_weight": 0.0,
    "termination_weight": 0.0,
}
STATIC = {"env_config": {"size": 3, "horizon": 6, "p_switch": 0.0}}


def _gradients(learner: Any) -> dict[str, torch.Tensor]:
    return {n: p.grad for n, p in learner.agent.named_parameters() if p.grad is not None}


def _parameters(learner: Any) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in learner.agent.named_parameters()}


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys() and one
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("end_to_end", [False, True])
def test_without_switches_and_terms_dynamite_is_varibad_number_for_number(end_to_end: bool) -> None:
    shared = STATIC | {"policy_gradient_to_encoder": end_to_end, "decode_state": True}
    configs = [small_config("VariBAD", **shared), small_config("DynaMITE", **shared, **OFF)]
    learners = [small_learner(config) for config in configs]
    episodes = small_runner(configs[0]).sample(num_timesteps=2 * 48, explore=True)
    start = _parameters(learners[0])
    _equal(start, _parameters(learners[1]))
    for batch in (episodes[:8], episodes[8:]):
        for learner in learners:
            learner.update(episodes=batch, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: 48})
    _equal(*(_parameters(learner) for learner in learners))
    moved = _parameters(learners[0])
    still = [n for n in start if torch.equal(start[n], moved[n])]
    assert all("termination" in n or "conditioning" in n for n in still), still

    for learner in learners:
        learner.agent.zero_grad()
    losses = []
    for learner in learners:
        loss, terms = learner.elbo(learner.buffer.sample(6))
        loss.backward()
        losses.append({"loss": loss} | terms)
    _equal(*losses)
    _equal(*(_gradients(learner) for learner in learners))


def test_without_switches_session_masking_changes_nothing() -> None:
    masked = OFF | {"session_masking": True}
    configs = [small_config("VariBAD", **STATIC), small_config("DynaMITE", **STATIC, **masked)]
    episodes = small_runner(configs[0]).sample(num_timesteps=48, explore=True)
    results = []
    for config in configs:
        learner = small_learner(config)
        learner.update(episodes=episodes, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: 48})
        loss, terms = learner.elbo(learner.buffer.sample(6))
        results.append({"loss": loss} | terms)
    _equal(*results)


def test_with_switches_session_masking_matters() -> None:
    data, results = small_batch(), []
    for masking in (False, True):
        learner = small_learner(small_config("DynaMITE", **OFF | {"session_masking": masking}))
        results.append(learner.elbo(data)[1])
    assert results[0]["vae_reward_loss"] != results[1]["vae_reward_loss"]
    assert results[0]["vae_kl"] == results[1]["vae_kl"]  # no learnt prior: the chain goes on


def test_each_switch_acts_without_the_others() -> None:
    data = small_batch()
    base = small_learner(small_config("DynaMITE", **OFF)).elbo(data)[1]
    for switch, term in (
        ({"prior_conditioning": True}, "vae_kl"),
        ({"consistency_weight": 0.5}, "vae_consistency"),
        ({"termination_weight": 0.5}, "vae_termination_loss"),
    ):
        alone = small_learner(small_config("DynaMITE", **OFF | switch)).elbo(data)[1]
        masked = OFF | switch | {"session_masking": True}
        together = small_learner(small_config("DynaMITE", **masked)).elbo(data)[1]
        assert alone[term] == together[term] != base.get(term, 0.0), term
        assert alone["vae_reward_loss"] != together["vae_reward_loss"]


@pytest.mark.parametrize("name", ["VariBAD", "DynaMITE"])
def test_what_stands_on_the_padding_changes_no_loss_and_no_gradient(name: str) -> None:
    data = small_batch()
    padding = ~data.valid
    beyond = torch.nn.functional.pad(padding, (1, 0))  # observations after the last one
    noise = torch.Generator().manual_seed(1)
    perturbed = replace(
        data,
        observation=data.observation + beyond[..., None] * torch.randn(1, generator=noise),
        action=data.action + padding[..., None] * 3.0,
        reward=data.reward + padding * 99.0,
        session=data.session + padding * 7,
        switched=torch.where(padding, 1, data.switched),
    )
    results, gradients = [], []
    for batch in (data, perturbed):
        learner = small_learner(
            small_config(name, decode_state=True, session_masking=True)
            if name == "DynaMITE"
            else small_config(name, decode_state=True)
        )
        loss, terms = learner.elbo(batch)
        loss.backward()
        results.append({"loss": loss} | terms)
        gradients.append(_gradients(learner))
    _equal(*results)
    _equal(*gradients)


def _latent_gradient(learner: Any, data: Any, reward: torch.Tensor) -> torch.Tensor:
    """d reward loss / d latent `[B, T, L]` with given rewards, pairs as `elbo` makes them."""
    from rllib_metarl.ops.sessions import SessionPairs

    pairs = SessionPairs(learner.decoded_sessions(data), data.valid)
    generator = torch.Generator().manual_seed(4)
    latent = torch.randn(*data.valid.shape, 2, generator=generator).requires_grad_()
    learner.reconstruction(replace(data, reward=reward), latent, pairs)[
        "vae_reward_loss"
    ].backward()
    assert latent.grad is not None
    return latent.grad


def test_a_belief_is_made_to_explain_the_rewards_of_its_own_session_only() -> None:
    data = small_batch((6, 6, 5))
    assert data.session.max() >= 2
    for name in ("DynaMITE", "VariBAD"):
        learner = small_learner(small_config(name))
        before = _latent_gradient(learner, data, data.reward)
        for b, j in ((0, 0), (0, 5), (1, 3), (2, 4)):
            reward = data.reward.clone()
            reward[b, j] += 2.0
            changed = (before != _latent_gradient(learner, data, reward)).any(-1)
            own = data.valid & (torch.arange(3) == b)[:, None]
            if name == "DynaMITE":
                own &= data.session == data.session[b, j]
            assert torch.equal(changed, own)


@pytest.mark.parametrize("name", ["VariBAD", "HLTDynaMITE"])
def test_a_reward_that_is_scaled_back_is_the_same_reward(name: str) -> None:
    scaled = {"reward_input_scale": 8.0, "vae_reward_scale": 0.5 / 8.0}
    learners = [small_learner(small_config(name)), small_learner(small_config(name, **scaled))]
    data = small_batch()
    batches = [data, replace(data, reward=data.reward / 8.0)]
    (ours, terms), (theirs, same) = (
        learner.elbo(batch) for learner, batch in zip(learners, batches, strict=True)
    )
    torch.testing.assert_close(theirs, ours)
    torch.testing.assert_close(same["belief_entropy"], terms["belief_entropy"])
    unlike, _ = small_learner(small_config(name)).elbo(batches[1])
    assert not torch.isclose(unlike, ours, rtol=1e-3)
