"""Keeping torch's compiler out of processes that compile nothing: its import takes 1.7 s of CPU."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def no_compiler() -> Iterator[None]:
    """While RLlib seeds: deterministic algorithms are switched on without importing the compiler.

    `torch.use_deterministic_algorithms` imports `torch._inductor` to tell it too. Where that is
    there already, or torch is not the torch we know, nothing is changed.
    """
    import torch

    original = torch.use_deterministic_algorithms

    def switch(mode: bool, *, warn_only: bool = False) -> None:
        if "torch._inductor" in sys.modules:
            original(mode, warn_only=warn_only)
        else:
            level = ("warn" if warn_only else "error") if mode else "default"
            torch.set_deterministic_debug_mode(level)

    torch.use_deterministic_algorithms = switch
    try:
        yield
    finally:
        torch.use_deterministic_algorithms = original
