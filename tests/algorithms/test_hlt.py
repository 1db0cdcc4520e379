"""HLT-DynaMITE-RL: what each level learns from, who sees it, and where it equals its parents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch.nn.functional import binary_cross_entropy_with_logits

from rllib_metarl.errors import UserError
from rllib_metarl.learning.batch import rollout_from_episodes
from rllib_metarl.ops.gaussian import kl_divergence, sample
from rllib_metarl.report.metric_table import METRICS
from tests.algorithms.small import (
    numbers,
    small_batch,
    small_config,
    small_learner,
    small_runner,
)

FAMILY = "DLCMDP/GridWorldFamily-v0"
VERSIONS = pytest.mark.parametrize("version", [1, 2])


def hlt(version: int = 2, **settings: Any) -> Any:
    return small_config("HLTDynaMITE", hlt_version=version, **settings)


def _reached(learner: Any) -> set[str]:
    """Networks that got a gradient, of the encoder each part."""
    named = learner.agent.named_parameters()
    parts = (n.split(".") for n, p in named if p.grad is not None and p.grad.any())
    return {".".join(part[:2]) if part[0] == "encoder" else part[0] for part in parts}


# --- limits -------------------------------------------------------------------------------------


def test_version_1_that_tells_no_switches_is_varibad_number_for_number() -> None:
    configs = [
        small_config("VariBAD", latent_size=3, decode_state=True),
        hlt(1, top_latent_size=3, switch_weight=0.0, decode_state=True),
    ]
    learners = [small_learner(config) for config in configs]
    episodes = small_runner(configs[0]).sample(num_timesteps=48, explore=True)
    for learner in learners:
        learner.update(episodes=episodes, timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: 48})
    ours, theirs = (dict(learner.agent.named_parameters()) for learner in learners)
    assert ours.keys() == theirs.keys()
    for name, parameter in ours.items():
        assert torch.equal(parameter, theirs[name]), name
    results = [learner.elbo(small_batch()) for learner in learners]
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1].keys() == results[1][1].keys()


def test_where_top_says_nothing_mid_has_dynamites_terms_number_for_number() -> None:
    ours, theirs = (
        small_learner(hlt(decode_state=True)),
        small_learner(small_config(decode_state=True)),
    )
    with torch.no_grad():
        for parameter in ours.agent.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        state = {k: v for k, v in ours.agent.state_dict().items() if not k.startswith("policy")}
        first = state["session_prior.net.0.weight"]
        first[:, :3] = 0.0  # the prior's inputs from top
        state["session_prior.net.0.weight"] = first[:, 3:]
        heads = ("value", "normalise_belief")  # their inputs are wider
        fitting = {k: v for k, v in state.items() if not k.startswith(heads)}
        theirs.agent.load_state_dict(fitting, strict=False)
    data = small_batch()
    found, expected = ours.elbo(data)[1], theirs.elbo(data)[1]
    for key in expected:
        if key != "vae_elbo":
            torch.testing.assert_close(found[key], expected[key], msg=key)
    assert found["vae_kl"] > 0 and found["vae_consistency"] > 0


# --- the top latent's part ----------------------------------------------------------------------


def _steps(data: Any) -> list[tuple[int, int]]:
    return [(b, t) for b in range(len(data.length)) for t in range(int(data.length[b]))]


def _looped_top(learner: Any, data: Any, posterior: Any, draws: Any) -> dict[str, Any]:
    """The top latent's terms step by step; `draws` are samples of it for switches and rewards."""
    agent, steps = learner.agent, _steps(data)
    features, first = agent.reward_features(data), (torch.tensor([0]),) * 3
    mean, log_var = posterior.top_mean, posterior.top_log_var
    kl = switch = reward = torch.zeros(())
    for b, t in steps:
        before = (mean[b, t - 1], log_var[b, t - 1]) if t else (torch.zeros(3), torch.zeros(3))
        kl = kl + kl_divergence(mean[b, t], log_var[b, t], *before)
        for j in range(int(data.length[b])):
            if j:
                logit = agent.switch_head(draws[0][b, t])
                d = data.switched[b, j].float()
                switch = switch + binary_cross_entropy_with_logits(logit, d)
            if data.session[b, j] != data.session[b, t]:
                top = draws[1][b : b + 1, t : t + 1]
                r = agent.top_decoder(top, features[b : b + 1, j : j + 1], first)
                reward = reward + learner.reward_loss(r[0, 0], data.reward[b, j])[0]
    terms = {"vae_top_kl": kl, "vae_top_switch_loss": switch, "vae_top_reward_loss": reward}
    return {key: value / len(steps) for key, value in terms.items()}


