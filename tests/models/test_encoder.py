from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rllib_metarl.models.encoder import Belief, BeliefEncoder
from rllib_metarl.models.step import Inputs, State

B, T, WIDTH, A, L = 5, 12, 4, 3, 2


def _encoder(prior_conditioning: bool) -> BeliefEncoder:
    """Random weights everywhere, so that conditioning matters and some switches are predicted."""
    torch.manual_seed(1)
    encoder = BeliefEncoder(
        WIDTH, A, L, hidden_size=8, embedding=(8,), prior_conditioning=prior_conditioning
    ).double()
    with torch.no_grad():
        encoder.conditioning.weight.normal_()
        encoder.termination.weight.mul_(20.0)
        logits = encoder(Inputs(*_inputs(), _start(encoder)))[0].termination_logit
        encoder.termination.bias.sub_(logits.median() + 1.0)
    return encoder


def _inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    shapes = [(B, T, WIDTH), (B, T, A), (B, T)]
    return tuple(torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)  # type: ignore[return-value]


def _start(encoder: BeliefEncoder) -> State:
    return {k: v.double().expand(B, -1).contiguous() for k, v in encoder.initial_state().items()}


def _step_by_step(encoder: BeliefEncoder) -> tuple[Belief, State]:
    state, beliefs = _start(encoder), []
    for t in range(T):
        belief, state = encoder(Inputs(*(x[:, t : t + 1] for x in _inputs()), state))
        beliefs.append(belief)
    return Belief(*(torch.cat(parts, dim=1) for parts in zip(*beliefs, strict=True))), state


@pytest.mark.parametrize("prior_conditioning", [False, True])
def test_stepping_with_carried_state_equals_the_whole_sequence(prior_conditioning: bool) -> None:
    encoder = _encoder(prior_conditioning)
    whole, state_whole = encoder(Inputs(*_inputs(), _start(encoder)))
    stepped, state_stepped = _step_by_step(encoder)
    for name, one, other in zip(Belief._fields, whole, stepped, strict=True):
        torch.testing.assert_close(one, other, msg=name)
    for key, value in state_whole.items():
        torch.testing.assert_close(value, state_stepped[key], msg=key)


def test_the_belief_held_is_the_one_before_the_last_predicted_switch() -> None:
    encoder = _encoder(True)
    belief, _ = encoder(Inputs(*_inputs(), _start(encoder)))
    ended = belief.termination_logit > 0
    assert 0 < ended.float().mean() < 1
    encoder.prior_conditioning = False  # nothing is held: what the GRU alone says
    raw_mean, raw_log_var, _ = encoder(Inputs(*_inputs(), _start(encoder)))[0]
    raw = torch.cat([raw_mean, raw_log_var], dim=-1)
    for b in range(B):
        held = torch.zeros(2 * L, dtype=torch.float64)
        for t in range(T):
            if ended[b, t]:
                held = raw[b, t - 1] if t else torch.zeros_like(held)
            expected = raw[b, t] + encoder.conditioning(held)
            torch.testing.assert_close(belief.mean[b, t], expected[:L])


def test_without_conditioning_the_layer_for_it_is_not_trained() -> None:
    encoder = BeliefEncoder(WIDTH, A, L)
    assert not encoder.conditioning.weight.requires_grad
    assert BeliefEncoder(WIDTH, A, L, prior_conditioning=True).conditioning.weight.requires_grad


def test_log_variance_stays_in_its_range() -> None:
    encoder = _encoder(False)
    with torch.no_grad():
        encoder.posterior.bias.fill_(100.0)
    belief, _ = encoder(Inputs(*_inputs(), _start(encoder)))
    assert belief.log_var.max() == 4.0 and belief.mean.min() > 50.0


def test_a_later_observation_changes_no_earlier_belief() -> None:
    encoder = _encoder(True)
    observation, action, reward = _inputs()
    before, _ = encoder(Inputs(observation, action, reward, _start(encoder)))
    observation = observation.clone()
    observation[:, 7:] += 1.0
    after, _ = encoder(Inputs(observation, action, reward, _start(encoder)))
    assert torch.equal(before.mean[:, :7], after.mean[:, :7])
    assert not torch.equal(before.mean[:, 7:], after.mean[:, 7:])


@pytest.mark.parametrize("prior_conditioning", [False, True])
def test_the_acting_step_gives_the_sequence_s_beliefs_and_state(prior_conditioning: bool) -> None:
    encoder = _encoder(prior_conditioning)
    observation, action, reward = _inputs()
    whole, last = encoder(Inputs(observation, action, reward, _start(encoder)))
    state = _start(encoder)
    for t in range(T):
        belief, state = encoder.step(Inputs(observation, action, reward).at(t, state))
        torch.testing.assert_close(belief.mean, whole.mean[:, t])
        torch.testing.assert_close(belief.log_var, whole.log_var[:, t])
    torch.testing.assert_close(state, last)
