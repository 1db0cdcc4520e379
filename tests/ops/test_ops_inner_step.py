"""The inner step: baselines by hand, gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rllib_metarl.ops.inner_step import (
    InnerPath,
    TaskSteps,
    Weights,
    finite_tasks,
    gradient,
    importance,
    inner_step,
    linear_baseline,
    reinforce,
    stacked,
    task_advantages,
)

TASKS, STEPS, RATE = 3, 40, 0.7
DOUBLE = {"dtype": torch.float64}


def log_prob(weights: Weights, steps: TaskSteps) -> Tensor:
    """A Gaussian policy: mean tanh(o w) v, and a deviation of its own."""
    hidden = torch.tanh(steps.observation @ weights["w"])
    mean, log_std = (hidden @ weights["v"]).squeeze(-1), weights["log_std"]
    return -0.5 * ((steps.action - mean) / log_std.exp()) ** 2 - log_std


def weights_of(seed: int = 0) -> Weights:
    g = torch.Generator().manual_seed(seed)
    sizes = {"w": (2, 4), "v": (4, 1), "log_std": (1,)}
    return {k: 0.5 * torch.randn(*size, generator=g, **DOUBLE) for k, size in sizes.items()}


def steps_of(seed: int, weights: Weights) -> TaskSteps:
    g = torch.Generator().manual_seed(seed)
    observation = torch.randn(TASKS, STEPS, 2, generator=g, **DOUBLE)
    action, advantage = torch.randn(2, TASKS, STEPS, generator=g, **DOUBLE)
    weight = torch.rand(TASKS, STEPS, generator=g, **DOUBLE)
    weight[:, -7:] = 0.0
    steps = TaskSteps(observation, action, action, advantage, weight / weight.sum(1, True))
    old = log_prob(stacked(weights, TASKS), steps).detach()
    return TaskSteps(observation, action, old, advantage, steps.weight)


def outer_loss(weights: Weights, phases: list[TaskSteps], inner: Callable, first: bool) -> Tensor:
    """Two inner steps of every task, and the surrogate after them."""
    now = stacked(weights, TASKS)
    for steps in phases[:-1]:
        found = gradient(inner(log_prob(now, steps), steps), now, create_graph=not first)
        now = inner_step(now, found, RATE)
    return importance(log_prob(now, phases[-1]), phases[-1]).sum()


@pytest.fixture
def problem() -> tuple[Weights, list[TaskSteps]]:
    weights = weights_of()
    return weights, [steps_of(seed, weights) for seed in (1, 2, 3)]


@pytest.mark.parametrize("inner", [reinforce, importance])
def test_the_meta_gradient_is_that_of_finite_differences(problem, inner) -> None:
    weights, phases = problem
    leaf = {k: v.clone().requires_grad_() for k, v in weights.items()}
    outer_loss(leaf, phases, inner, first=False).backward()
    for name, value in weights.items():
        for i in range(value.numel()):
            moved = []
            for sign in (1.0, -1.0):
                other = {k: v.clone().requires_grad_() for k, v in weights.items()}
                other[name].data.view(-1)[i] += sign * 1e-5
                moved.append(float(outer_loss(other, phases, inner, first=False)))
            slope = (moved[0] - moved[1]) / 2e-5
            assert float(leaf[name].grad.view(-1)[i]) == pytest.approx(slope, abs=1e-6, rel=1e-4)


def test_second_order_differs_from_first_where_a_step_is_taken_and_only_there(problem) -> None:
    weights, phases = problem

    def found(first: bool, some: list[TaskSteps]) -> Tensor:
        leaf = {k: v.clone().requires_grad_() for k, v in weights.items()}
        outer_loss(leaf, some, reinforce, first).backward()
        return torch.cat([v.grad.flatten() for v in leaf.values()])

    one, other = found(True, phases), found(False, phases)
    assert (one - other).norm() > 0.05 * other.norm()
    assert torch.equal(found(True, phases[-1:]), found(False, phases[-1:]))


def test_both_inner_losses_have_one_gradient_and_another_curvature(problem) -> None:
    weights, phases = problem
    now = {k: v.clone().requires_grad_() for k, v in stacked(weights, TASKS).items()}
    slopes = [
        gradient(loss(log_prob(now, phases[0]), phases[0]), now, create_graph=True)
        for loss in (reinforce, importance)
    ]
    ones = {k: torch.ones_like(v) for k, v in now.items()}
    moved = []
    for slope in slopes:
        path = InnerPath(RATE)
        path.add(now, slope)
        moved.append(path.forward(ones)["w"])
    assert torch.allclose(slopes[0]["w"], slopes[1]["w"], atol=1e-12)
    assert (moved[0] - moved[1]).abs().max() > 1e-2


def test_the_paths_products_are_those_of_the_jacobian(problem) -> None:
    weights, phases = problem
    path = InnerPath(RATE)
    now = {k: v.clone().requires_grad_() for k, v in stacked(weights, TASKS).items()}
    first = now
    for steps in phases[:2]:
        slope = gradient(reinforce(log_prob(now, steps), steps), now, create_graph=True)
        path.add(now, slope)
        now = {k: v.detach().requires_grad_() for k, v in inner_step(now, slope, RATE).items()}
    g = torch.Generator().manual_seed(9)
    v, u = ({k: torch.randn(x.shape, generator=g, **DOUBLE) for k, x in now.items()} for _ in "vu")

    def end(share: float) -> Weights:
        at = {k: (x.detach() + share * v[k]).requires_grad_() for k, x in first.items()}
        for steps in phases[:2]:
            at = inner_step(at, gradient(reinforce(log_prob(at, steps), steps), at), RATE)
            at = {k: x.detach().requires_grad_() for k, x in at.items()}
        return at

    ahead, behind, forward, back = end(1e-5), end(-1e-5), path.forward(v), path.backward(u)
    for name in now:
        assert torch.allclose(forward[name], (ahead[name] - behind[name]) / 2e-5, atol=1e-6)
    one, other = (sum((a[k] * b[k]).sum() for k in a) for a, b in ((u, forward), (back, v)))
    assert float(one) == pytest.approx(float(other))  # u · J v = Jᵀ u · v


def test_a_baseline_of_the_features_leaves_nothing_over_and_is_each_tasks_own() -> None:
    g = torch.Generator().manual_seed(0)
    observation = torch.randn(2, 5, 30, 3, generator=g)
    t = torch.arange(30.0) / 100.0
    target = observation[..., 0] ** 2 - 2.0 * observation[..., 1] + 5.0 * t**3 + 1.0
    target[1] *= -3.0
    valid = torch.ones(2, 5, 30, dtype=torch.bool)
    assert torch.allclose(linear_baseline(observation, target, valid), target, atol=1e-3)
    valid[:, :, 20:] = False
    target[:, :, 20:] = 1e6  # padding counts for nothing
    value = linear_baseline(observation, target, valid)
    assert torch.allclose(value[:, :, :20], target[:, :, :20], atol=1e-3)
    assert not value[:, :, 20:].any()


def test_a_wide_observation_is_left_out_of_the_baseline() -> None:
    observation = torch.randn(1, 2, 4, 300)
    target = torch.tensor([[[1.0, 2.0, 3.0, 4.0], [3.0, 2.0, 1.0, 0.0]]])
    value = linear_baseline(observation, target, torch.ones(1, 2, 4, dtype=torch.bool))
    assert torch.allclose(value, torch.full((1, 2, 4), 2.0), atol=1e-3)  # equal at each time


def test_advantages_are_standardised_within_each_task() -> None:
    g = torch.Generator().manual_seed(0)
    reward = torch.randn(3, 4, 6, generator=g) * torch.tensor([1.0, 50.0, 0.0])[:, None, None]
    valid = torch.arange(6).expand(3, 4, 6) < torch.tensor([6, 4, 1, 6])[None, :, None]
    observation = torch.randn(3, 4, 6, 2, generator=g)
    found = task_advantages(observation, reward * valid, valid, 0.9, 0.7)
    for task in range(2):
        own = found[task][valid[task]]
        assert float(own.mean()) == pytest.approx(0.0, abs=1e-5)
        assert float(own.square().mean()) == pytest.approx(1.0, rel=1e-4)
    assert not found[~valid].any() and found[2].abs().max() < 1e-3  # nothing was ever paid


def test_a_task_that_ends_at_once_teaches_nothing_and_breaks_nothing() -> None:
    valid = torch.zeros(1, 3, 2, dtype=torch.bool)
    valid[:, :, 0] = True
    found = task_advantages(torch.zeros(1, 3, 2, 2), -valid.float(), valid, 0.99, 1.0)
    assert torch.isfinite(found).all() and found.abs().max() < 1e-2


def test_tasks_with_numbers_that_are_none_are_found() -> None:
    one = {"a": torch.tensor([[1.0, 2.0], [float("nan"), 0.0], [0.0, 0.0]])}
    other = {"b": torch.tensor([[0.0], [0.0], [float("inf")]])}
    assert finite_tasks(one, other).tolist() == [True, False, False]


def test_fewer_steps_weigh_as_much_as_all() -> None:
    steps = steps_of(1, weights_of()).every(5)
    assert steps.observation.shape == (TASKS, STEPS // 5, 2)
    assert torch.allclose(steps.weight.sum(1), torch.ones(TASKS, **DOUBLE))


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="linear_baseline: target has shape"):
        linear_baseline(torch.zeros(1, 2, 3, 1), torch.zeros(1, 2), torch.ones(1, 2, 3).bool())
    with pytest.raises(ValueError, match="reinforce: advantage has shape"):
        reinforce(torch.zeros(TASKS, 2), steps_of(1, weights_of()))
