"""Decoders p(r | m, o, a, o') and p(o' | m, o, a): what the belief must be able to explain."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rllib_metarl.models.mlp import activation as build_activation
from rllib_metarl.models.mlp import mlp
from rllib_metarl.ops.sessions import Pairs


def decoded_side(x: Tensor, encode_steps: int, pairs: Pairs | None) -> Tensor:
    """What belongs to transitions, `[B, T_decode, ...]`, as `[K, ...]`: one entry a pair.

    Args:
        encode_steps: T_encode.
        pairs: as in `PairDecoder.forward`.
    """
    if pairs is None:
        return x.unsqueeze(1).expand(-1, encode_steps, *x.shape[1:]).flatten(0, 2)
    return x[pairs[0], pairs[2]]


class PairDecoder(nn.Module):
    """Decodes transition j from the latent at t, for many pairs (t, j) at once.

    What concerns one side alone is computed once per latent and once per transition: a linear map
    of the latent, a small network of the transition. Only their sum and the layers behind it are
    formed per pair; with T^2 pairs that is most of the work.

    Args:
        latent_size: L.
        transition_size: width of the transition's features.
        output_size: width of the prediction.
        hidden: widths of the hidden layers, at least one.
        output_scale: the size of what is predicted.
    """

    def __init__(
        self,
        latent_size: int,
        transition_size: int,
        output_size: int,
        *,
        hidden: tuple[int, ...] = (64, 64),
        activation: str = "relu",
        output_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not hidden:
            raise ValueError("a decoder needs at least one hidden layer, e.g. decoder_hidden: [64]")
        self.output_scale = output_scale
        self.latent = nn.Linear(latent_size, hidden[0])
        self.transition = mlp([transition_size, hidden[0], hidden[0]], activation, last=False)
        self.first = build_activation(activation, inplace=True)
        self.rest = mlp([*hidden, output_size], activation, last=False, inplace=True)

    def forward(self, latent: Tensor, transition: Tensor, pairs: Pairs | None) -> Tensor:
        """Decodes the K pairs.

        Args:
            latent: `[B, T_encode, L]` posterior samples.
            transition: `[B, T_decode, F]` features of the transitions.
            pairs: index tensors (b, t, j), each `[K]`; None for every pair, in row order, which
                takes no gathering.

        Returns:
            `[K, output_size]`.
        """
        from_latent, from_transition = self.latent(latent), self.transition(transition)
        if pairs is None:
            every = from_latent.unsqueeze(2) + from_transition.unsqueeze(1)
            return self.output_scale * self.rest(self.first(every).flatten(0, 2))
        b, t, j = pairs
        from_latent, from_transition = from_latent.flatten(0, 1), from_transition.flatten(0, 1)
        rows = torch.index_select(from_latent, 0, b * latent.shape[1] + t)
        columns = torch.index_select(from_transition, 0, b * transition.shape[1] + j)
        return self.output_scale * self.rest(self.first(rows + columns))
