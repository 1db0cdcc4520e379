from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rllib_metarl.ops import returns


def _never(like: Tensor) -> Tensor:
    return torch.zeros_like(like, dtype=torch.bool)


# One row: r = 1, 2, 3; v = 4, 5, 6; bootstrap 8; gamma = lambda = 1/2.
REWARD = torch.tensor([[1.0, 2.0, 3.0]])
VALUE = torch.tensor([[4.0, 5.0, 6.0]])
BOOTSTRAP = torch.tensor([8.0])


def test_gae_by_hand() -> None:
    # delta = 1 + 5/2 - 4 = -0.5;  2 + 6/2 - 5 = 0;  3 + 8/2 - 6 = 1
    # A_2 = 1;  A_1 = 0 + 1/4 * 1 = 0.25;  A_0 = -0.5 + 1/4 * 0.25 = -0.4375
    advantage, target = returns.gae(REWARD, VALUE, BOOTSTRAP, _never(REWARD), 0.5, 0.5)
    assert advantage.tolist() == [[-0.4375, 0.25, 1.0]]
    assert target.tolist() == [[3.5625, 5.25, 7.0]]


def test_a_terminal_row_does_not_bootstrap() -> None:
    # A_2 = 3 - 6 = -3;  A_1 = 0 - 3/4 = -0.75;  A_0 = -0.5 - 0.75/4 = -0.6875
    terminated = torch.tensor([[False, False, True]])
    advantage, target = returns.gae(REWARD, VALUE, BOOTSTRAP, terminated, 0.5, 0.5)
    assert advantage.tolist() == [[-0.6875, -0.75, -3.0]]
    assert target.tolist() == [[3.3125, 4.25, 3.0]]
    infinite = torch.tensor([torch.inf])
    again, _ = returns.gae(REWARD, VALUE, infinite, terminated, 0.5, 0.5)
    assert torch.equal(advantage, again)


def test_rows_of_different_lengths_equal_rows_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    reward, value = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    bootstrap = torch.randn(4, generator=generator, dtype=torch.float64)
    lengths, ends = [6, 3, 1, 5], [False, True, False, False]
    valid = torch.arange(6)[None] < torch.tensor(lengths)[:, None]
    terminated = _never(reward)
    for b, (length, end) in enumerate(zip(lengths, ends, strict=True)):
        terminated[b, length - 1] = end
    padded = [x.masked_fill(~valid, torch.nan) for x in (reward, value)]
    advantage, target = returns.gae(*padded, bootstrap, terminated, 0.95, 0.9, valid)
    for b, n in enumerate(lengths):
        row = slice(b, b + 1)
        expected = returns.gae(
            reward[row, :n], value[row, :n], bootstrap[row], terminated[row, :n], 0.95, 0.9
        )
        torch.testing.assert_close(advantage[row, :n], expected[0])
        torch.testing.assert_close(target[row, :n], expected[1])
        assert not advantage[b, n:].any() and not target[b, n:].any()


def test_gae_equals_its_definition_as_a_double_sum() -> None:
    generator = torch.Generator().manual_seed(1)
    reward, value = torch.randn(2, 3, 8, generator=generator, dtype=torch.float64)
    bootstrap = torch.randn(3, generator=generator, dtype=torch.float64)
    terminated = torch.rand(3, 8, generator=generator) < 0.2
    assert terminated.any()
    advantage, _ = returns.gae(reward, value, bootstrap, terminated, 0.9, 0.8)
    following = torch.cat([value[:, 1:], bootstrap[:, None]], dim=1)
    for b in range(3):
        for t in range(8):
            expected = 0.0
            for k in range(t, 8):
                stop = terminated[b, k].item()
                bootstrapped = 0.0 if stop else 0.9 * following[b, k].item()
                delta = reward[b, k].item() + bootstrapped - value[b, k].item()
                expected += (0.9 * 0.8) ** (k - t) * delta
                if stop:
                    break
            assert advantage[b, t].item() == pytest.approx(expected)


def test_lambda_one_gives_the_return_and_lambda_zero_the_one_step_error() -> None:
    _, target = returns.gae(REWARD, VALUE, torch.zeros(1), _never(REWARD), 0.5, 1.0)
    # G_2 = 3;  G_1 = 2 + 3/2 = 3.5;  G_0 = 1 + 3.5/2 = 2.75
    assert target.tolist() == [[2.75, 3.5, 3.0]]
    advantage, _ = returns.gae(REWARD, VALUE, BOOTSTRAP, _never(REWARD), 0.5, 0.0)
    assert advantage.tolist() == [[-0.5, 0.0, 1.0]]


def test_standardise_looks_at_valid_entries_only() -> None:
    # 1, 3, 5: mean 3, variance (4 + 0 + 4) / 3 = 8/3.
    x = torch.tensor([[1.0, 3.0], [5.0, torch.nan]])
    mask = torch.tensor([[True, True], [True, False]])
    z = 2.0 / (8.0 / 3.0) ** 0.5
    torch.testing.assert_close(returns.standardise(x, mask), torch.tensor([[-z, 0.0], [z, 0.0]]))


@pytest.mark.parametrize("x", [torch.tensor([2.0, 2.0, 2.0]), torch.tensor([7.0])])
def test_standardise_of_constants_is_zero(x: Tensor) -> None:
    assert not returns.standardise(x, torch.ones_like(x, dtype=torch.bool)).any()


def test_misfits_are_refused_by_name() -> None:
    reward, mask = torch.zeros(2, 5), torch.zeros(2, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"gae: value has shape \(2, 4\), expected B T with B=2"):
        returns.gae(reward, reward[:, :4], reward[:, 0], mask, 0.9, 0.9)
    with pytest.raises(ValueError, match=r"gae: bootstrap_value has shape \(5,\), expected B"):
        returns.gae(reward, reward, reward[0], mask, 0.9, 0.9)
    with pytest.raises(TypeError, match=r"gae: terminated has dtype torch\.float32"):
        returns.gae(reward, reward, reward[:, 0], reward, 0.9, 0.9, mask)
    with pytest.raises(ValueError, match=r"standardise: mask has shape \(5,\)"):
        returns.standardise(reward, mask[0])
