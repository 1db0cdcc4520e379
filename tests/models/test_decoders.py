from __future__ import annotations

import pytest
import torch

from rllib_metarl.models.decoders import PairDecoder, decoded_side


def _pairs(count: int, b: int, t: int, j: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randint(size, (count,), generator=generator) for size in (b, t, j))


@pytest.mark.parametrize("hidden", [(16,), (16, 8)])
def test_decoding_pairs_equals_decoding_one_after_the_other(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    decoder = PairDecoder(3, 5, 2, hidden=hidden, activation="tanh")
    latent, transition = torch.randn(4, 6, 3), torch.randn(4, 7, 5)
    b, t, j = _pairs(50, 4, 6, 7)

    def decode(m: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return decoder.rest(torch.tanh(decoder.latent(m) + decoder.transition(x)))

    triples = zip(b.tolist(), t.tolist(), j.tolist(), strict=True)
    expected = torch.stack([decode(latent[x, y], transition[x, z]) for x, y, z in triples])
    torch.testing.assert_close(decoder(latent, transition, (b, t, j)), expected)


def test_decoding_every_pair_at_once_equals_listing_them() -> None:
    torch.manual_seed(0)
    decoder = PairDecoder(3, 5, 2, hidden=(8, 8))
    latent, transition, reward = torch.randn(4, 6, 3), torch.randn(4, 7, 5), torch.randn(4, 7)
    pairs = torch.ones(4, 6, 7).nonzero(as_tuple=True)
    every = decoder(latent, transition, None)
    torch.testing.assert_close(every, decoder(latent, transition, pairs))
    assert torch.equal(decoded_side(reward, 6, None), decoded_side(reward, 6, pairs))


def test_every_layer_of_the_decoder_learns() -> None:
    decoder = PairDecoder(3, 5, 2, hidden=(8, 8))
    out = decoder(torch.randn(4, 6, 3), torch.randn(4, 7, 5), _pairs(50, 4, 6, 7))
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in decoder.parameters())


def test_a_decoder_without_hidden_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="decoder_hidden"):
        PairDecoder(3, 5, 2, hidden=())
