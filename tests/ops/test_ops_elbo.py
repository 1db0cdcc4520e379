from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal
from torch.distributions import kl_divergence as torch_kl

from rllib_metarl.ops import elbo, sessions

if TYPE_CHECKING:
    from tests.ops.conftest import Batch


def _unit(values: list[float]) -> tuple[Tensor, Tensor]:
    """Beliefs ``[1, T, 1]`` of variance 1, so that KL(q_s || q_t) = (m_s - m_t)^2 / 2."""
    mean = torch.tensor(values)[None, :, None].requires_grad_()
    return mean, torch.zeros(1, len(values), 1)


def _ids(values: list[int]) -> Tensor:
    return torch.tensor([values])


def _all_valid(steps: int) -> Tensor:
    return torch.ones(1, steps, dtype=torch.bool)


def _kl(mean_q: Tensor, log_var_q: Tensor, mean_p: Tensor, log_var_p: Tensor) -> float:
    q = Independent(Normal(mean_q, (0.5 * log_var_q).exp()), 1)
    p = Independent(Normal(mean_p, (0.5 * log_var_p).exp()), 1)
    return float(torch_kl(q, p))


def test_bernoulli_log_prob() -> None:
    # Logit log 3 is P = 3/4: log(3/4) for 1, log(1/4) for 0.
    logits = torch.full((2,), math.log(3.0))
    value = elbo.bernoulli_log_prob(logits, torch.tensor([True, False]))
    torch.testing.assert_close(value, torch.log(torch.tensor([0.75, 0.25])))
    draw = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    target = (draw > 0.3).float()
    torch.testing.assert_close(
        elbo.bernoulli_log_prob(draw, target), Bernoulli(logits=draw).log_prob(target)
    )


def test_squared_error_by_hand() -> None:
    # (1 - 0)^2 + (2 - 4)^2 = 5.
    prediction, target = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])
    assert elbo.squared_error(prediction, target).tolist() == [5.0]


