"""A module's action distribution in RLlib's words: for its learner and its own EnvRunner."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical, TorchDiagGaussian
from torch import Tensor

from rllib_metarl.models.actions import ActionCodec


class FlatDistribution:
    """The distribution of flat actions with inputs `[..., outputs]`."""

    def __init__(self, actions: ActionCodec, logits: Tensor, *, explore: bool = True) -> None:
        self._actions, self._logits, self._explore = actions, logits, explore

    def sample(self) -> Tensor:
        """Flat actions `[...]` or `[..., A]`: sampled, or without `explore` the likeliest."""
        draw = self._actions.sample if self._explore else self._actions.mode
        return draw(self._logits)

    def logp(self, action: Tensor) -> Tensor:
        """Log-probability `[...]` of flat actions."""
        return self._actions.log_prob(self._logits, action)

    def entropy(self) -> Tensor:
        """Entropy `[...]`."""
        return self._actions.entropy(self._logits)

    def to_deterministic(self) -> FlatDistribution:
        """The one that takes the likeliest action."""
        return FlatDistribution(self._actions, self._logits, explore=False)


class FlatDistributions:
    """Makes them, as RLlib's distribution classes do.

    Args:
        actions: the action space's codec.
    """

    def __init__(self, actions: ActionCodec) -> None:
        self._actions = actions

    def from_logits(self, logits: Tensor) -> FlatDistribution:
        """The distribution with inputs `[..., outputs]`."""
        return FlatDistribution(self._actions, logits)


def distributions_of(actions: ActionCodec) -> Any:
    """What has `from_logits`: RLlib's own class for a single Discrete or one Box of numbers."""
    if actions.discrete:
        return TorchCategorical
    if actions.gaussian and isinstance(actions.space, spaces.Box):
        return TorchDiagGaussian
    return FlatDistributions(actions)
