"""Optimisers that step as torch's do, bit for bit, and leave its compiler alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rllib_metarl.learning.optimisers import FusedAdam, RMSprop

KINDS: dict[str, tuple[Any, Any]] = {
    "adam": (
        lambda parameters: FusedAdam(parameters, eps=1e-5),
        lambda parameters: torch.optim.Adam(parameters, eps=1e-5, fused=True),
    ),
    "rmsprop": (RMSprop, torch.optim.RMSprop),
}


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(s, generator=generator)) for s in ((4, 3), (3,), (2,))]


def step(optimiser: torch.optim.Optimizer, seed: int, without: int | None) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimiser.zero_grad()
    for i, p in enumerate(optimiser.param_groups[0]["params"]):
        p.grad = None if i == without else torch.randn(p.shape, generator=generator)
    optimiser.step()


@pytest.mark.parametrize("kind", KINDS)
def test_steps_and_state_are_torch_s(kind: str) -> None:
    """Also where a parameter gets its first gradient late, and after a restoration."""
    ours, torchs = (make(parameters()) for make in KINDS[kind])
    for seed in range(6):
        for optimiser in (ours, torchs):
            optimiser.param_groups[0]["lr"] = 1e-2 / (1 + seed)
            step(optimiser, seed, without=1 if seed < 2 else None)
        if seed == 3:
            restored = KINDS[kind][0](ours.param_groups[0]["params"])
            restored.load_state_dict(ours.state_dict())
            ours = restored
    told, expected = ours.state_dict(), torchs.state_dict()
    assert told["param_groups"] == expected["param_groups"]
    for key, state in expected["state"].items():
        for part, value in state.items():
            torch.testing.assert_close(told["state"][key][part], value, rtol=0, atol=0)
    both = (o.param_groups[0]["params"] for o in (ours, torchs))
    assert all(torch.equal(a, b) for a, b in zip(*both, strict=True))


def test_no_training_imports_the_compiler() -> None:
    """Neither by an optimiser nor by RLlib's seeding; and algorithms are deterministic."""
    script = """
import sys, torch
from tests.golden.runs import ONE_STEP, play
play("DynaMITE", {})
play("LSTMA2C", ONE_STEP)
assert torch.are_deterministic_algorithms_enabled()
assert not {"torch._dynamo", "torch._inductor", "sympy"} & sys.modules.keys()
"""
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, cwd=root)