def _summed(pair_loss: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The loss `[B]` of the pairs `[B, Te, Td]` in a mask."""
    return pair_loss.masked_fill(~mask, 0.0).sum((1, 2))


def test_pairs_of_a_session_are_those_of_the_double_loop(batch: Batch) -> None:
    loss = torch.rand(4, 7, 7, generator=torch.Generator().manual_seed(1))
    mask = sessions.same_session_mask(batch.session, batch.session, batch.valid, batch.valid)
    expected = [0.0] * 4
    pairs = 0
    for b, length in enumerate(batch.lengths):
        for t in range(length):
            for j in range(length):
                if batch.session[b, t] == batch.session[b, j]:
                    expected[b] += loss[b, t, j].item()
                    pairs += 1
    torch.testing.assert_close(_summed(loss, mask), torch.tensor(expected))
    # Decoding the listed pairs alone gives the same sum.
    b, t, j = sessions.MaskedPairs(mask).all()
    assert len(b) == pairs
    assert loss[b, t, j].sum().item() == pytest.approx(sum(expected), rel=1e-5)


def test_steps_of_other_sessions_and_padding_change_no_reconstruction(batch: Batch) -> None:
    mask = sessions.same_session_mask(batch.session, batch.session, batch.valid, batch.valid)
    beliefs, steps = batch.mean.clone().requires_grad_(), batch.log_var

    def losses(transitions: Tensor) -> Tensor:
        pair_loss = (beliefs[:, :, None] - transitions[:, None]).square().sum(-1)
        return _summed(pair_loss, mask)

    # Padding: nothing changes, not even where it is infinite.
    padded = steps.masked_fill(~batch.valid[..., None], torch.inf)
    assert torch.equal(losses(steps), losses(padded))
    # Other sessions: beliefs of session 0 get the same gradient whatever happens later.
    later = torch.where((batch.session == 0)[..., None], steps, steps + 5.0)
    (before,) = torch.autograd.grad(losses(steps).sum(), beliefs)
    (after,) = torch.autograd.grad(losses(later).sum(), beliefs)
    first = batch.session == 0
    assert torch.equal(before[first], after[first])
    assert (batch.session[batch.valid] == 0).all() or not torch.equal(before, after)


def test_session_chain_kl_by_hand() -> None:
    mean, log_var = _unit([1.0, 3.0, 0.0, 2.0])
    session, valid = _ids([0, 0, 1, 1]), _all_valid(4)
    # Chain from 0: (1-0)^2/2, (3-1)^2/2, (0-3)^2/2, (2-0)^2/2.
    chain = elbo.session_chain_kl(mean, log_var, session, valid)
    assert chain.tolist() == [[0.5, 2.0, 4.5, 2.0]]
    # The prior of the second session is N(4, 1): (0-4)^2/2 = 8 at its first step, else as before.
    prior = torch.full((1, 4, 1), 4.0)
    conditioned = elbo.session_chain_kl(mean, log_var, session, valid, prior, log_var)
    assert conditioned.tolist() == [[0.5, 2.0, 8.0, 2.0]]


def test_session_chain_kl_has_gradients_at_both_ends() -> None:
    mean, log_var = _unit([1.0, 3.0])
    elbo.session_chain_kl(mean, log_var, _ids([0, 0]), _all_valid(2)).sum().backward()
    # d/dm_0 [m_0^2 + (m_1 - m_0)^2] / 2 = 1 - 2 = -1; d/dm_1 = 2.
    assert mean.grad is not None and mean.grad.flatten().tolist() == [-1.0, 2.0]


def test_the_prior_cuts_the_chain_and_is_read_at_session_starts_only() -> None:
    mean, log_var = _unit([1.0, 3.0, 0.0, 2.0])
    prior_mean = torch.full((1, 4, 1), 4.0, requires_grad=True)
    prior_log_var = torch.zeros(1, 4, 1, requires_grad=True)
    kl = elbo.session_chain_kl(
        mean, log_var, _ids([0, 0, 1, 1]), _all_valid(4), prior_mean, prior_log_var
    )
    kl.sum().backward()
    # d/dp of (0 - p)^2 / 2 at p = 4 is 4; d/dlog_var of [l + (1 + 16) e^-l - 1] / 2 = -8.
    assert prior_mean.grad is not None and prior_log_var.grad is not None and mean.grad is not None
    assert prior_mean.grad.flatten().tolist() == [0.0, 0.0, 4.0, 0.0]
    assert prior_log_var.grad.flatten().tolist() == [0.0, 0.0, -8.0, 0.0]
    # q_1 ends its session: only its own term (3 - 1)^2 / 2 is left, none from the next session.
    assert mean.grad.flatten().tolist()[1] == 2.0


def test_session_chain_kl_equals_the_loop(batch: Batch) -> None:
    prior_mean, prior_log_var = batch.mean.flip(0), batch.log_var.flip(0)
    kl = elbo.session_chain_kl(
        batch.mean, batch.log_var, batch.session, batch.valid, prior_mean, prior_log_var
    )
    zero = torch.zeros_like(batch.mean[0, 0])
    for b, length in enumerate(batch.lengths):
        for t in range(7):
            if t >= length:
                assert kl[b, t] == 0.0
                continue
            p = (batch.mean[b, t - 1], batch.log_var[b, t - 1]) if t else (zero, zero)
            if t and batch.session[b, t] != batch.session[b, t - 1]:
                p = (prior_mean[b, t], prior_log_var[b, t])
            expected = _kl(batch.mean[b, t], batch.log_var[b, t], *p)
            assert kl[b, t].item() == pytest.approx(expected)


def test_without_switches_the_prior_is_never_used(batch: Batch) -> None:
    none = torch.zeros_like(batch.session)
    prior = torch.full_like(batch.mean, torch.nan)
    plain = elbo.session_chain_kl(batch.mean, batch.log_var, none, batch.valid)
    prior_kl = elbo.session_chain_kl(batch.mean, batch.log_var, none, batch.valid, prior, prior)
    assert torch.equal(plain, prior_kl)


def test_consistency_hinge_by_hand() -> None:
    mean, log_var = _unit([0.0, 5.0, 3.0, 1.0, 2.0])
    # Session 0 (steps 0-2) ends at 3: KL to the end 4.5, 2, 0: falls, so no penalty.
    # Session 1 (steps 3-4) ends at 2: KL 0.5, 0: none either.
    hinge = elbo.consistency_hinge(mean, log_var, _ids([0, 0, 0, 1, 1]), _all_valid(5))
    assert hinge.tolist() == [[0.0] * 5]
    # One session, end at 2: KL 2, 4.5, 0.5, 0.5, 0: the one rise is 2.5, from step 0 to 1.
    hinge = elbo.consistency_hinge(mean, log_var, _ids([0] * 5), _all_valid(5))
    assert hinge.tolist() == [[2.5, 0.0, 0.0, 0.0, 0.0]]


def test_the_end_of_a_session_is_a_target_without_gradient() -> None:
    mean, log_var = _unit([0.0, 5.0, 2.0])
    log_var.requires_grad_()
    elbo.consistency_hinge(mean, log_var, _ids([0, 0, 0]), _all_valid(3)).sum().backward()
    # (m_1 - 2)^2/2 - (m_0 - 2)^2/2: gradients 2 for m_0 = 0, 3 for m_1 = 5, none for the end.
    assert mean.grad is not None and mean.grad.flatten().tolist() == [2.0, 3.0, 0.0]
    # At equal variances the KL is flat in q's own log-variance, but not in that of the end.
    assert log_var.grad is not None and log_var.grad.flatten().tolist() == [0.0, 0.0, 0.0]


def test_a_meta_episode_of_one_step() -> None:
    mean, log_var = _unit([2.0])
    ids, valid = _ids([0]), _all_valid(1)
    assert elbo.session_chain_kl(mean, log_var, ids, valid, mean, log_var).tolist() == [[2.0]]
    assert elbo.consistency_hinge(mean, log_var, ids, valid).tolist() == [[0.0]]


def test_consistency_hinge_equals_the_loop(batch: Batch) -> None:
    hinge = elbo.consistency_hinge(batch.mean, batch.log_var, batch.session, batch.valid)
    positive = 0
    for b, length in enumerate(batch.lengths):
        for t in range(7):
            ids = batch.session[b]
            expected = 0.0
            if t + 1 < length and ids[t] == ids[t + 1]:
                end = max(j for j in range(length) if ids[j] == ids[t])
                target = (batch.mean[b, end], batch.log_var[b, end])
                here = _kl(batch.mean[b, t], batch.log_var[b, t], *target)
                there = _kl(batch.mean[b, t + 1], batch.log_var[b, t + 1], *target)
                expected = max(there - here, 0.0)
            positive += expected > 0
            assert hinge[b, t].item() == pytest.approx(expected)
    assert positive > 0


@pytest.mark.parametrize("fill", [1e30, torch.inf, torch.nan])
def test_padding_reaches_neither_values_nor_gradients(batch: Batch, fill: float) -> None:
    def terms(mean: Tensor, log_var: Tensor, session: Tensor) -> tuple[Tensor, list[Tensor]]:
        mean, log_var = mean.clone().requires_grad_(), log_var.clone().requires_grad_()
        kl = elbo.session_chain_kl(mean, log_var, session, batch.valid)
        hinge = elbo.consistency_hinge(mean, log_var, session, batch.valid)
        values = torch.stack([kl, hinge])
        return values, list(torch.autograd.grad(values.sum(), [mean, log_var]))

    padding = ~batch.valid[..., None]
    before, gradients = terms(batch.mean, batch.log_var, batch.session)
    after, other = terms(
        batch.mean.masked_fill(padding, fill),
        batch.log_var.masked_fill(padding, fill),
        batch.session.masked_fill(~batch.valid, 99),
    )
    assert torch.equal(before, after)
    assert all(torch.equal(x, y) for x, y in zip(gradients, other, strict=True))


def test_changing_another_session_changes_no_conditioned_term(batch: Batch) -> None:
    # With a prior at its start, a session's terms depend on its own beliefs alone.
    zero = torch.zeros_like(batch.mean)
    inputs = (batch.log_var, batch.session, batch.valid)
    later = torch.where((batch.session == 0)[..., None], batch.mean + 3.0, batch.mean)
    others = batch.session > 0
    for function, extra in ((elbo.session_chain_kl, (zero, zero)), (elbo.consistency_hinge, ())):
        before, after = function(batch.mean, *inputs, *extra), function(later, *inputs, *extra)
        torch.testing.assert_close(before[others], after[others], rtol=0, atol=0)


def test_termination_bce_by_hand() -> None:
    # P = 3/4 at logit log 3: -log(3/4) for a switch, -log(1/4) for none; padding does not count.
    logits = torch.full((1, 3), math.log(3.0))
    labels, valid = torch.tensor([[1, 0, 1]]), torch.tensor([[True, True, False]])
    loss = elbo.termination_bce(logits, labels, valid)
    assert loss.item() == pytest.approx((-math.log(0.75) - math.log(0.25)) / 2)


def test_termination_bce_ignores_what_stands_in_the_padding() -> None:
    logits = torch.tensor([[0.3, torch.nan]], requires_grad=True)
    valid = torch.tensor([[True, False]])
    loss = elbo.termination_bce(logits, torch.tensor([[1, 7]]), valid)
    loss.backward()
    assert loss.item() == pytest.approx(math.log1p(math.exp(-0.3)))
    # d/dx -log s(x) = s(x) - 1.
    expected = 1 / (1 + math.exp(-0.3)) - 1
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == pytest.approx([expected, 0.0])


def test_masked_mean() -> None:
    x = torch.tensor([[1.0, 2.0], [6.0, torch.nan]])
    mask = torch.tensor([[True, False], [True, False]])
    assert elbo.masked_mean(x, mask).item() == 3.5
    assert elbo.masked_mean(x, torch.zeros_like(mask)).item() == 0.0


def test_auroc_by_hand_and_as_scikit_learn_has_it() -> None:
    from sklearn.metrics import roc_auc_score

    scores, labels = (
        torch.tensor([3.0, 1.0, 2.0, 1.0, 9.0]),
        torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0]),
    )
    valid = torch.tensor([True, True, True, True, False])
    # Of the pairs (3, 2), (3, 1), (1, 2), (1, 1) two are in order and one is a tie.
    assert elbo.auroc(scores, labels, valid).item() == pytest.approx(2.5 / 4)
    assert elbo.auroc(scores, torch.zeros(5), valid).item() == 0.5
    drawn = torch.randn(400, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    switched = torch.rand(400, generator=torch.Generator().manual_seed(1)) < 0.2
    ours = elbo.auroc(drawn, switched, torch.ones(400, dtype=torch.bool)).item()
    assert ours == pytest.approx(roc_auc_score(switched, drawn), abs=1e-6)


def test_misfits_are_refused_by_name() -> None:
    belief, ids, valid = torch.zeros(2, 5, 3), torch.zeros(2, 5).long(), torch.ones(2, 5).bool()
    with pytest.raises(ValueError, match=r"bernoulli_log_prob: targets has shape \(2, 5\)"):
        elbo.bernoulli_log_prob(belief, valid)
    with pytest.raises(ValueError, match=r"squared_error: target has shape \(3,\)"):
        elbo.squared_error(belief, belief[0, 0])
    with pytest.raises(ValueError, match=r"session_chain_kl: session has shape \(2, 4\)"):
        elbo.session_chain_kl(belief, belief, ids[:, :4], valid)
    with pytest.raises(ValueError, match=r"session_chain_kl: prior_mean has shape \(5, 3\)"):
        elbo.session_chain_kl(belief, belief, ids, valid, belief[0], belief[0])
    with pytest.raises(ValueError, match="give both prior_mean and prior_log_var, or neither"):
        elbo.session_chain_kl(belief, belief, ids, valid, belief)
    with pytest.raises(TypeError, match=r"consistency_hinge: valid has dtype torch\.int64"):
        elbo.consistency_hinge(belief, belief, ids, ids)
    with pytest.raises(ValueError, match=r"termination_bce: labels has shape \(5,\)"):
        elbo.termination_bce(ids.float(), ids[0], valid)
    with pytest.raises(ValueError, match=r"masked_mean: mask has shape \(5,\)"):
        elbo.masked_mean(ids.float(), valid[0])


def test_the_expected_chain_is_the_cut_chain_where_switches_are_certain() -> None:
    mean, log_var = _unit([1.0, 3.0, -1.0, 2.0])
    prior = torch.full((1, 4, 1), 5.0), torch.zeros(1, 4, 1)
    session = _ids([0, 0, 1, 1])
    switch = torch.tensor([[1.0, 0.0, 1.0, 0.0]])  # at the first step there is nothing to switch
    cut = elbo.session_chain_kl(mean, log_var, session, _all_valid(4), *prior)
    expected = elbo.expected_chain_kl(mean, log_var, switch, _all_valid(4), *prior)
    torch.testing.assert_close(expected, cut)
    half = elbo.expected_chain_kl(mean, log_var, switch / 2, _all_valid(4), *prior)
    assert half[0, 2].item() == pytest.approx(0.5 * (16 / 2) + 0.5 * (36 / 2))


def test_a_sampled_likelihood_is_the_mean_and_draws_the_prior_to_what_explains() -> None:
    evidence = torch.tensor([[math.log(0.5), math.log(0.1)]])
    density = torch.zeros(1, 2, requires_grad=True)
    told = elbo.sampled_log_likelihood(evidence, density)
    told.sum().backward()
    assert told.item() == pytest.approx(math.log(0.3))
    assert density.grad is not None
    assert density.grad.flatten().tolist() == pytest.approx([0.5 / 0.6, 0.1 / 0.6])
