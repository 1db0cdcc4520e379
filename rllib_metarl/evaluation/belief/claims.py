"""What an agent itself claims about what it sees: its own predictions, without any probe."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rllib_metarl.learning.batch import Trajectories, trajectories_of
from rllib_metarl.ops.gaussian import kl_divergence, sample
from rllib_metarl.recording import Recording

Array = NDArray[np.float64]
SAMPLES = 8
ROWS = 256
"""Meta-episodes that are decoded at a time."""


@dataclass(frozen=True)
class Claims:
    """Along B meta-episodes; None for what an agent does not claim, see `absent`.

    Attributes:
        termination: `[B, T + 1]`; entry t: P(transition t - 1 opened a new session | o_0 .. o_t),
            0 at t = 0.
        surprise: `[B, T]` nats, -log p(r_t | belief t, o_t, a_t, o_{t+1}): what was not predicted.
        negative_elbo: `[B, T]` nats, E_{q_{t+1}}[-log p(r_t | m)] + KL(q_{t+1} || q_t): an upper
            bound of the surprise, what is left unexplained plus how far the belief had to move.
        disagreement: `[B, T]` nats, how much the predictions from different samples of the belief
            differ: the mutual information of r_t and m.
        positive: `[B, T]`, the claimed probability that r_t > 0.
    """

    termination: Array | None = None
    surprise: Array | None = None
    negative_elbo: Array | None = None
    disagreement: Array | None = None
    positive: Array | None = None


def claims_of(module: Any, settings: Any, recording: Recording) -> Claims:
    """The claims of a trained module, from the networks that the learner has.

    Args:
        module: a belief module. One without decoders (that of an EnvRunner, or of an algorithm that
            has none) says at most when a session ended.
        settings: its algorithm's config, with `reward_likelihood` and `vae_reward_scale`.
        recording: what it played.

    With a state decoder, the next observation counts as the reward does, with unit variance in
    the units of the module's normalised observations, as in the loss. Sampled `SAMPLES` times.
    """
    if not module.decodes and settings.termination_head() is None:
        return Claims()
    module.eval()
    generator = torch.Generator().manual_seed(0)
    parts = [
        _claims(module, settings, recording.take(slice(row, row + ROWS)), generator)
        for row in range(0, len(recording), ROWS)
    ]
    joined = {f.name: [getattr(part, f.name) for part in parts] for f in fields(Claims)}
    return Claims(**{k: None if v[0] is None else np.concatenate(v) for k, v in joined.items()})


@torch.inference_mode()
def _claims(module: Any, settings: Any, played: Recording, generator: torch.Generator) -> Claims:
    data = trajectories_of(played, module)
    belief = module.encode(data.inputs)
    if not module.decodes:
        return Claims(termination=_termination(belief, settings))
    mean, log_var = belief.mean, belief.log_var
    likelihood = _Likelihood(module, settings, data)
    before = [
        likelihood(sample(mean[:, :-1], log_var[:, :-1], _noise(mean[:, :-1], generator)))
        for _ in range(SAMPLES)
    ]
    after = [
        likelihood(sample(mean[:, 1:], log_var[:, 1:], _noise(mean[:, 1:], generator)))[0]
        for _ in range(SAMPLES)
    ]
    log_prob = torch.stack([x[0] for x in before])
    decoded = torch.stack([x[1] for x in before])
    moved = kl_divergence(mean[:, 1:], log_var[:, 1:], mean[:, :-1], log_var[:, :-1])
    return Claims(
        termination=_termination(belief, settings),
        surprise=_numpy(np.log(SAMPLES) - torch.logsumexp(log_prob, 0)),
        negative_elbo=_numpy(moved - torch.stack(after).mean(0)),
        disagreement=_numpy(likelihood.disagreement(decoded)),
        positive=_numpy(torch.sigmoid(decoded).mean(0)) if likelihood.bernoulli else None,
    )


class _Likelihood:
    """log p of each transition given samples of the belief `[B, T, L]`, and what was decoded."""

    def __init__(self, module: Any, settings: Any, data: Trajectories) -> None:
        self.module, self.data = module, data
        self.bernoulli = settings.reward_likelihood == "bernoulli"
        self.scale = settings.vae_reward_scale
        batch, steps = data.reward.shape
        row = torch.arange(batch).repeat_interleave(steps)
        step = torch.arange(steps).repeat(batch)
        self.pairs = (row, step, step)  # each belief decodes its own, coming transition
        self.reward_features = module.reward_features(data)
        decodes_state = module.state_decoder is not None
        self.state_features = module.state_features(data) if decodes_state else None

    def __call__(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        decoded = self.module.reward_decoder(latent, self.reward_features, self.pairs)
        decoded = decoded.reshape(self.data.reward.shape)
        log_prob = self._reward(decoded)
        if self.state_features is not None:
            predicted = self.module.state_decoder(latent, self.state_features, self.pairs)
            target = self.module.normalise_observation(self.data.observation)[:, 1:]
            error = (predicted.reshape(target.shape) - target).square().sum(-1)
            log_prob = log_prob - 0.5 * (error + target.shape[-1] * np.log(2 * np.pi))
        return log_prob, decoded

    def _reward(self, decoded: Tensor) -> Tensor:
        reward = self.data.reward
        if self.bernoulli:
            sign = torch.where(reward > 0, 1.0, -1.0)
            return torch.nn.functional.logsigmoid(sign * decoded)
        error = ((reward - decoded) / self.scale).square()
        return -0.5 * error - float(np.log(self.scale) + 0.5 * np.log(2 * np.pi))

    def disagreement(self, decoded: Tensor) -> Tensor:
        """Mutual information of reward and sample, `[S, B, T]` -> `[B, T]` (Houlsby et al. 2011).

        Bernoulli: entropy of the mean minus mean of the entropies. Gaussian: of the matching
        Gaussian mixture, log(1 + variance / sigma^2) / 2.
        """
        if not self.bernoulli:
            return 0.5 * torch.log1p(decoded.var(0, correction=0) / self.scale**2)
        p = torch.sigmoid(decoded)
        return _binary_entropy(p.mean(0)) - _binary_entropy(p).mean(0)


def _binary_entropy(p: Tensor) -> Tensor:
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))


def _termination(belief: Any, settings: Any) -> Array | None:
    if settings.termination_head() is None:
        return None
    probability = torch.sigmoid(belief.termination_logit)
    probability[:, 0] = 0.0
    return _numpy(probability)


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.empty_like(like).normal_(generator=generator)


def _float(array: Any) -> Tensor:
    return torch.as_tensor(array, dtype=torch.float32)


def _numpy(x: Any) -> Array:
    return np.asarray(x, np.float64)
