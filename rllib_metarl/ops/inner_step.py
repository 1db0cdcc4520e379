"""Adaptation by gradient, for N tasks at once (Finn et al. 2017, arXiv:1703.03400).

Weights are dicts name -> `[N, ...]`, row i for task i. A loss `[N]` whose entry i depends on row i
alone has, summed over tasks, the gradient of each task in its row: one backward pass adapts all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rllib_metarl.ops.returns import gae
from rllib_metarl.ops.shapes import check_bool, check_shapes

Weights = dict[str, Tensor]

WIDEST = 256
"""Observations with more numbers than this are left out of the baseline's features."""
_FARTHEST = 10.0
_RIDGE = 1e-6


@dataclass(frozen=True)
class TaskSteps:
    """B steps of each of N tasks, all of one phase: what a surrogate is computed on.

    Attributes:
        observation: `[N, B, O]`. action: `[N, B]` or `[N, B, P]`, flat (see `ActionCodec`).
        log_prob: `[N, B]` of the actions under the policy that took them.
        advantage: `[N, B]`.
        weight: `[N, B]`, 0 on padding; sums to 1 over the steps of a task.
        mask: `[N, B, choices]` bool, which actions there were; None where all always are.
        target: `[N, B]`, returns of the next steps, where a loss predicts them; else None.
    """

    observation: Tensor
    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    weight: Tensor
    mask: Tensor | None = None
    target: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> TaskSteps:
        """Apply a function to every tensor."""
        parts = {name: function(x) for name, x in vars(self).items() if x is not None}
        return TaskSteps(**parts)

    def of(self, tasks: Tensor) -> TaskSteps:
        """Only some tasks, by a mask `[N]` or indices."""
        return self.map(lambda x: x[tasks])

    def every(self, stride: int) -> TaskSteps:
        """Each `stride`-th step alone, weights summing to 1 again."""
        if stride == 1:
            return self
        fewer = self.map(lambda x: x[:, ::stride])
        total = fewer.weight.sum(1, keepdim=True).clamp_min(1e-12)
        return replace(fewer, weight=fewer.weight / total)


# --- advantages -----------------------------------------------------------------------------------