def test_the_top_terms_equal_a_slow_loop_over_beliefs_and_sessions() -> None:
    settings = {"top_kl_weight": 0.3, "top_weight": 0.7, "switch_weight": 0.5}
    learner, data = small_learner(hlt(**settings)), small_batch()
    with torch.no_grad():
        for parameter in learner.agent.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    posterior = learner.agent.encode(data.inputs)
    generator = learner._noise.generator.get_state()
    loss, terms = learner._top(data, posterior)
    learner._noise.generator.set_state(generator)
    mean, log_var = posterior.top_mean[:, :-1], posterior.top_log_var[:, :-1]
    draws = [
        sample(mean, log_var, torch.empty_like(mean).normal_(generator=learner._noise.generator))
        for _ in range(2)
    ]
    slow = _looped_top(learner, data, posterior, draws)
    for key, value in slow.items():
        assert value > 0, key
        torch.testing.assert_close(terms[key], value, msg=key, rtol=1e-4, atol=1e-5)
    weighted = slow["vae_top_reward_loss"] + 0.3 * slow["vae_top_kl"]
    torch.testing.assert_close(loss, weighted + 0.5 * slow["vae_top_switch_loss"])
    total, all_terms = learner.elbo(data)
    rest = 0.1 * (all_terms["vae_consistency"] + all_terms["vae_termination_loss"])
    top = all_terms["vae_top_reward_loss"] + 0.3 * all_terms["vae_top_kl"]
    top = top + 0.5 * all_terms["vae_top_switch_loss"]
    torch.testing.assert_close(total, rest + 0.7 * top - all_terms["vae_elbo"])


def test_the_gradient_reaches_top_through_the_prior_of_mid() -> None:
    learner = small_learner(hlt(top_weight=0.0))
    learner.elbo(small_batch())[0].backward()
    assert "encoder.top" in _reached(learner) and "session_prior" in _reached(learner)
    one_session = small_learner(hlt(top_weight=0.0))
    one_session.elbo(small_batch(switches=0.0))[0].backward()
    assert not {"encoder.top", "session_prior"} & _reached(one_session)


def test_top_explains_the_rewards_of_other_sessions_only() -> None:
    data = small_batch((6, 6, 5))
    assert data.session.max() >= 2
    learner = small_learner(hlt())
    top = torch.randn(3, 6, 3, generator=torch.Generator().manual_seed(4)).requires_grad_()

    def gradient(reward: torch.Tensor) -> torch.Tensor:
        (found,) = torch.autograd.grad(
            learner._other_rewards(replace(data, reward=reward), top), top
        )
        return found

    before = gradient(data.reward)
    for b, j in ((0, 0), (0, 5), (1, 3), (2, 4)):
        reward = data.reward.clone()
        reward[b, j] += 2.0
        changed = (before != gradient(reward)).any(-1)
        others = data.valid & (torch.arange(3) == b)[:, None] & (data.session != data.session[b, j])
        assert torch.equal(changed, others)


@VERSIONS
def test_a_meta_episode_of_one_session_gives_finite_losses(version: int) -> None:
    loss, terms = small_learner(hlt(version)).elbo(small_batch(switches=0.0))
    assert torch.isfinite(loss)
    assert terms.get("vae_top_reward_loss", torch.zeros(())) == 0.0


@VERSIONS
def test_what_stands_on_the_padding_changes_no_loss_and_no_gradient(version: int) -> None:
    data = small_batch()
    padding = ~data.valid
    beyond = torch.nn.functional.pad(padding, (1, 0))
    perturbed = replace(
        data,
        observation=data.observation + beyond[..., None] * 5.0,
        action=data.action + padding[..., None] * 3.0,
        reward=data.reward + padding * 99.0,
        session=data.session + padding * 7,
        switched=torch.where(padding, 1, data.switched),
    )
    results = []
    for batch in (data, perturbed):
        learner = small_learner(hlt(version))
        learner.elbo(batch)[0].backward()
        named = learner.agent.named_parameters()
        results.append({n: p.grad for n, p in named if p.grad is not None})
    assert results[0].keys() == results[1].keys()
    for name, gradient in results[0].items():
        assert torch.equal(gradient, results[1][name]), name


# --- who sees what ------------------------------------------------------------------------------


@VERSIONS
def test_the_policy_sees_top_alone_or_top_and_mid_as_the_encoder_says_them(version: int) -> None:
    config = hlt(version, env=FAMILY, env_config={"size": 3, "horizon": 6})
    learner, runner = small_learner(config), small_runner(config)
    runner.module.set_state(learner.module[DEFAULT_MODULE_ID].get_state(inference_only=True))
    rollout = rollout_from_episodes(runner.sample(num_timesteps=48, explore=True), learner.agent)
    data = rollout.trajectories
    posterior = learner.agent.encode(data.inputs)
    if version == 1:
        parts = [posterior.mean, posterior.log_var]
        assert not hasattr(posterior, "top_mean")
    else:
        parts = [posterior.top_mean, posterior.top_log_var, posterior.mean, posterior.log_var]
    assert [part.shape[-1] for part in parts] == [3, 3, 2, 2][: 2 * version]
    seen = torch.cat(parts, -1)
    torch.testing.assert_close(rollout.belief, seen[:, :-1])
    torch.testing.assert_close(rollout.final_belief, seen[:, -1])
    latents = learner.agent.latents
    torch.testing.assert_close(seen[..., latents["top"]], parts[0])
    if version == 2:
        torch.testing.assert_close(seen[..., latents["mid"]], posterior.mean)


