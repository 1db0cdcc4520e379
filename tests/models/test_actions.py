"""Every action that an env is given lies in its space, and is drawn as evenly as may be."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from rllib_metarl.algorithms.base.stored_spaces import plain_space, space_of
from rllib_metarl.envs.core.nested import rows_of
from rllib_metarl.errors import UserError
from rllib_metarl.models.actions import ActionCodec

F = np.float32
HUGE, INT = float(np.finfo(F).max), np.iinfo(np.int64)
KINDS = spaces.Dict(
    kind=spaces.Discrete(3, start=1),
    how=spaces.Tuple([spaces.Box(-2, 2, (2,), F), spaces.MultiBinary(2), spaces.Box(0, 1, (), F)]),
)
SPACES: dict[str, gym.Space] = {
    "discrete": spaces.Discrete(5),
    "discrete from -3": spaces.Discrete(5, start=-3),
    "multi-discrete": spaces.MultiDiscrete([3, 1, 4]),
    "multi-discrete of a shape": spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 2], [3, 4]]),
    "multi-binary": spaces.MultiBinary(4),
    "multi-binary of a shape": spaces.MultiBinary([2, 3]),
    "box ()": spaces.Box(-1, 1, (), F),
    "box of a shape": spaces.Box(-2, 3, (2, 3), F),
    "bounds that are rounded": spaces.Box(0.1, 0.7, (50,), F),
    "half precision": spaces.Box(0, 1, (2,), np.float16),
    "huge bounds": spaces.Box(-HUGE, HUGE, (2,), F),
    "huge double bounds": spaces.Box(*[s * np.finfo(float).max for s in (-1, 1)], (2,), float),
    "from 0 on": spaces.Box(0, np.inf, (2,), F),
    "from 0 on, in name bounded": spaces.Box(0, HUGE, (2,), F),
    "up to 5": spaces.Box(-np.inf, 5, (2,), np.float64),
    "unbounded half precision": spaces.Box(-np.inf, np.inf, (2,), np.float16),
    "each of its own": spaces.Box(np.array([-1, 0, -np.inf], F), np.array([1, np.inf, np.inf], F)),
    "few whole numbers": spaces.Box(-2, 2, (1,), np.int64),
    "whole numbers of a shape": spaces.Box(0, 3, (2, 3), np.int32),
    "many whole numbers": spaces.Box(-1000, 1000, (2,), np.int64),
    "bytes": spaces.Box(0, 255, (3,), np.uint8),
    "all whole numbers": spaces.Box(INT.min, INT.max, (2,), np.int64),
    "unsigned": spaces.Box(0, np.iinfo(np.uint64).max, (2,), np.uint64),
    "unbounded whole numbers": spaces.Box(-np.inf, np.inf, (2,), np.int32),
    "nested": KINDS,
}


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("name", SPACES)
def test_actions_lie_in_their_space(name: str, normalise: bool) -> None:
    codec = ActionCodec(SPACES[name], normalise=normalise)
    logits = torch.zeros(300, codec.outputs)
    if codec.numbers:  # means from 1 to what single precision holds
        means = torch.randn(300, codec.numbers) * 10.0 ** torch.randint(0, 38, (300, 1))
        logits[:, -2 * codec.numbers : -codec.numbers] = means
    for flat in (codec.sample(logits), codec.mode(logits)):
        batch = codec.to_env(flat.numpy())
        outside = [a for a in rows_of(codec.space, batch) if not codec.space.contains(a)]
        assert not outside, outside[:3]
        assert codec.encode(flat).isfinite().all()
        assert codec.encode(flat).shape == (300, codec.width)
        assert codec.log_prob(logits, flat).isfinite().all() and codec.entropy(logits).shape == (
            300,
        )


@pytest.mark.parametrize("low, high", [(-2, 2), (0, 63), (-3, 100), (0, 255)])
def test_whole_numbers_are_drawn_evenly(low: int, high: int) -> None:
    codec = ActionCodec(spaces.Box(low, high, (4,), np.int64))
    draws = 400 * (high - low + 1)
    logits = torch.zeros(draws, codec.outputs)
    drawn = codec.to_env(codec.sample(logits, torch.Generator().manual_seed(0)).numpy())
    counts = np.bincount(drawn.ravel() - low, minlength=high - low + 1)
    assert len(counts) == high - low + 1
    assert np.abs(counts / 1600 - 1.0).max() < 0.15  # six standard deviations of an even draw


def test_the_log_probability_is_that_of_independent_parts() -> None:
    codec = ActionCodec(KINDS)
    logits = torch.randn(7, codec.outputs, generator=torch.Generator().manual_seed(1))
    action = codec.sample(logits)
    sizes = [*codec.categories, codec.numbers, codec.numbers]
    *categories, mean, log_std = logits.split(sizes, -1)
    parts = [torch.distributions.Categorical(logits=one) for one in categories]
    normal = torch.distributions.Normal(mean, log_std.exp())
    expected = sum(p.log_prob(action[:, i]) for i, p in enumerate(parts))
    expected = expected + normal.log_prob(action[:, len(parts) :]).sum(-1)
    torch.testing.assert_close(codec.log_prob(logits, action), expected)
    entropy = sum(p.entropy() for p in parts) + normal.entropy().sum(-1)
    torch.testing.assert_close(codec.entropy(logits), entropy)


def test_categories_are_drawn_as_often_as_their_logits_say() -> None:
    codec = ActionCodec(spaces.MultiDiscrete([2, 4]))
    chances = torch.tensor([0.2, 0.8, 0.1, 0.2, 0.3, 0.4])
    drawn = codec.sample(chances.log().expand(20_000, 6), torch.Generator().manual_seed(0))
    counts = torch.cat([torch.bincount(drawn[:, i], minlength=n) for i, n in ((0, 2), (1, 4))])
    torch.testing.assert_close(counts / 20_000, chances, atol=0.015, rtol=0.0)


def test_encoded_is_what_was_done() -> None:
    codec = ActionCodec(spaces.Tuple([spaces.Discrete(3), spaces.Box(-4.0, 4.0, (2,), F)]))
    encoded = codec.encode(torch.tensor([[2.0, 0.5, 7.0]]))
    assert encoded.tolist() == [[0.0, 0.0, 1.0, 0.5, 1.0]]
    own_units = ActionCodec(spaces.Box(-4.0, 4.0, (2,), F), normalise=False)
    assert own_units.encode(torch.tensor([[2.0, 7.0]])).tolist() == [[0.5, 1.0]]
    assert own_units.to_env(np.array([[2.0, 7.0]], F)).tolist() == [[2.0, 4.0]]


@pytest.mark.parametrize(
    "space, way",
    [
        (spaces.Text(5), "a text has no fixed length.*TransformAction"),
        (spaces.Tuple([spaces.Discrete(2), spaces.Sequence(spaces.Discrete(2))]), "Pad it"),
        (spaces.Graph(spaces.Discrete(2), spaces.Discrete(2)), "padded nodes"),
        (spaces.OneOf([spaces.Discrete(2), spaces.Discrete(3)]), "which one counts"),
    ],
)
def test_what_has_no_fixed_size_is_refused_with_a_way_round(space: gym.Space, way: str) -> None:
    with pytest.raises(UserError, match=f"(?s){way}"):
        ActionCodec(space)


@pytest.mark.parametrize("name", SPACES)
def test_spaces_are_stored_as_plain_values(name: str) -> None:
    assert space_of(json.loads(json.dumps(plain_space(SPACES[name])))) == SPACES[name]


def test_spaces_of_older_files_are_read() -> None:
    assert space_of({"n": 3}) == spaces.Discrete(3)
    box: dict[str, Any] = {"low": [-1.0, -2.0], "high": [1.0, float("inf")], "dtype": "float32"}
    assert space_of(box) == spaces.Box(np.array([-1, -2], F), np.array([1, np.inf], F))
