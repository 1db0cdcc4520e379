from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rllib_metarl.models.encoder import Belief, BeliefEncoder
from rllib_metarl.models.recurrent import CELLS
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


def _check_acting(encoder: BeliefEncoder) -> Belief:
    """Step by step the beliefs and states are those of the whole sequence, which it returns."""
    observation, action, reward = _inputs()
    whole, last = encoder(Inputs(observation, action, reward, _start(encoder)))
    state = _start(encoder)
    for t in range(T):
        belief, state = encoder.step(Inputs(observation, action, reward).at(t, state))
        torch.testing.assert_close(belief.mean, whole.mean[:, t])
        torch.testing.assert_close(belief.log_var, whole.log_var[:, t])
    torch.testing.assert_close(state, last)
    return whole


@pytest.mark.parametrize("prior_conditioning", [False, True])
def test_the_acting_step_gives_the_sequence_s_beliefs_and_state(prior_conditioning: bool) -> None:
    encoder = _encoder(prior_conditioning)
    _check_acting(encoder)


# --- the expected belief of the session before, and a memory that is cut -------------------------


def _mixing(**settings: Any) -> BeliefEncoder:
    torch.manual_seed(1)
    encoder = BeliefEncoder(
        WIDTH, A, L, hidden_size=8, embedding=(8,), held_belief="mixture", **settings
    ).double()
    with torch.no_grad():
        for parameter in encoder.conditioning.parameters():
            parameter.normal_()
        encoder.termination[-1].weight.mul_(60.0)
        logits = encoder(Inputs(*_inputs(), _start(encoder)))[0].termination_logit
        encoder.termination[-1].bias.sub_(logits.median())
    return encoder


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_mixture_or_cut_acts_as_it_was_trained(cut: bool, conditioned: bool, cell: str) -> None:
    encoder = _mixing(prior_conditioning=conditioned, cut_memory=cut, cell=cell)
    whole = _check_acting(encoder)
    first, carried = encoder(Inputs(*(x[:, :5] for x in _inputs()), _start(encoder)))
    second, _ = encoder(Inputs(*(x[:, 5:] for x in _inputs()), carried))
    torch.testing.assert_close(torch.cat([first.mean, second.mean], 1), whole.mean)


def test_a_mixture_holds_each_belief_by_the_probability_of_its_switch() -> None:
    encoder = _mixing(prior_conditioning=True)
    belief, state = encoder(Inputs(*_inputs(), _start(encoder)))
    told = torch.sigmoid(belief.termination_logit)
    assert told.std() > 0.1
    encoder.prior_conditioning = False
    raw = torch.cat(
        encoder(Inputs(*_inputs(), _start(encoder)))[0][:2], -1
    )  # what the GRU alone says
    held = torch.zeros(B, 2 * L, dtype=torch.float64)
    for t in range(T):
        before = raw[:, t - 1] if t else torch.zeros_like(held)
        held = told[:, t, None] * before + (1 - told[:, t, None]) * held
    torch.testing.assert_close(state["held_belief"], held)


@pytest.mark.parametrize("cell", CELLS)
def test_a_cut_memory_knows_nothing_from_before_the_switch(cell: str) -> None:
    encoder = _mixing(prior_conditioning=False, cut_memory=True, cell=cell)
    observation, action, reward = _inputs()
    belief, _ = encoder(Inputs(observation, action, reward, _start(encoder)))
    ended = (belief.termination_logit > 0)[0].nonzero().flatten()
    at = int(ended[ended > 1][0])
    row = [x[:1] for x in (observation, action, reward)]
    afresh, _ = encoder(
        Inputs(*(x[:, at:] for x in row), {k: v[:1] for k, v in _start(encoder).items()})
    )
    torch.testing.assert_close(afresh.mean[:, 0], belief.mean[:1, at])
    encoder.cut_memory = False
    uncut, _ = encoder(Inputs(observation, action, reward, _start(encoder)))
    assert not torch.allclose(uncut.mean[0, at], belief.mean[0, at])
