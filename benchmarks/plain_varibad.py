"""VariBAD in one plain PyTorch script, as one would write it by hand for this environment alone.

The yardstick of `throughput.py`: the losses, networks, normalisers, optimisers and schedule of
`tuned_examples/varibad/static-gridworld.yaml`, without RLlib, Ray, checkpoints, padding, sessions
or any choice between algorithms.

    python benchmarks/plain_varibad.py --steps 500000

`examples/dynamite_from_scratch.py` does not take its place. It is written to be read and is another
algorithm on another GridWorld: sessions, prior conditioning and consistency, and samples of pairs
where VariBAD decodes every transition of a trial. A race needs the same work on both sides.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rllib_metarl.envs import Stream, make_vector


@dataclass(frozen=True)
class Settings:
    """The keys of the experiment file that this script has, under the names they have there."""

    num_envs_per_env_runner: int = 16
    rollout_fragment_length: int = 60
    minibatch_size: int = 240
    num_epochs: int = 2
    lr: float = 0.0007
    gamma: float = 0.95
    lambda_: float = 0.95
    clip_param: float = 0.05
    entropy_coeff: float = 0.01
    vf_loss_coeff: float = 0.5
    grad_clip: float = 0.5
    latent_size: int = 5
    encoder_hidden: int = 64
    kl_weight: float = 0.25
    vae_lr: float = 0.001
    vae_updates: int = 3
    vae_batch_size: int = 25
    vae_buffer_size: int = 100_000
    vae_warmup_steps: int = 5000


class Normaliser(nn.Module):
    """Standardises by running statistics, which move between updates."""

    def __init__(self, size: int, slowest: float, gain: float) -> None:
        super().__init__()
        self.slowest, self.gain, self.batches = slowest, gain, 0
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) * (self.gain / self.std)).clamp(-5.0, 5.0)

    @torch.no_grad()
    def follow(self, x: Tensor) -> None:
        self.batches += 1
        rate = max(1.0 / self.batches, self.slowest)
        variance, mean = torch.var_mean(x, 0, correction=0)
        difference = mean - self.mean
        if self.batches > 1:
            variance = (1 - rate) * self.std.square() + rate * variance
            variance += rate * (1 - rate) * difference.square()
        self.mean += rate * difference
        self.std.copy_(variance.sqrt().clamp_min(0.05))


class Encoder(nn.Module):
    """q(m | o_0, a_0, r_0, ..., o_t): a step for acting, the whole trial for learning."""

    def __init__(self, inputs: int, s: Settings) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(inputs, 16), nn.ReLU())
        self.gru = nn.GRU(16, s.encoder_hidden, batch_first=True)
        self.posterior = nn.Linear(s.encoder_hidden, 2 * s.latent_size)

    def step(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        gru = self.gru
        weights = (gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0)
        hidden = torch.gru_cell(self.embedding(x), hidden, *weights)
        return self.read(hidden), hidden

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.gru(self.embedding(x))[0])

    def read(self, features: Tensor) -> Tensor:
        mean, log_var = self.posterior(features).chunk(2, -1)
        return torch.cat([mean, log_var.clamp(-8.0, 4.0)], -1)


class Head(nn.Module):
    """A hidden layer of 32 on (observation, belief); policy and value have one each."""

    def __init__(self, inputs: int, outputs: int, gain: float) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(inputs, 32), nn.Linear(32, outputs)
        for layer, layer_gain in ((self.hidden, 2**0.5), (self.output, gain)):
            nn.init.orthogonal_(layer.weight, layer_gain)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(torch.tanh(self.hidden(x)))


class Decoder(nn.Module):
    """Logit of a positive reward for every (belief t, transition j) of a trial."""

    def __init__(self, latent: int, features: int) -> None:
        super().__init__()
        self.latent = nn.Linear(latent, 32)
        self.transition = nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, 32))
        self.pair = nn.Sequential(nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, latent: Tensor, features: Tensor) -> Tensor:
        """`[B, T, L]` and `[B, T, F]` give `[B, T, T]`."""
        pairs = self.latent(latent).unsqueeze(2) + self.transition(features).unsqueeze(1)
        return self.pair(pairs).squeeze(-1)


class Buffer:
    """The newest trials, preallocated."""

    def __init__(self, capacity: int, steps: int, width: int) -> None:
        self.observation = torch.zeros(capacity, steps + 1, width)
        self.action = torch.zeros(capacity, steps, dtype=torch.int64)
        self.reward = torch.zeros(capacity, steps)
        self.capacity, self.size, self.next = capacity, 0, 0

    def add(self, observation: Tensor, action: Tensor, reward: Tensor) -> None:
        slots = (torch.arange(len(action)) + self.next) % self.capacity
        self.observation[slots], self.action[slots] = observation, action
        self.reward[slots] = reward
        self.next = (self.next + len(action)) % self.capacity
        self.size = min(self.size + len(action), self.capacity)

    def sample(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.randint(self.size, (count,))
        return self.observation[rows], self.action[rows], self.reward[rows]


class PlainVariBAD:
    """Everything: sampling, PPO on stored beliefs, ELBO steps. `iterate` is one iteration."""

    def __init__(self, settings: Settings | None = None, seed: int = 0) -> None:
        torch.manual_seed(seed)
        s = self.settings = settings or Settings()
        self.envs = s.num_envs_per_env_runner
        self.env = make_vector("VariBAD/GridWorld-v0", self.envs, None, Stream(seed))
        self.width = self.env.single_observation_space.shape[0]
        self.actions = int(self.env.single_action_space.n)
        self.encoder = Encoder(self.width + self.actions + 1, s)
        inputs = self.width + 2 * s.latent_size
        self.policy, self.value = Head(inputs, self.actions, 0.01), Head(inputs, 1, 1.0)
        self.decoder = Decoder(s.latent_size, self.width + self.actions)
        self.scale_observation = Normaliser(self.width, slowest=0.02, gain=1.5)
        self.scale_belief = Normaliser(2 * s.latent_size, slowest=0.1, gain=1.0)
        self.value_mean, self.value_std = torch.zeros(()), torch.ones(())
        self.values_seen = False
        self.buffer = Buffer(s.vae_buffer_size, s.rollout_fragment_length, self.width)
        self.optimisers = self._optimisers()
        self.observation: Any = None
        self.steps = 0

    def _optimisers(self) -> dict[str, tuple[torch.optim.Adam, list[nn.Parameter], float]]:
        s = self.settings
        vae = [*self.encoder.parameters(), *self.decoder.parameters()]
        plan = {
            "policy": (list(self.policy.parameters()), s.lr, 1e-5, s.grad_clip),
            "value": (list(self.value.parameters()), s.lr, 1e-5, s.grad_clip),
            "vae": (vae, s.vae_lr, 1e-8, 2.0),
        }
        return {
            name: (torch.optim.Adam(params, lr=lr, eps=eps, fused=True), params, clip)
            for name, (params, lr, eps, clip) in plan.items()
        }

    def iterate(self) -> dict[str, float]:
        """Samples 16 trials, then PPO's and the ELBO's updates; returns means to log."""
        s, logs = self.settings, []
        data = self.sample()
        if self.steps >= s.vae_warmup_steps:
            self.learn_policy(data, logs)
        self.buffer.add(data["observation"], data["action"], data["reward"])
        for _ in range(s.vae_updates):
            logs.append(self.vae_update())
        self.scale_observation.follow(data["observation"][:, :-1].flatten(0, 1))
        self.scale_belief.follow(data["belief"][:, :-1].flatten(0, 1))
        keys = {key for log in logs for key in log}
        means = {k: torch.stack([g[k] for g in logs if k in g]).mean().item() for k in keys}
        return means | {"return_mean": data["reward"].sum(1).mean().item()}

    # --- sampling -------------------------------------------------------------------------------

    @torch.inference_mode()
    def sample(self) -> dict[str, Tensor]:
        """One trial in every env: `[B, T, ...]` tensors; all trials end in the same step."""
        s, count, steps = self.settings, self.envs, self.settings.rollout_fragment_length
        observations = np.empty((steps + 1, count, self.width), np.float32)
        rewards, actions = np.empty((steps, count), np.float32), []
        beliefs, logits = [], []
        hidden = torch.zeros(count, s.encoder_hidden)
        action, reward = torch.zeros(count, self.actions), torch.zeros(count, 1)
        if self.observation is None:
            self.observation = self.env.reset()[0]
        for t in range(steps + 1):
            observations[t] = self.observation
            observation = self.scale_observation(torch.from_numpy(self.observation))
            belief, hidden = self.encoder.step(torch.cat([observation, action, reward], -1), hidden)
            beliefs.append(belief)
            if t == steps:
                break
            logit = self.policy(torch.cat([observation, self.scale_belief(belief)], -1))
            chosen = (logit - torch.empty_like(logit).exponential_().log()).argmax(-1)
            logits.append(logit)
            actions.append(chosen)
            self.observation, rewards[t], _, _, info = self.env.step(chosen.numpy())
            if t == steps - 1:
                begun, self.observation = self.observation, info["final_obs"]
            action = F.one_hot(chosen, self.actions).float()
            reward = torch.from_numpy(rewards[t]).unsqueeze(-1)
        self.observation = begun
        self.steps += count * steps
        action = torch.stack(actions, 1)
        log_probs = torch.stack(logits, 1).log_softmax(-1)
        return {
            "observation": torch.from_numpy(observations).transpose(0, 1).clone(),
            "action": action,
            "reward": torch.from_numpy(rewards).t().clone(),
            "belief": torch.stack(beliefs, 1),
            "log_prob": log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1),
        }

    # --- PPO ------------------------------------------------------------------------------------

    @torch.no_grad()
    def advantages(self, data: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs of policy and value `[N, D]`, standardised advantages and value targets `[N]`."""
        s = self.settings
        scaled = self.scale_observation(data["observation"])
        inputs = torch.cat([scaled, self.scale_belief(data["belief"])], -1)
        value = (self.value(inputs).squeeze(-1) * self.value_std + self.value_mean).numpy()
        reward = data["reward"].numpy()
        delta = reward + s.gamma * value[:, 1:] - value[:, :-1]  # a trial is cut, never terminal
        advantage, total = np.empty_like(delta), np.zeros(len(delta), np.float32)
        for t in reversed(range(delta.shape[1])):
            total = delta[:, t] + s.gamma * s.lambda_ * total
            advantage[:, t] = total
        target = torch.from_numpy(advantage + value[:, :-1]).flatten()
        flat = torch.from_numpy(advantage).flatten()
        self.follow_values(target)
        standardised = (flat - flat.mean()) / (flat.std(correction=0) + 1e-8)
        target = (target - self.value_mean) / self.value_std
        return inputs[:, :-1].flatten(0, 1), standardised, target

    def follow_values(self, target: Tensor) -> None:
        """PopArt: the value learns in standardised units, and its predictions stay."""
        rate = 0.1 if self.values_seen else 1.0
        self.values_seen = True
        mean = self.value_mean + rate * (target.mean() - self.value_mean)
        std = (self.value_std + rate * (target.std() - self.value_std)).clamp_min(1e-3)
        output = self.value.output
        output.bias.mul_(self.value_std).add_(self.value_mean - mean).div_(std)
        output.weight.mul_(self.value_std / std)
        self.value_mean, self.value_std = mean, std

    def learn_policy(self, data: dict[str, Tensor], logs: list[dict[str, Tensor]]) -> None:
        """2 x 4 minibatches of 240 steps."""
        s = self.settings
        inputs, advantage, target = self.advantages(data)
        action, old = data["action"].flatten(), data["log_prob"].flatten()
        count = len(action)
        for _ in range(s.num_epochs):
            for rows in torch.randperm(count).split(s.minibatch_size):
                batch = [x[rows] for x in (inputs, action, old, advantage, target)]
                logs.append(self.ppo_update(*batch))

    def ppo_update(
        self, inputs: Tensor, action: Tensor, old: Tensor, advantage: Tensor, target: Tensor
    ) -> dict[str, Tensor]:
        s = self.settings
        log_probs = self.policy(inputs).log_softmax(-1)
        log_prob = log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        ratio = (log_prob - old).exp()
        clipped = ratio.clamp(1 - s.clip_param, 1 + s.clip_param)
        policy_loss = -torch.minimum(ratio * advantage, clipped * advantage).mean()
        value_loss = F.mse_loss(self.value(inputs).squeeze(-1), target)
        entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
        loss = policy_loss + s.vf_loss_coeff * value_loss - s.entropy_coeff * entropy
        self.optimise(loss, "policy", "value")
        with torch.no_grad():
            outside = ((ratio - 1).abs() > s.clip_param).float().mean()
            kl = (ratio - 1 - ratio.log()).mean()
        logs = {"policy_loss": policy_loss, "vf_loss": value_loss, "entropy": entropy}
        logs = {key: value.detach() for key, value in logs.items()}
        return logs | {"clip_fraction": outside, "mean_kl_loss": kl}

    def optimise(self, loss: Tensor, *names: str) -> None:
        """A step of each named optimiser with its own gradient-norm clip."""
        for name in names:
            self.optimisers[name][0].zero_grad(set_to_none=True)
        loss.backward()
        for name in names:
            optimiser, parameters, clip = self.optimisers[name]
            nn.utils.clip_grad_norm_(parameters, clip)
            optimiser.step()

    # --- ELBO -----------------------------------------------------------------------------------

    def vae_update(self) -> dict[str, Tensor]:
        """25 trials; each of the 60 beliefs decodes all 60 rewards of its trial."""
        s = self.settings
        observation, action, reward = self.buffer.sample(s.vae_batch_size)
        observation = self.scale_observation(observation[:, :-1])
        action = F.one_hot(action, self.actions).float()
        previous = F.pad(torch.cat([action, reward.unsqueeze(-1)], -1)[:, :-1], (0, 0, 1, 0))
        belief = self.encoder(torch.cat([observation, previous], -1))
        mean, log_var = belief.chunk(2, -1)
        latent = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        logits = self.decoder(latent, torch.cat([observation, action], -1))
        positive = (reward > 0).float().unsqueeze(1).expand_as(logits)
        reward_loss = F.binary_cross_entropy_with_logits(logits, positive) * reward.shape[1]
        before_mean, before_log_var = F.pad(belief, (0, 0, 1, 0))[:, :-1].chunk(2, -1)
        log_ratio = log_var - before_log_var
        distance = (mean - before_mean).square() * torch.exp(-before_log_var)
        kl = 0.5 * (torch.expm1(log_ratio) - log_ratio + distance).sum(-1).mean()
        self.optimise(reward_loss + s.kl_weight * kl, "vae")
        return {"vae_reward_loss": reward_loss.detach(), "vae_kl": kl.detach()}


def main(argv: list[str] | None = None) -> None:
    """Trains and prints the return of the newest trials."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    trainer, returns, start = PlainVariBAD(seed=arguments.seed), [], time.perf_counter()
    while trainer.steps < arguments.steps:
        returns.append(trainer.iterate()["return_mean"])
        if len(returns) % 50 == 0 or trainer.steps >= arguments.steps:
            rate = trainer.steps / (time.perf_counter() - start)
            recent = np.mean(returns[-50:])
            print(f"{trainer.steps:>9,} env steps {rate:>8,.0f} /s  return {recent:6.2f}")


if __name__ == "__main__":
    main()
