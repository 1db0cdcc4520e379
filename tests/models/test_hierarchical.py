"""Networks of the two-level belief."""

from __future__ import annotations

import torch

from rllib_metarl.models.encoder import BeliefEncoder
from rllib_metarl.models.hierarchical import HierarchicalEncoder, HierarchicalPrior, SwitchHead
from rllib_metarl.models.step import Inputs


def _inputs(batch: int = 3, steps: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((batch, steps, 6), (batch, steps, 5), (batch, steps))
    return tuple(torch.randn(size, generator=generator) for size in sizes)  # type: ignore[return-value]


def _encoder(**settings: object) -> HierarchicalEncoder:
    torch.manual_seed(1)
    encoder = HierarchicalEncoder(
        6, 5, 2, 3, hidden_size=8, embedding=(8,), prior_conditioning=True, **settings
    )
    with torch.no_grad():
        encoder.conditioning.weight.normal_()  # it starts at zero, where it would not be seen
    return encoder


def _state(encoder: BeliefEncoder, batch: int) -> dict[str, torch.Tensor]:
    return {key: value.expand(batch, -1) for key, value in encoder.initial_state().items()}


def test_step_by_step_it_says_what_it_says_of_the_whole() -> None:
    encoder, inputs = _encoder(), _inputs()
    whole, end = encoder(Inputs(*inputs, _state(encoder, 3)))
    assert [tuple(x.shape) for x in whole] == [(3, 7, 2), (3, 7, 2), (3, 7), (3, 7, 3), (3, 7, 3)]
    state, steps = _state(encoder, 3), []
    for t in range(7):
        now, state = encoder.step(Inputs(*inputs).at(t, state))
        steps.append(now)
    for name in whole._fields:
        told = torch.stack([getattr(now, name) for now in steps], 1)
        torch.testing.assert_close(told, getattr(whole, name), msg=name)
    for key, value in end.items():
        torch.testing.assert_close(state[key], value, msg=key)


def test_mid_is_the_plain_encoders_belief_and_top_is_causal() -> None:
    encoder, inputs = _encoder(), _inputs()
    plain = BeliefEncoder(6, 5, 2, hidden_size=8, embedding=(8,), prior_conditioning=True)
    plain.load_state_dict(encoder.state_dict(), strict=False)
    ours, theirs = (e(Inputs(*inputs, _state(e, 3)))[0] for e in (encoder, plain))
    for name in theirs._fields:
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    changed = inputs[0].clone()
    changed[:, 4] += 1.0
    later = encoder(Inputs(changed, *inputs[1:], _state(encoder, 3)))[0]
    same = (later.top_mean == ours.top_mean).all(-1)
    assert same[:, :4].all() and not same[:, 4:].any()


def test_the_variance_of_top_is_kept_in_range() -> None:
    encoder, inputs = _encoder(log_var_range=(-1.0, 1.0)), _inputs()
    with torch.no_grad():
        encoder.top.weight.mul_(1e3)
    log_var = encoder(Inputs(*inputs, _state(encoder, 3)))[0].top_log_var
    assert log_var.min() == -1.0 and log_var.max() == 1.0


def test_the_prior_sends_its_gradient_to_top_and_not_to_the_belief_before() -> None:
    prior = HierarchicalPrior(2, 3)
    top, mean, log_var = (torch.randn(4, 5, n, requires_grad=True) for n in (3, 2, 2))
    prior_mean, prior_log_var = prior(top, mean, log_var)
    assert prior_mean.shape == prior_log_var.shape == (4, 5, 2)
    (prior_mean.sum() + prior_log_var.sum()).backward()
    assert top.grad is not None and (top.grad != 0).any(-1).all()
    assert mean.grad is None and log_var.grad is None


def test_a_switch_rate_for_each_sample_of_top() -> None:
    head = SwitchHead(3)
    top = torch.randn(4, 5, 3)
    assert head(top).shape == (4, 5)
    torch.testing.assert_close(head(top[1:2, 3:4]), head(top)[1:2, 3:4])
