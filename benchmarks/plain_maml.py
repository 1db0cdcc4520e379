"""MAML on 2-D navigation in plain PyTorch, and its race against the library's own iteration.

One script with the same work as `tuned_examples/maml/navigation2d.yaml`, without RLlib, Ray,
checkpoints, metrics, other spaces or faults: an env as arrays, stacked weights, TRPO with the exact
Gauss-Newton curvature through the inner step. Settings are fixed where the example's are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from racing import Contestant, compare, race
from torch import Tensor

from rllib_metarl.algorithms import ALGORITHMS

TASKS, ROLLOUTS, HORIZON, ALPHA, GAMMA, DELTA, STRIDE = 20, 20, 100, 0.5, 0.99, 0.01, 5
Weights = list[Tensor]
Data = dict[str, Tensor]


def net(p: Weights, x: Tensor) -> tuple[Tensor, Tensor]:
    """Means `[N, B, 2]` and log deviations `[N, 1, 2]` of stacked weights."""
    h = torch.relu(torch.baddbmm(p[1], x, p[0]))
    h = torch.relu(torch.baddbmm(p[3], h, p[2]))
    return torch.baddbmm(p[5], h, p[4]), p[6]


def log_prob(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """`[N, B]`, but for a constant."""
    return (-0.5 * ((action - mean) / log_std.exp()) ** 2 - log_std).sum(-1)


def stack(theta: Weights, tasks: int) -> Weights:
    """Copies to be differentiated."""
    return [q.detach().expand(tasks, *q.shape).contiguous().requires_grad_() for q in theta]


def inner_loss(p: Weights, d: Data) -> Tensor:
    """REINFORCE, `[N]`."""
    return -(log_prob(*net(p, d["seen"]), d["done"]) * d["advantage"] * d["weight"]).sum(1)


def adapt(p: Weights, d: Data, graph: bool = False) -> tuple[Weights, Any]:
    """An inner step, and its gradient."""
    g = torch.autograd.grad(inner_loss(p, d).sum(), p, create_graph=graph)
    return [q - ALPHA * slope for q, slope in zip(p, g, strict=True)], g


def kl(m0: Tensor, l0: Tensor, m1: Tensor, l1: Tensor) -> Tensor:
    """Of Gaussians, `[N, B]`."""
    return (l1 - l0 + (l0.exp() ** 2 + (m0 - m1) ** 2) / (2 * l1.exp() ** 2) - 0.5).sum(-1)


def flat(parts: Any) -> Tensor:
    """Weights as a vector."""
    return torch.cat([q.reshape(-1) for q in parts])


class PlainMAML:
    """`iterate()` samples, adapts, samples again and takes an outer step."""

    def __init__(self, tasks: int = TASKS, rollouts: int = ROLLOUTS, seed: int = 0) -> None:
        self.tasks, self.rollouts = tasks, rollouts
        torch.manual_seed(seed)
        self.rng, self.theta = np.random.default_rng(seed), []
        for i, o in ((2, 100), (100, 100), (100, 2)):
            self.theta += [torch.nn.init.xavier_uniform_(torch.empty(i, o)), torch.zeros(1, o)]
        self.theta.append(torch.zeros(1, 2))

    def iterate(self) -> dict[str, float]:
        """One iteration; returns before and after adapting, and the env steps."""
        goals = np.repeat(self.rng.uniform(-0.5, 0.5, (self.tasks, 2)), self.rollouts, 0)
        start = stack(self.theta, self.tasks)
        before, returned, steps = self.sample(start, goals)
        after, _ = adapt(start, before)
        data, adapted, more = self.sample([q.detach() for q in after], goals)
        self.outer_step(before, data)
        return {"before": returned, "after": adapted, "env_steps": steps + more}

    @torch.no_grad()
    def sample(self, p: Weights, goals: np.ndarray) -> tuple[Data, float, int]:
        """A meta-episode in every row; rows that have ended are masked."""
        at, alive = np.zeros((len(goals), 2), np.float32), np.ones(len(goals), bool)
        seen, done, rewards, masks = [], [], [], []
        for _ in range(HORIZON):
            mean, log_std = net(p, torch.from_numpy(at).view(self.tasks, self.rollouts, 2))
            action = (mean + log_std.exp() * torch.randn_like(mean)).view(-1, 2).numpy()
            seen.append(at), done.append(action), masks.append(alive.copy())
            at = (at + 0.1 * np.clip(action, -1, 1)).astype(np.float32)
            away = at - goals
            rewards.append(-np.sqrt((away * away).sum(-1)) * alive)
            alive &= ~(np.abs(away) < 0.01).all(-1)
        parts = [np.stack(part, 1) for part in (seen, done, rewards, masks)]
        reward, mask = parts[2], parts[3]
        weight = mask.reshape(self.tasks, -1).astype(np.float64)
        advantage = self.advantages(parts[0], reward, weight)
        arrays = (*parts[:2], advantage, weight / weight.sum(1, keepdims=True))
        names = ("seen", "done", "advantage", "weight")
        data = {
            name: torch.from_numpy(
                x.reshape(self.tasks, self.rollouts * HORIZON, *x.shape[2:])
            ).float()
            for name, x in zip(names, (*(a for a in arrays[:2]), *arrays[2:]), strict=True)
        }
        return data, float(reward.sum(1).mean()), int(mask.sum())

    def advantages(self, seen: np.ndarray, reward: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Returns to go less a linear baseline of each task, standardised, `[N, B]`."""
        to_go, rest = np.zeros_like(reward), np.zeros(len(reward))
        for t in reversed(range(HORIZON)):
            rest = reward[:, t] + GAMMA * rest
            to_go[:, t] = rest
        t = np.broadcast_to(np.arange(HORIZON)[None, :, None] / 100.0, (len(seen), HORIZON, 1))
        features = np.concatenate([seen, seen**2, t, t**2, t**3, np.ones_like(t)], -1)
        x = features.reshape(self.tasks, -1, features.shape[-1]).astype(np.float64)
        y, weighed = to_go.reshape(self.tasks, -1), x * weight[..., None]
        gram = np.einsum("nbf,nbg->nfg", weighed, x) + 1e-5 * np.eye(x.shape[-1])
        fit = np.linalg.solve(gram, np.einsum("nbf,nb->nf", weighed, y)[..., None])
        left, count = (y - (x @ fit)[..., 0]) * weight, weight.sum(1, keepdims=True)
        centred = (left - left.sum(1, keepdims=True) / count) * weight
        found: np.ndarray = centred / (np.sqrt((centred**2).sum(1, keepdims=True) / count) + 1e-8)
        return found

    def outer_step(self, before: Data, after: Data) -> None:
        """TRPO through the inner step."""
        start = stack(self.theta, self.tasks)
        adapted, _ = adapt(start, before, graph=True)
        mean, log_std = net(adapted, after["seen"])
        old = mean.detach(), log_std.detach()
        old_log_prob = log_prob(*old, after["done"])

        def surrogate(m: Tensor, s: Tensor) -> Tensor:
            ratio = torch.exp(log_prob(m, s, after["done"]) - old_log_prob)
            return -(ratio * after["advantage"] * after["weight"]).sum() / self.tasks

        loss = surrogate(mean, log_std)
        slope = flat(q.sum(0) for q in torch.autograd.grad(loss, start))
        product = self.curvature(before, after)
        x, rest = torch.zeros_like(slope), slope.clone()
        way, squared = rest.clone(), rest @ rest
        for _ in range(10):
            moved = product(way)
            length = squared / (way @ moved)
            x, rest = x + length * way, rest - length * moved
            newer = rest @ rest
            way, squared = rest + newer / squared * way, newer
        step = x * torch.sqrt(2 * DELTA / (x @ product(x)))
        here = flat(self.theta)
        for k in range(15):
            tried = self.like(here - 0.8**k * step)
            moved_to, _ = adapt(stack(tried, self.tasks), before)
            with torch.no_grad():
                m, s = net(moved_to, after["seen"])
                apart = (kl(*old, m, s) * after["weight"]).sum() / self.tasks
                if surrogate(m, s) < loss and apart <= DELTA:
                    self.theta = tried
                    return

    def curvature(self, before: Data, after: Data) -> Callable[[Tensor], Tensor]:
        """Products with Jᵀ F J, from every `STRIDE`-th step."""
        some = [{name: x[:, ::STRIDE] for name, x in d.items()} for d in (before, after)]
        start = stack(self.theta, self.tasks)
        end = [q.detach().requires_grad_() for q in adapt(start, before)[0]]
        slope = adapt(start, some[0], graph=True)[1]
        mean, log_std = net(end, some[1]["seen"])
        weight = some[1]["weight"] / some[1]["weight"].sum(1, keepdim=True)
        leaves = [torch.zeros_like(x, requires_grad=True) for x in (mean, log_std)]
        pulled = torch.autograd.grad([mean, log_std], end, leaves, create_graph=True)

        def through(v: Any) -> list[Tensor]:
            h = torch.autograd.grad(slope, start, v, retain_graph=True)
            return [a - ALPHA * b for a, b in zip(v, h, strict=True)]

        def product(v: Tensor) -> Tensor:
            copies = [q.expand(self.tasks, *q.shape).contiguous() for q in self.like(v)]
            dm, dl = torch.autograd.grad(pulled, leaves, through(copies), retain_graph=True)
            gm = dm / (log_std.detach().exp() ** 2) * weight[..., None] / self.tasks
            back = torch.autograd.grad(
                [mean, log_std], end, [gm, 2 * dl / self.tasks], retain_graph=True
            )
            return flat(q.sum(0) for q in through(back)) + 1e-5 * v

        return product

    def like(self, vector: Tensor) -> Weights:
        """A vector as weights."""
        parts = vector.split([q.numel() for q in self.theta])
        return [part.view(q.shape) for part, q in zip(parts, self.theta, strict=True)]


