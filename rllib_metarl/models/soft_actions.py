"""Action distributions as soft actor-critic needs them: kept within bounds, and differentiable."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import gumbel_softmax, softplus

from rllib_metarl.models.actions import ActionCodec


class SoftActions(ActionCodec):
    """An `ActionCodec` whose numbers are tanh of a Gaussian where both their bounds are known.

    Flat actions hold what comes out of the tanh. Whole numbers, numbers without two bounds, and
    all where `normalise` is false, are Gaussian as they are in an `ActionCodec`.

    Args:
        space, normalise: as `ActionCodec` takes them.
    """

    def __init__(self, space: gym.Space, *, normalise: bool = True) -> None:
        super().__init__(space, normalise=normalise)
        squashed = [leaf.bounded & (normalise and not leaf.whole) for leaf in self._number_leaves]
        self._squashed = np.concatenate(squashed) if squashed else np.zeros(0, bool)

    def draw(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Drawn actions, encoded and with gradients `[..., width]`, and log-probabilities `[...]`.

        Numbers are reparameterised. Categories are one-hots with the gradient of a softmax
        (straight-through Gumbel); their log-probability is its expectation, minus their entropy.
        """
        _, mean, log_std = self._split(logits)
        before = mean + torch.randn_like(mean) * log_std.exp()
        parts, log_prob = [], self._log_prob_before(mean, log_std, before)
        for own in logits[..., : sum(self.categories)].split(self.categories, -1):
            parts.append(gumbel_softmax(own, hard=True))
            log_p = own.log_softmax(-1)
            log_prob = log_prob + (log_p.exp() * log_p.clamp_min(-1e9)).sum(-1)
        numbers = self._squash(before)
        for leaf in self._number_leaves:
            parts.append(leaf.encode(numbers[..., : leaf.count]))
            numbers = numbers[..., leaf.count :]
        return torch.cat(parts, -1), log_prob

    def sample(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self._squashed_flat(super().sample(logits, generator))

    def mode(self, logits: Tensor) -> Tensor:
        return self._squashed_flat(super().mode(logits))

    def log_prob(self, logits: Tensor, action: Tensor) -> Tensor:
        if not self._squashed.any():
            return super().log_prob(logits, action)
        index, numbers = action[..., : len(self.categories)], action[..., len(self.categories) :]
        inverse = torch.atanh(numbers.clamp(-1.0 + 1e-6, 1.0 - 1e-6))
        before = torch.where(self._mask(numbers), inverse, numbers)
        log_prob = super().log_prob(logits, torch.cat([index, before], -1))
        return log_prob - self._log_slope(before)

    def _squashed_flat(self, action: Tensor) -> Tensor:
        if not self._squashed.any():
            return action
        count = len(self.categories)
        return torch.cat([action[..., :count], self._squash(action[..., count:])], -1)

    def _squash(self, numbers: Tensor) -> Tensor:
        return torch.where(self._mask(numbers), numbers.tanh(), numbers)

    def _log_prob_before(self, mean: Tensor, log_std: Tensor, before: Tensor) -> Tensor:
        """Log-densities `[...]` of what comes out of the tanh, given what goes in."""
        z = (before - mean) * torch.exp(-log_std)
        log_prob = (-0.5 * z.square() - log_std - 0.5 * math.log(2.0 * math.pi)).sum(-1)
        return log_prob - self._log_slope(before)

    def _log_slope(self, before: Tensor) -> Tensor:
        """log |d tanh(u) / du| `[...]`, summed over the numbers that are squashed."""
        slope = 2.0 * (math.log(2.0) - before - softplus(-2.0 * before))
        return torch.where(self._mask(before), slope, 0.0).sum(-1)

    def _mask(self, like: Tensor) -> Tensor:
        return torch.as_tensor(self._squashed, device=like.device)
