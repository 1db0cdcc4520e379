"""Which loss reaches which network, and the ELBO against a slow one written out in loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch.nn.functional import binary_cross_entropy_with_logits

from rllib_metarl.algorithms.dynamite.learner import PRIOR_SAMPLES
from rllib_metarl.errors import UserError
from rllib_metarl.learning.batch import rollout_from_episodes
from rllib_metarl.ops.gaussian import kl_divergence, sample
from rllib_metarl.ops.sessions import one_later_session
from tests.algorithms.small import small_batch, small_config, small_learner, small_runner

LEARNER_ONLY = ("value", "reward_decoder", "state_decoder", "session_prior")


def _reached(learner: Any) -> set[str]:
    """Networks that got a gradient."""
    named = learner.agent.named_parameters()
    return {n.split(".")[0] for n, p in named if p.grad is not None and p.grad.any()}


def _policy_loss(learner: Any, config: Any) -> torch.Tensor:
    episodes = small_runner(config).sample(num_timesteps=48, explore=True)
    rollout = rollout_from_episodes(episodes, learner.agent)
    columns = learner.ppo_columns(rollout) | learner.sequence_columns(rollout)
    outputs = learner.module[DEFAULT_MODULE_ID].forward_train(columns)
    return learner.compute_loss_for_module(
        module_id=DEFAULT_MODULE_ID, config=config, batch=columns, fwd_out=outputs
    )


@pytest.mark.parametrize("end_to_end", [False, True])
def test_the_policy_loss_reaches_the_encoder_only_end_to_end(end_to_end: bool) -> None:
    config = small_config(policy_gradient_to_encoder=end_to_end)
    learner = small_learner(config)
    _policy_loss(learner, config).backward()
    encoder = [p.grad for p in learner.agent.encoder.parameters()]
    if end_to_end:
        assert _reached(learner) == {"policy", "value", "encoder"}
    else:
        assert _reached(learner) == {"policy", "value"}
        assert all(gradient is None for gradient in encoder)


def test_the_elbo_reaches_the_encoder_and_what_only_the_learner_has() -> None:
    learner = small_learner(small_config(decode_state=True))
    learner.elbo(small_batch())[0].backward()
    assert _reached(learner) == {"encoder", "reward_decoder", "state_decoder", "session_prior"}


@pytest.mark.parametrize("end_to_end", [False, True])
@pytest.mark.parametrize("name", ["VariBAD", "DynaMITE"])
def test_every_trained_parameter_belongs_to_one_optimiser(name: str, end_to_end: bool) -> None:
    config = small_config(name, policy_gradient_to_encoder=end_to_end, decode_state=True)
    learner = small_learner(config)
    groups = learner.parameter_groups()
    taken = [id(p) for parameters in groups.values() for p in parameters]
    trained = [id(p) for p in learner.agent.parameters() if p.requires_grad]
    assert len(taken) == len(set(taken)) and set(taken) == set(trained)
    encoder = {id(p) for p in learner.agent.encoder.parameters() if p.requires_grad}
    assert encoder <= {id(p) for p in groups["policy" if end_to_end else "vae"]}


def test_decoders_value_and_session_prior_stay_with_the_learner() -> None:
    config = small_config(decode_state=True)
    learner, runner = small_learner(config), small_runner(config)
    for name in LEARNER_ONLY:
        assert isinstance(getattr(learner.agent, name), torch.nn.Module), name
        assert not hasattr(runner.module, name), name
    sent = learner.module[DEFAULT_MODULE_ID].get_state(inference_only=True)
    assert not [key for key in sent if key.split(".")[0] in LEARNER_ONLY]
    runner.module.set_state(sent)
    assert torch.equal(runner.module.policy.output.weight, learner.agent.policy.output.weight)


# --- the ELBO in loops --------------------------------------------------------------------------


def _steps(data: Any) -> list[tuple[int, int]]:
    return [(b, t) for b in range(len(data.length)) for t in range(int(data.length[b]))]


def _looped_reconstruction(learner: Any, data: Any, latent: torch.Tensor) -> dict[str, Any]:
    agent, steps = learner.agent, _steps(data)
    features, states = agent.reward_features(data), agent.state_features(data)
    target = agent.normalise_observation(data.observation)
    first = (torch.tensor([0]),) * 3
    reward_loss = state_loss = torch.zeros(())
    for b, t in steps:
        for j in range(int(data.length[b])):
            if data.session[b, t] != data.session[b, j]:
                continue
            m = latent[b : b + 1, t : t + 1]
            r = agent.reward_decoder(m, features[b : b + 1, j : j + 1], first)
            reward_loss = reward_loss + learner.reward_loss(r[0, 0], data.reward[b, j])[0]
            s = agent.state_decoder(m, states[b : b + 1, j : j + 1], first)
            state_loss = state_loss + 0.5 * (s[0] - target[b, j + 1]).square().sum()
    return {
        "vae_reward_loss": reward_loss / len(steps),
        "vae_state_loss": state_loss / len(steps),
    }


def _looped_beliefs(learner: Any, data: Any, posterior: Any) -> dict[str, Any]:
    """KL, consistency and termination terms from beliefs `[B, T + 1, L]`, step by step."""
    mean, log_var, logit = posterior
    steps = _steps(data)
    kl = consistency = termination = torch.zeros(())
    for b, t in steps:
        q = mean[b, t], log_var[b, t]
        same = t > 0 and data.session[b, t] == data.session[b, t - 1]
        if t == 0:
            prior = torch.zeros(2), torch.zeros(2)
        elif same:
            prior = mean[b, t - 1], log_var[b, t - 1]
        else:
            prior = learner.agent.session_prior(mean[b, t - 1], log_var[b, t - 1])
        kl = kl + kl_divergence(*q, *prior)
        last = max(
            s for s in range(int(data.length[b])) if data.session[b, s] == data.session[b, t]
        )
        end = mean[b, last].detach(), log_var[b, last].detach()
        if t < last:
            away = kl_divergence(mean[b, t + 1], log_var[b, t + 1], *end) - kl_divergence(*q, *end)
            consistency = consistency + away.clamp_min(0.0)
        # Whether transition t opened a session is asked after it has been seen.
        termination = termination + binary_cross_entropy_with_logits(
            logit[b, t + 1], data.switched[b, t].float()
        )
    terms = {"vae_kl": kl, "vae_consistency": consistency, "vae_termination_loss": termination}
    return {key: value / len(steps) for key, value in terms.items()}


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_elbo_equals_the_sum_over_beliefs_and_pairs_of_a_slow_loop(likelihood: str) -> None:
    config = small_config(
        decode_state=True,
        reward_likelihood=likelihood,
        kl_weight=0.3,
        state_loss_weight=0.7,
        consistency_weight=0.9,
        termination_weight=1.1,
    )
    learner, data = small_learner(config), small_batch()
    with torch.no_grad():
        for parameter in learner.agent.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    generator = learner._noise.generator.get_state()
    loss, terms = learner.elbo(data)
    learner._noise.generator.set_state(generator)
    posterior = learner.agent.encode(data.inputs)
    mean, log_var = posterior.mean[:, :-1], posterior.log_var[:, :-1]
    noise = torch.empty_like(mean).normal_(generator=learner._noise.generator)
    latent = sample(mean, log_var, noise)
    slow = _looped_reconstruction(learner, data, latent) | _looped_beliefs(learner, data, posterior)
    for key, value in slow.items():
        assert value > 0, key
        torch.testing.assert_close(terms[key], value, msg=key, rtol=1e-4, atol=1e-5)
    weights = {
        "vae_reward_loss": 1.0,
        "vae_state_loss": 0.7,
        "vae_kl": 0.3,
        "vae_consistency": 0.9,
        "vae_termination_loss": 1.1,
    }
    total = sum(weight * slow[key] for key, weight in weights.items())
    torch.testing.assert_close(loss, total, rtol=1e-4, atol=1e-5)


def test_a_sample_of_the_pairs_stands_for_all_without_bias() -> None:
    data = small_batch()
    full = small_learner(small_config()).elbo(data)[1]["vae_reward_loss"]
    learner = small_learner(small_config(vae_max_pairs=20))
    # The latent's own noise is kept small, so that the mean shows the choice of pairs alone.
    with torch.no_grad():
        learner.agent.encoder.posterior.bias[2:] = -8.0
    exact = small_learner(small_config())
    exact.agent.load_state_dict(learner.agent.state_dict())
    full = exact.elbo(data)[1]["vae_reward_loss"]
    draws = torch.stack([learner.elbo(data)[1]["vae_reward_loss"] for _ in range(300)])
    assert draws.std() > 0.02 * full
    assert abs(draws.mean() - full) < 4 * draws.std() / 300**0.5


def test_decoding_is_thinned_by_default_where_it_would_fill_the_memory(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rllib_metarl.algorithms.varibad import learner as module

    config = small_config("VariBAD")
    config.vae_max_pairs = 20  # as if that were the default
    monkeypatch.setattr(module, "MAX_PAIRS", 20)
    learner = small_learner(config)
    for _ in range(2):
        learner.elbo(small_batch())
    notes = [r.getMessage() for r in caplog.records if "vae_max_pairs" in r.getMessage()]
    assert len(notes) == 1 and "89 pairs" in notes[0] and "vae_max_pairs: 20" in notes[0]


# --- an update ----------------------------------------------------------------------------------


def _update(learner: Any, config: Any, steps: int) -> dict[str, Any]:
    episodes = small_runner(config).sample(num_timesteps=48, explore=True)
    learner.update(episodes=episodes, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps})
    return {n: p.detach().clone() for n, p in learner.agent.named_parameters()}


def test_during_the_warm_up_the_belief_learns_and_the_policy_does_not() -> None:
    config = small_config(vae_warmup_steps=100, vae_warmup_updates=3)
    learner = small_learner(config)
    start = {n: p.detach().clone() for n, p in learner.agent.named_parameters()}
    warm = _update(learner, config, 48)
    moved = {n.split(".")[0] for n in start if not torch.equal(start[n], warm[n])}
    assert moved == {"encoder", "reward_decoder", "session_prior"}
    after = _update(learner, config, 144)
    moved = {n.split(".")[0] for n in start if not torch.equal(warm[n], after[n])}
    assert moved >= {"policy", "value", "encoder"}


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    learner = small_learner(small_config())
    start = {n: p.detach().clone() for n, p in learner.agent.named_parameters()}
    loss = learner.elbo(small_batch())[0]
    learner.gradient_step(loss * float("nan"), torch.ones(()), "vae")
    assert all(torch.equal(start[n], p) for n, p in learner.agent.named_parameters())
    with pytest.raises(UserError, match="gradient of the vae parameters was NaN.*resumed"):
        for _ in range(learner.config.max_skipped_updates):
            loss = learner.elbo(small_batch())[0] * float("nan")
            learner.gradient_step(loss, torch.ones(()), "vae")


def test_labels_that_are_missing_are_named_with_the_mend() -> None:
    from dataclasses import replace

    data = replace(small_batch(), session=None, switched=None)
    with pytest.raises(UserError, match=r"DLCMDP/GridWorld-v0.*info\['session'\].*session_masking"):
        small_learner(small_config()).elbo(data)
    masking_off = small_config(
        session_masking=False, prior_conditioning=False, consistency_weight=0.0
    )
    with pytest.raises(UserError, match=r"info\['switched'\].*termination_weight: 0"):
        small_learner(masking_off).elbo(data)
    small_learner(small_config("VariBAD")).elbo(data)


# --- the session prior that learns from rewards ---------------------------------------------------

REWARDS = {"session_prior": "rewards", "held_belief": "mixture"}


def test_the_session_priors_likelihood_is_that_of_a_whole_session_under_one_latent() -> None:
    learner, data = small_learner(small_config(**REWARDS)), small_batch(switches=0.5)
    posterior = learner.agent.encode(data.inputs)
    start = learner._noise.generator.get_state()
    told = learner.session_prior_loss(data, posterior, data.session)
    learner._noise.generator.set_state(start)
    rows = len(data.length)
    number, later = one_later_session(
        data.session, data.valid, learner._noise.like(data.reward[:, 0])
    )
    noise = learner._noise.like(torch.empty(rows, PRIOR_SAMPLES, 2))
    features, total = learner.agent.reward_features(data), 0.0
    for b in range(rows):
        steps = [j for j in range(int(data.length[b])) if data.session[b, j] == number[b]]
        if not later[b]:
            continue
        belief = posterior.mean[b, steps[0]], posterior.log_var[b, steps[0]]
        mean, log_var = learner.agent.session_prior(*belief)
        likelihoods = []
        for k in range(PRIOR_SAMPLES):
            m = (mean + torch.exp(log_var / 2) * noise[b, k])[None, None]
            pairs = [torch.zeros(len(steps), dtype=torch.long)] * 2 + [torch.tensor(steps)]
            decoded = learner.agent.reward_decoder(m, features[b : b + 1], tuple(pairs))[:, 0]
            likelihoods.append(-learner.reward_loss(decoded, data.reward[b, steps])[0].sum())
        total += later[b] * (torch.logsumexp(torch.stack(likelihoods), 0) - math.log(PRIOR_SAMPLES))
    assert later.sum() > 1
    torch.testing.assert_close(told, -total / data.valid.sum())


def test_what_a_session_showed_moves_the_prior_and_nothing_else() -> None:
    learner, data = small_learner(small_config(**REWARDS)), small_batch(switches=0.5)
    posterior = learner.agent.encode(data.inputs)
    learner.session_prior_loss(data, posterior, data.session).backward()
    assert _reached(learner) == {"session_prior"}


def test_where_nobody_ever_switches_there_is_nothing_to_learn_from() -> None:
    learner, data = small_learner(small_config(**REWARDS)), small_batch(switches=0.0)
    loss, terms = learner.elbo(data)
    assert terms["vae_session_prior_loss"] == 0.0 and torch.isfinite(loss)


def test_the_top_latent_learns_from_what_sessions_showed() -> None:
    learner, data = small_learner(small_config("HLTDynaMITE", **REWARDS)), small_batch(switches=0.5)
    with torch.no_grad():  # the prior begins as one for all
        learner.agent.session_prior.net[-1].weight.normal_()
    posterior = learner.agent.encode(data.inputs)
    learner.session_prior_loss(data, posterior, data.session).backward()
    assert _reached(learner) == {"session_prior", "encoder"}
    assert learner.agent.encoder.top.weight.grad.any()
    assert learner.agent.encoder.posterior.weight.grad is None
