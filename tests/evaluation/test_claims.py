"""What an agent predicts of rewards and observations, by its own decoders."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rllib_metarl.algorithms import ALGORITHMS
from rllib_metarl.evaluation.belief.claims import claims_of
from rllib_metarl.recording import Recording, record
from rllib_metarl.sampling.held_out import HeldOut
from tests.algorithms.small import GRID, SMALL_GRID, small_config, small_learner
from tests.evaluation.toys import SETTINGS, FilterAgent


class Constant(FilterAgent):
    """Foretells the same of every reward, whatever it believes."""

    says = 0.3

    def reward_decoder(self, latent: Tensor, features: Tensor, pairs: Any) -> Tensor:
        return torch.full((len(pairs[0]), 1), self.says)


def _played(module: Any) -> Recording:
    return record(HeldOut(GRID, SMALL_GRID, 12).play(module), module.latents)


def test_a_gaussian_reward_costs_its_distance() -> None:
    module = Constant(SMALL_GRID)
    settings = SimpleNamespace(**vars(SETTINGS) | {"reward_likelihood": "gaussian"})
    settings.vae_reward_scale = 0.5
    played = _played(module)
    claims = claims_of(module, settings, played)
    by_hand = 0.5 * ((played.rewards - 0.3) / 0.5) ** 2 + np.log(0.5 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(claims.surprise, by_hand, atol=1e-5)
    np.testing.assert_allclose(claims.disagreement, 0, atol=1e-6)
    assert claims.positive is None


def test_a_bernoulli_reward_costs_its_probability() -> None:
    module = Constant(SMALL_GRID)
    played = _played(module)
    claims = claims_of(module, SETTINGS, played)
    p = 1 / (1 + np.exp(-0.3))
    by_hand = -np.log(np.where(played.rewards > 0, p, 1 - p))
    np.testing.assert_allclose(claims.surprise, by_hand, atol=1e-5)
    np.testing.assert_allclose(claims.positive, p, atol=1e-6)


def test_how_far_the_belief_moves_is_what_the_bound_adds() -> None:
    """Where all samples predict the same, it is the surprise and KL(q_{t+1} || q_t)."""
    module = Constant(SMALL_GRID)
    played = _played(module)
    claims = claims_of(module, SETTINGS, played)
    mean, var = played.mean[..., 0].astype(np.float64), np.exp(played.log_var[..., 0])
    squared = np.square(mean[:, 1:] - mean[:, :-1])
    ratio = var[:, 1:] / var[:, :-1]
    moved = 0.5 * (ratio - 1 - np.log(ratio) + squared / var[:, :-1])
    assert moved.max() > 1.0
    np.testing.assert_allclose(claims.negative_elbo - claims.surprise, moved, rtol=1e-3, atol=1e-4)


def test_what_is_said_of_switches_begins_with_none() -> None:
    module = FilterAgent(SMALL_GRID)
    told = claims_of(module, SETTINGS, _played(module)).termination
    assert told is not None and told.shape == (12, SMALL_GRID["horizon"] + 1)
    assert (told[:, 0] == 0).all() and told[:, 2:].max() > 0.2


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("state", [False, True])
def test_the_elbo_bounds_the_surprise(likelihood: str, state: bool) -> None:
    config = small_config("DynaMITE", reward_likelihood=likelihood, decode_state=state)
    module = small_learner(config).agent
    played = _played(module)
    claims = claims_of(module, config, played)
    assert claims.surprise is not None and claims.negative_elbo is not None
    assert claims.surprise.shape == played.rewards.shape
    assert claims.negative_elbo.mean() > claims.surprise.mean()
    assert claims.disagreement is not None and claims.disagreement.min() > -1e-6
    again = claims_of(module, config, played)
    np.testing.assert_array_equal(again.surprise, claims.surprise)


def test_a_longer_observation_to_foretell_is_a_greater_surprise() -> None:
    def surprise(state: bool) -> float:
        config = small_config("DynaMITE", decode_state=state)
        module = small_learner(config).agent
        return float(claims_of(module, config, _played(module)).surprise.mean())

    # Each of six numbers costs at least what a unit Gaussian does at its mean.
    assert surprise(True) > surprise(False) + 6 * 0.5 * np.log(2 * np.pi) - 1e-3


def test_who_has_no_decoder_claims_nothing() -> None:
    module = small_learner(small_config("RL2")).agent
    held_out = HeldOut(GRID, SMALL_GRID, 4)
    claims = claims_of(module, small_config("RL2"), record(held_out.play(module)))
    assert set(vars(claims).values()) == {None}


@pytest.mark.parametrize(
    ("name", "settings", "threshold"),
    [
        ("DynaMITE", {"termination_threshold": 0.7}, 0.7),
        ("DynaMITE", {"termination_weight": 0.0, "prior_conditioning": False}, None),
        ("VariBAD", {}, None),
        ("RL2", {}, None),
        ("HLTDynaMITE", {}, 0.5),
        ("HLTDynaMITE", {"hlt_version": 1}, None),
    ],
)
def test_who_has_a_termination_head(
    name: str, settings: dict[str, Any], threshold: float | None
) -> None:
    config = ALGORITHMS[name].config()().training(**settings)
    assert config.termination_head() == threshold
