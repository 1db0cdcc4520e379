"""DynaMITE-RL in one file of plain PyTorch and numpy: `python examples/dynamite_from_scratch.py`.

A context m (which of two goals pays) stays for a session and then changes without notice. An
encoder turns what was seen into a belief N(mean_t, var_t) over m; PPO acts on observation and
belief. The belief is learnt by VariBAD's ELBO (Zintgraf 2020) with three changes (Liang 2024):

    1. session masking     belief t explains the rewards of its own session only
    2. prior conditioning  a session's first belief is near a learnt prior p(m^i | m^{i-1})
    3. consistency         within a session the belief must not move away from where it ends

Shapes: B meta-episodes of T steps; belief t precedes transition t. The labels `session` and
`switched` (transition t is a session's first) are for losses only. A test holds the losses equal to
the library's, which has any environment, workers, checkpoints and settings around them.
"""

from __future__ import annotations

import argparse

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F

from rllib_metarl.envs import Stream, make_vector

ENVS, T, ACTIONS, OBSERVATION, LATENT, HIDDEN = 128, 60, 5, 6, 5, 64
GAMMA, LAMBDA, CLIP, VALUE_COEFF, VALUE_UNIT = 0.95, 0.95, 0.2, 0.5, 5.0
KL, CONSISTENCY, TERMINATION, PAIRS = 0.05, 0.1, 0.1, 6000
BLIND, BAYES = 29.20, 46.15  # exact values of this GridWorld: best blind policy, Bayes optimum


def mlp(*sizes: int, last: bool = True) -> nn.Sequential:
    """Linear layers with ReLU behind each, the last one included or not."""
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    layers = [layer for a, b in pairs for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[: len(layers) - (not last)])


class Normaliser(nn.Module):
    """Standardises by running statistics, which move between updates only."""

    def __init__(self, size: int, slowest: float, gain: float = 1.0) -> None:
        super().__init__()
        self.slowest, self.gain, self.batches = slowest, gain, 0
        self.mean, self.std = torch.zeros(size), torch.ones(size)

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) * (self.std.reciprocal() * self.gain)).clamp(-5.0, 5.0)

    @torch.no_grad()
    def follow(self, x: Tensor) -> None:
        self.batches += 1
        rate = max(1 / self.batches, self.slowest)
        variance, mean = torch.var_mean(x, 0, correction=0)
        step = mean - self.mean
        variance = (1 - rate) * self.std**2 + rate * variance + rate * (1 - rate) * step**2
        self.mean, self.std = self.mean + rate * step, variance.sqrt().clamp_min(0.05)


class Encoder(nn.Module):
    """q(m | o_0 .. o_t): a GRU over (o_t, a_{t-1}, r_{t-1}), and behind it the belief that the last
    session ended with, as the termination head sees the sessions."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = mlp(OBSERVATION + ACTIONS + 1, 64, 64)
        self.gru = nn.GRU(64, HIDDEN, batch_first=True)
        self.posterior, self.termination = nn.Linear(HIDDEN, 2 * LATENT), nn.Linear(HIDDEN, 1)
        self.conditioning = nn.Linear(2 * LATENT, 2 * LATENT, bias=False)
        nn.init.zeros_(self.conditioning.weight)

    def step(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """`[N, inputs]` -> belief `[N, 2 LATENT]`; state: hidden, held belief, last belief."""
        hidden, held, last = state
        hidden = self.gru(self.embedding(x).unsqueeze(1), hidden.unsqueeze(0))[1][0]
        raw = self.posterior(hidden)
        held = torch.where(self.termination(hidden) > 0, last, held)
        return self.bounded(raw + self.conditioning(held)), [hidden, held, raw]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, T + 1, inputs]` -> beliefs `[B, T + 1, 2 LATENT]` and termination logits."""
        features = self.gru(self.embedding(x))[0]
        raw, logit = self.posterior(features), self.termination(features).squeeze(-1)
        before = F.pad(raw.detach(), (0, 0, 1, 0))  # [t]: what was believed before step t
        newest = torch.where(logit > 0, torch.arange(x.shape[1]), 0).cummax(1).values
        held = before.gather(1, newest[..., None].expand_as(raw))  # before[0] is 0: no switch yet
        return self.bounded(raw + self.conditioning(held)), logit

    @staticmethod
    def bounded(belief: Tensor) -> Tensor:
        mean, log_var = belief.chunk(2, -1)
        return torch.cat([mean, log_var.clamp(-8.0, 4.0)], -1)