def maml_training(size: Any) -> dict[str, Any]:
    """A row: `Algorithm.train()` and the plain script's iteration."""
    config = ALGORITHMS["MAML"].config()().environment("Navigation2D-v0")
    tasks, rollouts = (2, 2) if size.smoke else (TASKS, ROLLOUTS)
    config.training(meta_batch_size=tasks, rollouts_per_task=rollouts, inner_lr=ALPHA)
    config.training(evaluate_every_steps=0).debugging(seed=0)
    algorithm, plain = config.build_algo(), PlainMAML(tasks, rollouts)

    def our_work() -> int:
        before = algorithm.env_steps()
        algorithm.train()
        return int(algorithm.env_steps() - before)

    def plain_work() -> int:
        return int(plain.iterate()["env_steps"])

    contestants = {"ours": Contestant(our_work), "plain script": Contestant(plain_work)}
    timed = race(contestants, size.rounds)
    algorithm.stop()
    work = (
        f"full MAML iteration on 2-D navigation, {TASKS} tasks x {ROLLOUTS} meta-episodes, twice: "
        "Algorithm.train() / one plain PyTorch script"
    )
    return compare(work, 0.9, timed, "plain script")


def main(argv: list[str] | None = None) -> None:
    """Trains and tells returns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    plain = PlainMAML(arguments.tasks, seed=arguments.seed)
    for iteration in range(arguments.iterations):
        print(iteration, plain.iterate(), flush=True)


if __name__ == "__main__":
    main()
