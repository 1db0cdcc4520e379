from __future__ import annotations

import pytest
import torch

from rllib_metarl.models.heads import BeliefNetwork, ValueNetwork
from rllib_metarl.models.mlp import activation, mlp
from rllib_metarl.models.prior import ScaledSessionPrior, SessionPrior
from rllib_metarl.ops import gaussian
from rllib_metarl.ops.elbo import sampled_log_likelihood


@pytest.mark.parametrize("conditioning", ["concat", "film"])
@pytest.mark.parametrize("lead", [(7,), (3, 5)])
def test_heads_map_any_leading_shape(conditioning: str, lead: tuple[int, ...]) -> None:
    network = BeliefNetwork(4, 6, 3, hidden=(8, 8), conditioning=conditioning)
    out = network(torch.randn(*lead, 4), torch.randn(*lead, 6))
    assert out.shape == (*lead, 3)


@pytest.mark.parametrize("conditioning", ["concat", "film"])
def test_both_inputs_matter(conditioning: str) -> None:
    torch.manual_seed(0)
    network = BeliefNetwork(4, 6, 3, hidden=(8, 8), conditioning=conditioning)
    observation, belief = torch.randn(7, 4), torch.randn(7, 6)
    out = network(observation, belief)
    assert not torch.allclose(out, network(observation, belief + 1.0))
    assert not torch.allclose(out, network(observation + 1.0, belief))


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'flim' is unknown; use concat or film"):
        BeliefNetwork(4, 6, 3, conditioning="flim")
    with pytest.raises(ValueError, match="'rellu' is unknown.*relu"):
        activation("rellu")


def test_mlp_ends_in_an_activation_only_if_told() -> None:
    x = torch.randn(64, 4)
    assert mlp([4, 8, 8], "relu")(x).min() >= 0
    assert mlp([4, 8, 8], "relu", last=False)(x).min() < 0


def test_a_new_policy_is_nearly_uniform() -> None:
    policy = BeliefNetwork(4, 6, 5, output_gain=0.01)
    logits = policy(torch.randn(100, 4), torch.randn(100, 6))
    assert (logits.softmax(-1) - 0.2).abs().max() < 0.02


def test_popart_keeps_predictions_while_its_units_move() -> None:
    torch.manual_seed(0)
    value = ValueNetwork(4, 6, hidden=(8,), conditioning="concat").double()
    observation = torch.randn(20, 4, dtype=torch.float64)
    belief = torch.randn(20, 6, dtype=torch.float64)
    before = value(observation, belief)
    for scale in (10.0, 50.0, 0.2):
        value.follow(scale * (torch.randn(500, dtype=torch.float64) + 3.0))
        torch.testing.assert_close(value(observation, belief), before)


def test_popart_takes_the_first_batch_whole_and_later_ones_by_its_rate() -> None:
    value = ValueNetwork(4, 6, rate=0.1)
    value.follow(torch.tensor([1.0, 3.0, 5.0]))
    assert (value.mean.item(), value.std.item()) == pytest.approx((3.0, 2.0))
    value.follow(torch.tensor([11.0, 13.0, 15.0]) * 1.0)
    assert (value.mean.item(), value.std.item()) == pytest.approx((4.0, 2.0))
    assert value.standardise(torch.tensor(8.0)).item() == pytest.approx(2.0)
    assert value.restore(torch.tensor(2.0)).item() == pytest.approx(8.0)


def test_constant_returns_do_not_make_popart_divide_by_zero() -> None:
    value = ValueNetwork(4, 6)
    value.follow(torch.full((10,), 2.5))
    out = value(torch.randn(3, 4), torch.randn(3, 6))
    assert torch.isfinite(out).all() and value.std > 0


def test_session_prior_keeps_gradients_away_from_the_belief_before() -> None:
    torch.manual_seed(0)
    prior = SessionPrior(3)
    mean, log_var = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    out = prior(mean, log_var)
    sum(part.square().sum() for part in out).backward()
    assert mean.grad is None and log_var.grad is None
    assert all(p.grad is not None and p.grad.any() for p in prior.parameters())


@pytest.mark.parametrize("stays", [0.2, 0.5, 0.8])
def test_a_session_prior_learns_the_law_whatever_is_seen_most_of(stays: float) -> None:
    """A session that stays with the old context shows 14 rewards, another one 2."""
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    torch.manual_seed(0)
    prior = ScaledSessionPrior(2)
    optimiser = torch.optim.Adam(prior.parameters(), 0.01)
    for _ in range(250):
        old = torch.rand(128, generator=generator).round() * 2 - 1
        mean = torch.stack([old - 7.0, torch.zeros(128)], -1) + 0.1 * randn(128, 2)
        prior.follow(torch.cat([mean, torch.full_like(mean, -3.0)], -1))
        same = torch.rand(128, generator=generator) < stays
        new, seen = torch.where(same, old, -old), torch.where(same, 14, 2)
        p_mean, p_log_var = (x[:, None] for x in prior(mean, torch.full_like(mean, -3.0)))
        with torch.no_grad():
            latent = gaussian.sample(
                p_mean.expand(128, 32, 2), p_log_var.expand(128, 32, 2), randn(128, 32, 2)
            )
            right = torch.nn.functional.logsigmoid(8 * (latent[..., 0] + 7.0) * new[:, None])
        density = gaussian.log_density(latent, p_mean, p_log_var)
        loss = -sampled_log_likelihood(seen[:, None] * right, density).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        belief = torch.tensor([[-6.0, 0.0]]), torch.full((1, 2), -3.0)
        p_mean, p_log_var = prior(*belief)
        drawn = gaussian.sample(p_mean.expand(5000, 2), p_log_var.expand(5000, 2), randn(5000, 2))
    assert (drawn[:, 0] > -7.0).float().mean().item() == pytest.approx(stays, abs=0.05)


def test_a_scaled_session_prior_begins_as_all_beliefs_and_has_a_gradient_at_its_limits() -> None:
    prior, beliefs = ScaledSessionPrior(2), torch.randn(500, 4) * 3.0 + 7.0
    prior.follow(beliefs)
    mean, log_var = prior(beliefs[:, :2], beliefs[:, 2:])
    torch.testing.assert_close(mean[0], beliefs[:, :2].mean(0))
    torch.testing.assert_close(log_var[0], beliefs[:, :2].var(0, correction=0).log())
    with torch.no_grad():
        prior.net[-1].bias.fill_(8.0)
    prior(beliefs[:, :2], beliefs[:, 2:])[1].sum().backward()
    assert (prior.net[-1].bias.grad[2:] != 0).all()
