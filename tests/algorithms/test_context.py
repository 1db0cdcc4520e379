"""ContextPPO: a policy that is told nothing, everything, or what it infers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rllib_metarl.errors import UserError
from tests.algorithms.small import small_config, small_runner

TOLD = {
    "a context that is not": ({"context": "oracle"}, "context is 'oracle'.*explicit"),
    "no context to modulate by": ({"belief_conditioning": "film"}, "nothing to condition on"),
    "an encoder that is not there": ({"policy_gradient_to_encoder": True}, "has no encoder"),
}


@pytest.mark.parametrize(("settings", "message"), TOLD.values(), ids=TOLD.keys())
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small_config("ContextPPO", **settings).validate()


def _logits(context: str, label: float) -> torch.Tensor:
    module = small_runner(small_config("ContextPPO", context=context)).module
    for parameter in module.policy.output.parameters():
        torch.nn.init.ones_(parameter)  # the first layers' features, unlike at the start, count
    told = torch.full((2, 1), label) if module.needs_privileged else None
    state = module.initial_state(2)
    step = module.step(torch.ones(2, 6), torch.zeros(2, 5), torch.zeros(2), state, told)
    return step.logits


def test_only_the_explicit_policy_is_told_the_context() -> None:
    module = small_runner(small_config("ContextPPO", context="none")).module
    assert module.needs_privileged is None and module.belief_size == 0
    assert torch.equal(_logits("none", 0.0), _logits("none", 1.0))
    assert not torch.equal(_logits("explicit", 0.0), _logits("explicit", 1.0))


def test_a_context_of_another_width_is_told() -> None:
    runner = small_runner(small_config("ContextPPO", context="explicit", context_size=2))
    with pytest.raises(UserError, match=r"context_size 2 and got width 1.*info\['context'\]"):
        runner.sample(num_timesteps=8)
