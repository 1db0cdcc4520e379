"""Torch's optimisers without its compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


def _undecorated(method: Callable[..., Any]) -> Callable[..., Any]:
    """What a method is beneath torch's wrapper, whose first call imports the compiler."""
    plain: Callable[..., Any] = getattr(method, "__wrapped__", method)
    return plain


class _Plain(torch.optim.Optimizer):
    """An optimiser that leaves torch's compiler alone.

    Torch's own import `torch._dynamo` when they are made, which takes as long as all the rest of
    torch: 1.7 s of CPU time before the first update.
    """

    add_param_group = _undecorated(torch.optim.Optimizer.add_param_group)
    load_state_dict = _undecorated(torch.optim.Optimizer.load_state_dict)
    state_dict = _undecorated(torch.optim.Optimizer.state_dict)
    zero_grad = _undecorated(torch.optim.Optimizer.zero_grad)


class RMSprop(_Plain, torch.optim.RMSprop):
    """`torch.optim.RMSprop`, bit for bit."""

    step = torch.no_grad()(_undecorated(torch.optim.RMSprop.step))


class FusedAdam(_Plain, torch.optim.Adam):
    """`torch.optim.Adam(fused=True)` on one device, bit for bit, also in what it stores.

    Torch's sorts its tensors by device and type at each step.

    Args:
        parameters: dense tensors of real numbers, all on one device.
        eps: see `torch.optim.Adam`; so is all that is not named here.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], *, eps: float) -> None:
        super().__init__(parameters, eps=eps, fused=True)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step with the gradients that are there; `closure` is not called."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not all(self.state[p] for p in parameters):
                self._init_group(group, *([] for _ in range(6)))
            states = [self.state[p] for p in parameters]
            steps = [state["step"] for state in states]
            if not parameters:
                continue
            torch._foreach_add_(steps, 1)
            torch._fused_adam_(
                parameters,
                [p.grad for p in parameters],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=group["amsgrad"],
                maximize=group["maximize"],
            )
