from __future__ import annotations

import pytest
import torch

from rllib_metarl.ops.forward_model import prediction_error, set_mean, window_means


def test_the_mean_of_a_set_by_hand() -> None:
    features = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [torch.nan, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    assert set_mean(features, mask).tolist() == [[2.0, 4.0]]
    assert set_mean(features, torch.zeros(1, 3, dtype=torch.bool)).tolist() == [[0.0, 0.0]]


def test_window_means_by_hand() -> None:
    features = torch.tensor([[[1.0], [3.0], [8.0], [2.0]]])
    # Before the first nothing is known; then 1, (1 + 3) / 2, (3 + 8) / 2, (8 + 2) / 2.
    assert window_means(features, 2).flatten().tolist() == [0.0, 1.0, 2.0, 5.5, 5.0]
    assert window_means(features, 9).flatten().tolist() == [0.0, 1.0, 2.0, 4.0, 3.5]
    assert window_means(features, 1).flatten().tolist() == [0.0, 1.0, 3.0, 8.0, 2.0]


def test_the_error_is_a_mean_over_the_entries_that_count() -> None:
    predicted, target = torch.tensor([[1.0, 5.0, 2.0]]), torch.tensor([[0.0, 9.0, -1.0]])
    mask = torch.tensor([True, False, True])
    assert prediction_error(predicted, target, mask).tolist() == [(1.0 + 9.0) / 2]


def test_wrong_shapes_and_types_are_named() -> None:
    features, mask = torch.zeros(2, 3, 4), torch.ones(2, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"set_mean: mask has shape \(2, 5\).*K=3"):
        set_mean(features, mask)
    with pytest.raises(TypeError, match="mask has dtype"):
        set_mean(features, torch.ones(2, 3))
    with pytest.raises(ValueError, match="window_means: window is 0"):
        window_means(features, 0)
