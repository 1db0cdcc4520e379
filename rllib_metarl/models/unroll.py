"""Recurrent networks over long sequences: truncated backpropagation through time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rllib_metarl.models.step import Inputs, State


def unroll(encoder: Any, inputs: Inputs, limit: int) -> Any:
    """Runs an encoder over `[B, T, ...]` inputs, in stretches of `limit` steps where T is longer.

    Each stretch begins with the state that the one before it ended with, as in acting, so the
    output is that of one run; but no gradient passes from a stretch into the one before
    it. The activations of a stretch are not kept but computed again for its gradient: the memory
    holds the output of all T steps, and the activations of `limit` steps.

    Args:
        encoder: called with inputs, it returns a tensor `[B, T, ...]`, or a named tuple of some,
            and the state after the last step.
        inputs: of T steps, with the state before the first of them.
        limit: steps of a stretch; 0 for one stretch, with the whole gradient.

    Returns:
        what the encoder returns, `[B, T, ...]`.

    Source: Williams and Peng 1990, "An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories", with stretches that do not overlap; Chen et al. 2016,
    arXiv:1604.06174, for computing activations again.
    """
    steps = inputs.observation.shape[1]
    if not limit or steps <= limit:
        return encoder(inputs)[0]
    parts, state = [], inputs.state
    for start in range(0, steps, limit):
        stretch = _stretch(inputs, slice(start, start + limit), state)
        part, after = checkpoint(encoder, stretch, use_reentrant=False, preserve_rng_state=False)
        state = {key: value.detach() for key, value in after.items()}
        parts.append(part)
    if isinstance(parts[0], Tensor):
        return torch.cat(parts, dim=1)
    return type(parts[0])(*(torch.cat(field, dim=1) for field in zip(*parts, strict=True)))


def _stretch(inputs: Inputs, steps: slice, state: State) -> Inputs:
    """Some of the steps, with what is remembered from before them."""
    label, done = (None if x is None else x[:, steps] for x in inputs[4:6])
    observation, action, reward = (column[:, steps] for column in inputs[:3])
    return Inputs(observation, action, reward, state, label, done)
