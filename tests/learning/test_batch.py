from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from rllib_metarl.errors import UserError
from rllib_metarl.learning.batch import (
    Trajectories,
    flatten_valid,
    minibatches,
    rollout_from_episodes,
)
from rllib_metarl.sampling.collector import Collector, MetaEpisodeData
from tests.sampling.tiny import build, corridors


def _episode(meta: MetaEpisodeData, labels: bool = True) -> SingleAgentEpisode:
    extra = {
        Columns.ACTION_DIST_INPUTS: meta.logits,
        Columns.ACTION_LOGP: meta.log_prob,
        "belief": meta.belief,
        **(meta.labels if labels else {}),
    }
    episode = SingleAgentEpisode(
        observations=meta.observations,
        infos=[{}] * (len(meta) + 1),
        actions=meta.actions,
        rewards=meta.rewards,
        terminated=meta.env_index == 0,
        truncated=meta.env_index != 0,
        extra_model_outputs=extra,
        len_lookback_buffer=0,
    )
    episode.custom_data["final_belief"] = meta.final_belief
    return episode


@pytest.fixture(params=[False, True], ids=["discrete", "box"])
def sampled(request: pytest.FixtureRequest) -> tuple[list[MetaEpisodeData], Any]:
    env = corridors((3, 7, 5), box=request.param)
    module = build(env)
    return Collector(env, module).collect(min_episodes=6), module


def test_meta_episodes_are_padded_on_the_right(sampled: tuple[list[MetaEpisodeData], Any]) -> None:
    metas, module = sampled
    rollout = rollout_from_episodes([_episode(m) for m in metas], module)
    data, longest = rollout.trajectories, 7
    assert data.observation.shape == (len(metas), longest + 1, 4)
    assert data.length.tolist() == [len(m) for m in metas]
    for b, meta in enumerate(metas):
        n = len(meta)
        assert data.valid[b].tolist() == [True] * n + [False] * (longest - n)
        for got, expected in (
            (data.observation[b, : n + 1], meta.observations),
            (data.reward[b, :n], meta.rewards.astype(np.float32)),
            (data.session[b, :n], meta.labels["session"]),
            (data.switched[b, :n], meta.labels["switched"]),
            (rollout.action[b, :n], meta.actions),
            (rollout.log_prob[b, :n], meta.log_prob),
            (rollout.belief[b, :n], meta.belief),
            (rollout.final_belief[b], meta.final_belief),
        ):
            np.testing.assert_array_equal(np.asarray(got), expected)
        assert not data.observation[b, n + 1 :].any() and not data.reward[b, n:].any()
    assert rollout.terminated.tolist() == [m.env_index == 0 for m in metas]
    assert data.session.dtype == data.switched.dtype == torch.int64


def test_the_transition_that_led_to_an_observation(
    sampled: tuple[list[MetaEpisodeData], Any],
) -> None:
    metas, module = sampled
    data = rollout_from_episodes([_episode(m) for m in metas], module).trajectories
    encoded = module.encode_action(torch.as_tensor(metas[1].actions))
    n, (observation, action, reward, *_) = len(metas[1]), data.inputs
    assert observation is data.observation
    assert not action[:, 0].any() and not reward[:, 0].any()
    assert torch.equal(action[1, 1 : n + 1], encoded)
    assert torch.equal(reward[1, 1:], data.reward[1])


def test_without_labels_there_are_none(sampled: tuple[list[MetaEpisodeData], Any]) -> None:
    metas, module = sampled
    rollout = rollout_from_episodes([_episode(m, labels=False) for m in metas], module)
    assert rollout.trajectories.session is None


def test_an_episode_that_begins_in_the_middle_is_refused() -> None:
    env = corridors((6,))
    module = build(env)
    (meta,) = Collector(env, module).collect(1)
    later = _episode(meta)
    later.t_started = 4
    with pytest.raises(UserError, match="middle of a meta-episode.*rollout_fragment_length"):
        rollout_from_episodes([later], module)


@pytest.mark.parametrize(
    ("count", "size", "parts"), [(10, 4, 2), (100, 33, 3), (7, 50, 1), (9, 1, 9)]
)
def test_minibatches_cover_everything_once_an_epoch_in_equal_parts(
    count: int, size: int, parts: int
) -> None:
    rows = list(minibatches(count, size, 3, torch.Generator().manual_seed(0)))
    assert len(rows) == 3 * parts
    sizes = [len(r) for r in rows]
    assert max(sizes) - min(sizes) <= 1
    epochs = [torch.cat(rows[i : i + parts]).tolist() for i in range(0, len(rows), parts)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert epochs[0] != sorted(epochs[0]) and epochs[0] != epochs[1]


def test_flattening_leaves_the_padding_out() -> None:
    x = torch.arange(6).reshape(2, 3)
    valid = torch.tensor([[True, True, False], [True, True, True]])
    assert flatten_valid({"x": x}, valid)["x"].tolist() == [0, 1, 3, 4, 5]
    assert flatten_valid({"x": x}, torch.ones_like(valid))["x"].tolist() == [0, 1, 2, 3, 4, 5]


def test_map_reaches_every_tensor_and_leaves_missing_labels_out() -> None:
    data = Trajectories(*(torch.ones(2, 3) for _ in range(5)))
    mapped = data.map(lambda x: x + 1)
    assert mapped.observation.max() == mapped.length.max() == 2 and mapped.session is None