@VERSIONS
def test_decoders_prior_and_switch_head_stay_with_the_learner(version: int) -> None:
    config = hlt(version)
    learner, runner = small_learner(config), small_runner(config)
    names = ["value", "reward_decoder", "switch_head"]
    names += ["top_decoder", "session_prior"] if version == 2 else []
    for name in names:
        assert isinstance(getattr(learner.agent, name), torch.nn.Module), name
        assert not hasattr(runner.module, name), name
    sent = learner.module[DEFAULT_MODULE_ID].get_state(inference_only=True)
    assert {key.split(".")[0] for key in sent}.isdisjoint(names)


@pytest.mark.parametrize("end_to_end", [False, True])
@VERSIONS
def test_every_trained_parameter_belongs_to_one_optimiser(version: int, end_to_end: bool) -> None:
    learner = small_learner(hlt(version, policy_gradient_to_encoder=end_to_end))
    groups = learner.parameter_groups()
    taken = [id(p) for parameters in groups.values() for p in parameters]
    trained = [id(p) for p in learner.agent.parameters() if p.requires_grad]
    assert len(taken) == len(set(taken)) and set(taken) == set(trained)


def test_the_elbo_reaches_each_network_that_it_is_to_train() -> None:
    learner = small_learner(hlt())
    learner.elbo(small_batch())[0].backward()
    parts = ("embedding", "gru", "posterior", "termination", "conditioning", "top")
    networks = {"reward_decoder", "top_decoder", "session_prior", "switch_head"}
    assert _reached(learner) == {f"encoder.{part}" for part in parts} | networks


# --- settings, metrics, learning ----------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"version": 3}, r"hlt_version is 3: use 1 or 2"),
        ({"top_latent_size": 0}, "top_latent_size is 0"),
        ({"top_weight": -1.0}, "top_weight is -1.0"),
        ({"top_kl_weight": -1.0}, "top_kl_weight is -1.0"),
        ({"switch_weight": -1.0}, "switch_weight is -1.0"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        hlt(**settings).validate()


def test_labels_that_are_missing_are_named() -> None:
    data = replace(small_batch(), session=None, switched=None)
    with pytest.raises(UserError, match=r"info\['session'\]"):
        small_learner(hlt()).elbo(data)
    with pytest.raises(UserError, match=r"info\['switched'\].*switch_weight: 0"):
        small_learner(hlt(1)).elbo(data)
    small_learner(hlt(1, switch_weight=0.0)).elbo(data)


@pytest.mark.parametrize(
    "settings",
    [{"version": 1}, {"version": 2}, {"version": 1, "switch_weight": 0.0}, {"switch_weight": 0.0}],
)
def test_what_is_reported_is_what_the_table_has_less_what_the_config_says(
    settings: dict[str, Any],
) -> None:
    config = hlt(**settings)
    learner = small_learner(config)
    known = {path.rpartition("/")[2] for m in METRICS for path in m.paths if "vae_" in path}
    prefix = "learners/default_policy/"
    declared = config.declared_metrics().items()
    reported = {key for key, when in declared if when is None or when.holds(config)}
    expected = {name for name in known if prefix + name in reported}
    found = {key for key in learner.elbo(small_batch())[1] if key.startswith("vae_")}
    outside = {"vae_grad_norm", "vae_learning_rate", "vae_buffer_episodes"}
    assert found == expected - outside


def test_top_learns_the_rate_of_change_and_mid_the_reward(driver_ray: None) -> None:
    """Two members: hardly ever or more often than not; the belief alone learns."""
    grid = {"size": 2, "horizon": 24, "goals": [[0, 0], [1, 1]]}
    rates = (0.02, 0.6)
    config = hlt(
        env=FAMILY,
        env_config=grid | {"members": [[rates[0], 1.0, 1.0], [rates[1], 1.0, 1.0]]},
        seed=0,
        train_batch_size_per_learner=768,
        minibatch_size=768,
        num_epochs=1,
        encoder_hidden=32,
        encoder_embedding=[32],
        decoder_hidden=[32],
        latent_size=3,
        vae_lr=3e-3,
        vae_updates=12,
        vae_batch_size=32,
        vae_buffer_size=2000,
        kl_weight=0.02,
        consistency_weight=0.05,
        top_weight=0.5,
        top_kl_weight=0.1,
        switch_weight=1.0,
        lr=0.0,  # the policy stays random
    )
    config.env_runners(num_envs_per_env_runner=32, rollout_fragment_length=24)
    algorithm = config.build_algo()
    reported = [numbers(algorithm.train()) for _ in range(28)]
    algorithm.stop()

    def entropy(p: float) -> float:
        return float(-(p * np.log(p) + (1 - p) * np.log(1 - p)))

    constant = 23 * entropy(sum(rates) / 2)
    told = np.mean([r["vae_top_switch_loss"] for r in reported[-5:]])
    assert 23 * np.mean([entropy(p) for p in rates]) < told < 0.9 * constant
    errors = [r["vae_reward_error"] for r in reported]
    assert np.mean(errors[-5:]) < 0.5 * np.mean(errors[:2])