def linear_baseline(observation: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Least-squares predictions of `target`, fitted for each task alone.

    Features: o, o², t, t², t³ and 1, with o clipped to ±10 and t in hundreds of steps (Duan et al.
    2016, arXiv:1604.06778, supplement); without o where it is wider than `WIDEST`.

    Args:
        observation: `[N, R, T, O]` of R trajectories of each of N tasks.
        target: `[N, R, T]`, to be predicted.
        valid: `[N, R, T]` bool, which steps there are.

    Returns:
        `[N, R, T]`, 0 outside `valid`.

    Raises:
        ValueError: where shapes differ. TypeError: where `valid` is not boolean.
    """
    sizes = check_shapes(
        {
            "observation": (observation, "N R T O"),
            "target": (target, "N R T"),
            "valid": (valid, "N R T"),
        },
        where="linear_baseline",
    )
    check_bool({"valid": valid}, where="linear_baseline")
    t = torch.arange(sizes["T"], dtype=torch.float64, device=target.device) / 100.0
    time = torch.stack([t, t**2, t**3, torch.ones_like(t)], -1).expand(*target.shape, 4)
    near = observation.double().clamp(-_FARTHEST, _FARTHEST)
    parts = [near, near**2, time] if sizes["O"] <= WIDEST else [time]
    features = torch.cat(parts, -1) * valid[..., None]
    x = features.reshape(sizes["N"], -1, features.shape[-1])
    x = x / x.square().mean(1, keepdim=True).sqrt().clamp_min(1e-8)
    y = (target.double() * valid).reshape(sizes["N"], -1, 1)
    gram = x.mT @ x / x.shape[1]
    gram = gram + _RIDGE * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    coefficients = torch.linalg.solve(gram, x.mT @ y / x.shape[1])
    return (x @ coefficients).reshape(target.shape).to(target.dtype)


def task_advantages(
    observation: Tensor, reward: Tensor, valid: Tensor, gamma: float, lambda_: float
) -> Tensor:
    """Generalised advantages over each task's own linear baseline, standardised for each task.

    The end of a trajectory is worth 0, whether it terminated or was cut, as in the paper's code.

    Args:
        observation: `[N, R, T, O]`; reward, valid: `[N, R, T]`, valid on a prefix of each row.
        gamma, lambda_: discount and trace decay in [0, 1].

    Returns:
        `[N, R, T]`: mean 0 and variance 1 over the valid steps of a task, 0 elsewhere.

    Raises:
        ValueError: where shapes differ. TypeError: where `valid` is not boolean.
    """
    rows, never = reward.flatten(0, 1), torch.zeros_like(valid.flatten(0, 1))
    known, nothing = valid.flatten(0, 1), torch.zeros_like(rows)
    end = nothing[:, 0]
    to_go, _ = gae(rows, nothing, end, never, gamma, 1.0, known)
    value = linear_baseline(observation, to_go.view_as(reward), valid)
    advantage, _ = gae(rows, value.flatten(0, 1), end, never, gamma, lambda_, known)
    advantage = advantage.view_as(reward)
    count = valid.sum((1, 2), keepdim=True).clamp_min(1)
    centred = (advantage - advantage.sum((1, 2), keepdim=True) / count).masked_fill(~valid, 0.0)
    spread = (centred.square().sum((1, 2), keepdim=True) / count).sqrt()
    return centred / (spread + 1e-8)


def n_step_returns(reward: Tensor, valid: Tensor, gamma: float, steps: int) -> Tensor:
    """sum_k gamma^k r_{t+k} over the next `steps` rewards, or those up to the end.

    Args:
        reward, valid: `[..., T]`. gamma: the discount. steps: 1 or more.

    Returns:
        `[..., T]`, 0 outside `valid`.
    """
    rewards = reward.masked_fill(~valid, 0.0)
    total, horizon = torch.zeros_like(rewards), rewards.shape[-1]
    for k in range(min(steps, horizon)):
        total = total + gamma**k * torch.nn.functional.pad(rewards[..., k:], (0, k))
    return total.masked_fill(~valid, 0.0)


# --- losses `[N]` ---------------------------------------------------------------------------------


def reinforce(log_prob: Tensor, steps: TaskSteps) -> Tensor:
    """MAML's inner loss, `[N]`: -mean[log pi(a) A] (Finn et al. 2017, eq. 4).

    Args:
        log_prob: `[N, B]` of the actions under the weights that are differentiated.
    """
    _check(log_prob, steps, "reinforce")
    return -(log_prob * steps.advantage * steps.weight).sum(1)


def importance(log_prob: Tensor, steps: TaskSteps) -> Tensor:
    """-mean[pi(a) / pi_old(a) A], `[N]`: the outer surrogate, and ProMP's inner loss.

    Where pi is pi_old its gradient is that of `reinforce`; its curvature also has what the sampling
    contributes (Rothfuss et al. 2019, arXiv:1810.06784, section 5).
    """
    _check(log_prob, steps, "importance")
    return -(torch.exp(log_prob - steps.log_prob) * steps.advantage * steps.weight).sum(1)


INNER_LOSSES: Mapping[str, Callable[[Tensor, TaskSteps], Tensor]] = {
    "reinforce": reinforce,
    "importance": importance,
}


def _check(log_prob: Tensor, steps: TaskSteps, where: str) -> None:
    parts = {"log_prob": (log_prob, "N B"), "advantage": (steps.advantage, "N B")}
    check_shapes(parts | {"weight": (steps.weight, "N B")}, where=where)


# --- the step -------------------------------------------------------------------------------------


def stacked(weights: Mapping[str, Tensor], tasks: int) -> Weights:
    """`tasks` copies of weights, `[N, ...]` each; their gradients add up in the original's."""
    return {k: v.expand(tasks, *v.shape) for k, v in weights.items()}


def gradient(loss: Tensor, weights: Weights, *, create_graph: bool = False) -> Weights:
    """The gradient of each task's loss `[N]` in its own weights `[N, ...]`; 0 where unused."""
    values = list(weights.values())
    found = torch.autograd.grad(
        loss.sum(), values, create_graph=create_graph, materialize_grads=True
    )
    return dict(zip(weights, found, strict=True))


def inner_step(
    weights: Weights, gradients: Weights, rate: float, scales: Weights | None = None
) -> Weights:
    """theta' = theta - alpha grad (Finn et al. 2017, eq. 1), for each task.

    Args:
        rate: alpha. scales: what it is multiplied by for each entry, by name; None: 1.
    """
    if scales is not None:
        gradients = {name: scales[name] * value for name, value in gradients.items()}
    return {name: value - rate * gradients[name] for name, value in weights.items()}


def finite_tasks(*weights: Weights) -> Tensor:
    """Which tasks have nothing but finite numbers in all of these, `[N]` bool."""
    sound = [torch.isfinite(value).flatten(1).all(1) for one in weights for value in one.values()]
    return torch.stack(sound).all(0)


class InnerPath:
    """The way theta_0 -> theta_1 -> ... of all tasks, and products with its Jacobian.

    theta_{j+1} = theta_j - alpha g_j(theta_j), so that d theta_k / d theta_0 is the product of the
    I - alpha H_j, each symmetric: one Hessian-vector product a step, forwards or backwards.

    Args:
        rate: alpha.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._steps: list[tuple[Weights, Weights]] = []

    def add(self, weights: Weights, gradients: Weights) -> None:
        """Add a step: leaves of the graph, and the gradients in them (with `create_graph`)."""
        self._steps.append((weights, gradients))

    def forward(self, direction: Weights) -> Weights:
        """J v: where theta_k moves, `[N, ...]`, as theta_0 moves in a direction `[N, ...]`."""
        for weights, gradients in self._steps:
            direction = self._through(weights, gradients, direction)
        return direction

    def backward(self, gradients_after: Weights) -> Weights:
        """Jᵀ u: the gradient in theta_0 of what has the gradient u in theta_k."""
        for weights, gradients in reversed(self._steps):
            gradients_after = self._through(weights, gradients, gradients_after)
        return gradients_after

    def _through(self, weights: Weights, gradients: Weights, v: Weights) -> Weights:
        curved = [name for name, value in gradients.items() if value.requires_grad]
        product = torch.autograd.grad(
            [gradients[name] for name in curved],
            list(weights.values()),
            [v[name] for name in curved],
            retain_graph=True,
            materialize_grads=True,
        )
        return {
            name: value - self.rate * h for (name, value), h in zip(v.items(), product, strict=True)
        }