class Head(nn.Module):
    """Policy or value: the belief scales and shifts (FiLM) the observation's first features."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.first, self.rest = mlp(OBSERVATION, 128), mlp(128, 128)
        self.modulation = nn.Sequential(mlp(2 * LATENT, 32), nn.Linear(32, 256))
        self.output = nn.Linear(128, outputs)

    def forward(self, observation: Tensor, belief: Tensor) -> Tensor:
        scale, shift = self.modulation(belief).chunk(2, -1)
        return self.output(self.rest(self.first(observation) * (1 + scale) + shift))


class RewardDecoder(nn.Module):
    """Logit of p(r_j > 0 | m, a_j, o_{j+1}) for pairs (belief t, transition j)."""

    def __init__(self) -> None:
        super().__init__()
        self.latent = nn.Linear(LATENT, 64)
        self.transition = mlp(OBSERVATION + ACTIONS, 64, 64, last=False)
        self.rest = mlp(64, 64, 1, last=False)

    def forward(self, latent: Tensor, transition: Tensor, pairs: tuple[Tensor, ...]) -> Tensor:
        b, t, j = pairs
        first = self.latent(latent)[b, t] + self.transition(transition)[b, j]
        return self.rest(F.relu(first)).squeeze(-1)


def kl_divergence(q: Tensor, p: Tensor) -> Tensor:
    """KL(q || p) of diagonal Gaussians `[..., 2L]` (mean, log-variance), in nats `[...]`."""
    (q_mean, q_log_var), (p_mean, p_log_var) = q.chunk(2, -1), p.chunk(2, -1)
    log_ratio, distance = q_log_var - p_log_var, (q_mean - p_mean) ** 2 * torch.exp(-p_log_var)
    return 0.5 * (torch.expm1(log_ratio) - log_ratio + distance).sum(-1)


class Agent(nn.Module):
    """All networks, and the two losses they are trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.reward_decoder = Encoder(), RewardDecoder()
        self.session_prior = mlp(2 * LATENT, 32, 2 * LATENT, last=False)
        self.policy, self.value = Head(ACTIONS), Head(1)
        self.scale_observation = Normaliser(OBSERVATION, 0.02, gain=1.5)
        self.scale_belief = Normaliser(2 * LATENT, 0.1)

    def heads(self, observation: Tensor, belief: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[..., A]` and values `[...]`."""
        seen = self.scale_observation(observation), self.scale_belief(belief)
        return self.policy(*seen), VALUE_UNIT * self.value(*seen).squeeze(-1)

    def elbo_loss(self, data: dict[str, Tensor], noise: Tensor) -> dict[str, Tensor]:
        """Terms of the negative ELBO per belief; `noise [B, T, L]` draws the latents."""
        observation = self.scale_observation(data["observation"])
        action = F.one_hot(data["action"], ACTIONS).float()
        seen = F.pad(torch.cat([action, data["reward"][..., None]], -1), (0, 0, 1, 0))
        posterior, termination = self.encoder(torch.cat([observation, seen], -1))
        belief, session = posterior[:, :-1], data["session"]
        # 1. Session masking: decode the pairs (t, j) of one session, from a sample of belief t.
        pairs = (session[:, :, None] == session[:, None, :]).nonzero(as_tuple=True)
        weight = len(pairs[0]) / session.numel()
        if len(pairs[0]) > PAIRS:  # a sample of them is cheaper and as good
            pairs = tuple(torch.stack(pairs)[:, torch.randint(len(pairs[0]), (PAIRS,))])
        mean, log_var = belief.chunk(2, -1)
        latent = mean + torch.exp(0.5 * log_var) * noise
        transition = torch.cat([observation[:, 1:], action], -1)
        logit = self.reward_decoder(latent, transition, pairs)
        paid = (data["reward"] > 0).float()[pairs[0], pairs[2]]
        reconstruction = weight * F.binary_cross_entropy_with_logits(logit, paid)

        # 2. Prior conditioning: the chain KL(q_t || q_{t-1}), at a switch KL(q_t || p(q_{t-1})).
        before = F.pad(belief, (0, 0, 1, 0))[:, :-1]  # before the first: N(0, I)
        prior = self.session_prior(before.detach())
        together = session[:, 1:] == session[:, :-1]
        begins = F.pad(~together, (1, 0), value=False)[..., None]
        kl = kl_divergence(belief, torch.where(begins, Encoder.bounded(prior), before))

        # 3. Consistency: the KL to the session's last belief must not grow.
        ends = torch.arange(T).masked_fill(F.pad(together, (0, 1), value=False), T)
        end = ends.flip(1).cummin(1).values.flip(1)[..., None].expand_as(belief)
        to_end = kl_divergence(belief, belief.detach().gather(1, end))
        hinge = F.relu(to_end[:, 1:] - to_end[:, :-1]) * together
        # The head that says, after transition t, whether it was the first of a session.
        ended = F.binary_cross_entropy_with_logits(termination[:, 1:], data["switched"].float())
        terms = {"reward": reconstruction, "kl": KL * kl.mean(), "termination": TERMINATION * ended}
        return terms | {"consistency": CONSISTENCY * hinge.sum() / session.numel()}

    def ppo_loss(self, batch: dict[str, Tensor], entropy_coeff: float) -> Tensor:
        """PPO on stored beliefs: clipped surrogate, value error and entropy bonus."""
        logits, value = self.heads(batch["observation"], batch["belief"])
        policy, advantage = Categorical(logits=logits, validate_args=False), batch["advantage"]
        ratio = torch.exp(policy.log_prob(batch["action"]) - batch["log_prob"])
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
        error = F.mse_loss(value, batch["target"]) / VALUE_UNIT**2
        bonus = entropy_coeff * policy.entropy().mean()
        return VALUE_COEFF * error - surrogate.mean() - bonus


@torch.no_grad()
def play(agent: Agent, env: VectorEnv, greedy: bool = False) -> dict[str, Tensor]:
    """A meta-episode in every env: columns `[N, T, ...]`; observation, value `[N, T + 1, ...]`."""
    observation, info = env.reset()
    widths = (HIDDEN, 2 * LATENT, 2 * LATENT, ACTIONS, 1)
    *state, action, reward = (torch.zeros(len(observation), width) for width in widths)
    steps: list[dict[str, Tensor]] = []
    for t in range(T + 1):
        seen = torch.from_numpy(observation).float()
        inputs = torch.cat([agent.scale_observation(seen), action, reward], -1)
        belief, state = agent.encoder.step(inputs, state)
        logits, value = agent.heads(seen, belief)
        if t == T:
            break
        policy = Categorical(logits=logits, validate_args=False)
        chosen = logits.argmax(-1) if greedy else policy.sample()
        step = {"observation": seen, "belief": belief, "action": chosen, "value": value}
        step["log_prob"] = policy.log_prob(chosen)
        step |= {key: torch.from_numpy(info[key].copy()) for key in ("session", "switched")}
        observation, paid, _, _, info = env.step(chosen.numpy())
        step["reward"] = torch.from_numpy(paid).float()
        action, reward = F.one_hot(chosen, ACTIONS).float(), step["reward"][:, None]
        steps.append(step)
        observation = info.get("final_obs", observation)  # else the next meta-episode's first
    data = {key: torch.stack([step[key] for step in steps], 1) for key in steps[0]}
    data["observation"] = torch.cat([data["observation"], seen[:, None]], 1)  # o_0 .. o_T
    data["value"] = torch.cat([data["value"], value[:, None]], 1)
    return data


class Trainer:
    """One iteration: sample 128 meta-episodes, 4 PPO epochs on them, 6 ELBO steps on a buffer."""

    def __init__(self, steps: int, seed: int) -> None:
        torch.manual_seed(seed)
        a = self.agent = Agent()
        self.total, self.steps, groups = steps, 0, [[*h.parameters()] for h in (a.policy, a.value)]
        self.ppo = torch.optim.Adam([{"params": group} for group in groups], eps=1e-5, fused=True)
        vae = nn.ModuleList([a.encoder, a.reward_decoder, a.session_prior])
        self.vae = torch.optim.Adam(vae.parameters(), fused=True)
        self.buffer: dict[str, Tensor] = {}
        self.env = make_vector("DLCMDP/GridWorld-v0", ENVS, None, Stream(seed))

    def iterate(self) -> float:
        """Returns the mean return of the newest meta-episodes."""
        done, data = min(1.0, self.steps / self.total), play(self.agent, self.env)
        self.steps += ENVS * T
        self.learn_policy(data, 0.002 + done * (0.00005 - 0.002), 0.05 * max(0, 1 - done / 0.75))
        for name in ("observation", "action", "reward", "session", "switched"):
            kept = [self.buffer[name][-8000 + ENVS :]] if name in self.buffer else []
            self.buffer[name] = torch.cat([*kept, data[name]])
        for _ in range(6):
            rows = torch.randint(len(self.buffer["reward"]), (32,))
            batch = {name: column[rows] for name, column in self.buffer.items()}
            loss = sum(self.agent.elbo_loss(batch, torch.randn(32, T, LATENT)).values())
            optimise(loss, self.vae, 0.002 + done * (0.0002 - 0.002), 2.0)
        self.agent.scale_observation.follow(data["observation"][:, :-1].flatten(0, 1))
        self.agent.scale_belief.follow(data["belief"].flatten(0, 1))
        return data["reward"].sum(1).mean().item()

    def learn_policy(self, data: dict[str, Tensor], lr: float, entropy_coeff: float) -> None:
        """PPO with generalised advantages; a meta-episode is cut, never terminal."""
        value, total = data["value"], torch.zeros(ENVS)
        delta = data["reward"] + GAMMA * value[:, 1:] - value[:, :-1]
        advantage = torch.empty_like(delta)
        for t in reversed(range(T)):
            advantage[:, t] = total = delta[:, t] + GAMMA * LAMBDA * total
        data["target"] = advantage + value[:, :-1]
        data["advantage"] = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        names = ("observation", "belief", "action", "log_prob", "advantage", "target")
        columns = {name: data[name][:, :T].flatten(0, 1) for name in names}
        for _ in range(4):
            for rows in torch.randperm(ENVS * T).split(480):
                batch = {key: value[rows] for key, value in columns.items()}
                optimise(self.agent.ppo_loss(batch, entropy_coeff), self.ppo, lr, 0.5)


def optimise(loss: Tensor, optimiser: torch.optim.Optimizer, lr: float, clip: float) -> None:
    """One step; each group of parameters has its own gradient-norm clip."""
    optimiser.zero_grad()
    loss.backward()
    for group in optimiser.param_groups:
        group["lr"] = lr
        nn.utils.clip_grad_norm_(group["params"], clip)
    optimiser.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3_000_000, help="env steps")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trainer = Trainer(arguments.steps, arguments.seed)
    held_out = make_vector("DLCMDP/GridWorld-v0", 512, None, Stream(10_000))
    while trainer.steps < arguments.steps:
        mean = trainer.iterate()
        if trainer.steps % (25 * ENVS * T) == 0 or trainer.steps >= arguments.steps:
            greedy = play(trainer.agent, held_out, greedy=True)["reward"].sum(1).mean().item()
            told = f"return {mean:5.1f}  held-out score {(greedy - BLIND) / (BAYES - BLIND):6.3f}"
            print(f"{trainer.steps:>9,} env steps  {told}", flush=True)


if __name__ == "__main__":
    main()
