"""PEARL's update in plain PyTorch, and its race against the library's own.

One script with the same nets, tasks and transitions as `tuned_examples/pearl/point-robot.yaml`,
without RLlib, checkpoints, metrics, other spaces or faults. An update is: draw tasks, context and
transitions from the replay; critics and encoder; value network; policy; target network.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from racing import Contestant, compare, race
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor, nn

from rllib_metarl.algorithms import ALGORITHMS

EXAMPLE = Path(__file__).resolve().parents[1] / "tuned_examples" / "pearl" / "point-robot.yaml"
SETTINGS: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())["pearl-point-robot"]["config"]
LATENT, SEEN, ACTION, STORED = 5, 3, 2, 500
GAMMA, ALPHA, KL = (SETTINGS[key] for key in ("gamma", "temperature", "kl_weight"))
NAMES = ("enc", "q1", "q2", "pi", "vf")


def net(inputs: int, outputs: int) -> nn.Sequential:
    """As wide as the example's."""
    layers: list[nn.Module] = []
    for width in SETTINGS["critic_hidden"]:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class PlainPEARL:
    """`update()` makes one; the replay holds random transitions of each task."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        widths = {"o": SEEN, "a": ACTION, "r": 1, "n": SEEN}
        shape = (SETTINGS["train_tasks"], STORED)
        self.replay = {
            key: self.rng.normal(size=(*shape, width)).astype(np.float32)
            for key, width in widths.items()
        }
        self.enc = net(SEEN + ACTION + 1, 2 * LATENT)
        self.q1, self.q2 = net(SEEN + ACTION + LATENT, 1), net(SEEN + ACTION + LATENT, 1)
        self.pi, self.vf = net(SEEN + LATENT, 2 * ACTION), net(SEEN + LATENT, 1)
        self.vt = net(SEEN + LATENT, 1)
        self.adam = {
            name: torch.optim.Adam(getattr(self, name).parameters(), SETTINGS["lr"], fused=True)
            for name in NAMES
        }

    def pick(self, tasks: np.ndarray, count: int) -> dict[str, Tensor]:
        """Transitions `[tasks, count, width]`."""
        index = self.rng.integers(STORED, size=(len(tasks), count))
        return {k: torch.from_numpy(v[tasks[:, None], index]) for k, v in self.replay.items()}

    def act(self, o: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Actions, their log-probabilities, means and log deviations."""
        mean, log_std = self.pi(torch.cat([o, z], -1)).chunk(2, -1)
        log_std = log_std.clamp(-20, 2)
        u = mean + log_std.exp() * torch.randn_like(mean)
        a = torch.tanh(u)
        log_prob = -0.5 * ((u - mean) / log_std.exp()) ** 2 - log_std - 0.9189385
        return a, (log_prob - torch.log(1 - a * a + 1e-6)).sum(-1, keepdim=True), mean, log_std

    def step(self, loss: Tensor, *names: str) -> None:
        """Of some nets on a loss."""
        for name in names:
            self.adam[name].zero_grad()
        loss.backward()
        for name in names:
            self.adam[name].step()

    def update(self) -> float:
        """One; the critics' loss."""
        tasks = self.rng.choice(SETTINGS["train_tasks"], SETTINGS["meta_batch_size"], False)
        count = SETTINGS["task_batch_size"]
        c, batch = self.pick(tasks, SETTINGS["context_size"]), self.pick(tasks, count)
        m, v = self.enc(torch.cat([c["o"], c["a"], c["r"]], -1)).chunk(2, -1)
        v = nn.functional.softplus(v).clamp(min=1e-7)
        var = 1 / (1 / v).sum(1)
        mean = var * (m / v).sum(1)
        z = mean + var.sqrt() * torch.randn_like(mean)
        kl = 0.5 * (var + mean * mean - 1 - var.log()).sum()
        z = z.repeat_interleave(count, 0)
        fixed = z.detach()
        o, a, r, n = (batch[key].flatten(0, 1) for key in "oarn")
        with torch.no_grad():
            y = r + GAMMA * self.vt(torch.cat([n, fixed], -1))
        x = torch.cat([o, a, z], -1)
        q_loss = ((self.q1(x) - y) ** 2).mean() + ((self.q2(x) - y) ** 2).mean()
        self.step(q_loss + KL * kl, "enc", "q1", "q2")
        a, log_prob, mean, log_std = self.act(o, fixed)
        x = torch.cat([o, a, fixed], -1)
        for critic in (self.q1, self.q2):
            critic.requires_grad_(False)
        q = torch.min(self.q1(x), self.q2(x))
        for critic in (self.q1, self.q2):
            critic.requires_grad_(True)
        target = (q - ALPHA * log_prob).detach()
        self.step(((self.vf(torch.cat([o, fixed], -1)) - target) ** 2).mean(), "vf")
        penalty = ALPHA * 1e-3 * ((mean**2).mean() + (log_std**2).mean())
        self.step((ALPHA * log_prob - q).mean() + penalty, "pi")
        with torch.no_grad():
            for own, following in zip(self.vf.parameters(), self.vt.parameters(), strict=True):
                following.lerp_(own, 0.005)
        return q_loss.item()


def our_learner() -> Any:
    """The library's learner on the example, its replay filled with random transitions."""
    other = ("env_config", "held_out_env_config", "num_env_runners", "num_envs_per_env_runner")
    config = ALGORITHMS["PEARL"].config()()
    config.environment("PointRobot-v0", env_config=SETTINGS["env_config"])
    config.env_runners(num_envs_per_env_runner=1)
    own = {k: v for k, v in SETTINGS.items() if k not in (*other, "seed")}
    config.training(**own).debugging(seed=0)
    runner = config.env_runner_cls(config=config, worker_index=0, num_workers=0)
    spaces = (runner.env.single_observation_space, runner.env.single_action_space)
    learner = config.build_learner(env=None, spaces={DEFAULT_MODULE_ID: spaces})
    learner.build()
    rng = np.random.default_rng(0)
    widths = {"observation": SEEN, "action": ACTION, "reward": 1, "after": SEEN, "ended": 1}
    for task in range(config.train_tasks):
        rows = {key: rng.normal(size=(STORED, width)) for key, width in widths.items()}
        learner.replay.add(task, rows | {"ended": np.zeros((STORED, 1))}, np.ones(STORED, bool))
    return learner


def pearl_updates(size: Any) -> dict[str, Any]:
    """A row: an update of the library's learner and the plain script's, per transition."""
    learner, plain = our_learner(), PlainPEARL()
    updates = 2 if size.smoke else 100
    work = updates * SETTINGS["meta_batch_size"] * SETTINGS["task_batch_size"]

    def timed(update: Any) -> Contestant:
        def all_of_them() -> int:
            for _ in range(updates):
                update()
            return int(work)

        return Contestant(all_of_them)

    contestants = {"ours": timed(learner.update_once), "plain script": timed(plain.update)}
    told = race(contestants, size.rounds)
    what = (
        f"{updates} PEARL updates of 16 tasks x 64 transitions from the replay, nets of 3 x 64: "
        "the library's learner / one plain PyTorch script"
    )
    return compare(what, 0.85, told, "plain script")


def main(argv: list[str] | None = None) -> None:
    """Updates, and tells the critics' loss."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    plain = PlainPEARL(arguments.seed)
    for number in range(arguments.updates):
        print(number, plain.update(), flush=True)


if __name__ == "__main__":
    main()
