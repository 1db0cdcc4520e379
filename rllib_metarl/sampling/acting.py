"""One step of acting: the same in training, in evaluation and in exported agents."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from rllib_metarl.models.step import Inputs, State


class Decision(NamedTuple):
    """The actions of N meta-episodes, and what they follow from.

    action: flat, `[N]` or `[N, P]` (see `ActionCodec`); encoded: `[N, A]`, as the encoder takes it;
    belief: `[N, D]` as the policy saw it; logits: `[N, A']`, masked; state: the encoder's next.
    """

    action: Tensor
    encoded: Tensor
    belief: Tensor
    logits: Tensor
    state: State


class Actor:
    """Acts with a trained or training RLModule.

    Args:
        module: has `initial_state`, `step`, `encode_action`, `needs_privileged`,
            `actions`, `observations`.
    """

    def __init__(self, module: Any) -> None:
        self.module = module

    def begin(self, count: int, device: Any = "cpu") -> tuple[Tensor, Tensor, State]:
        """Action, reward and state before so many meta-episodes, as `Inputs` has them."""
        device = torch.device(device)
        return (
            torch.zeros(count, self.module.action_width, device=device),
            torch.zeros(count, device=device),
            self.module.initial_state(count, device),
        )

    def decide(
        self,
        inputs: Inputs,
        *,
        mask: Tensor | None = None,
        explore: bool = False,
        generator: torch.Generator | None = None,
    ) -> Decision:
        """The next action of each meta-episode.

        Args:
            inputs: with flat observations.
            mask: which choices are possible, `[N, A']`.
            explore: sample actions; else take the likeliest.
            generator: of the sampled actions; torch's default where None.
        """
        actions = self.module.actions
        step = self.module.step(inputs._replace(generator=generator))
        logits = step.logits if mask is None else actions.masked(step.logits, mask)
        action = actions.sample(logits, generator) if explore else actions.mode(logits)
        encoded = self.module.encode_action(action)
        return Decision(action, encoded, step.belief, logits, dict(step.state))
