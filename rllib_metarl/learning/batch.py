"""From meta-episodes to one right-padded `[B, T]` batch of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

from rllib_metarl.columns import ACTION_MASK, BELIEF, CONTEXT_LABELS, FINAL_BELIEF
from rllib_metarl.envs import is_usable, read_label
from rllib_metarl.errors import UserError
from rllib_metarl.models.step import Inputs
from rllib_metarl.recording import Recording, padded, record


@dataclass(frozen=True)
class Trajectories:
    """B whole meta-episodes, right-padded to T steps; what an ELBO is computed on.

    observation `[B, T + 1, O]`, action `[B, T, A]` (one-hot if discrete), reward `[B, T]`,
    valid `[B, T]` bool, length `[B]`, session and switched `[B, T]` int64 or None where the env
    gives no labels.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    valid: Tensor
    length: Tensor
    session: Tensor | None = None
    switched: Tensor | None = None

    @property
    def inputs(self) -> Inputs:
        """What the agent was shown at each of the T + 1 observations."""
        pad = torch.nn.functional.pad
        return Inputs(self.observation, pad(self.action, (0, 0, 1, 0)), pad(self.reward, (1, 0)))

    def map(self, function: Any) -> Trajectories:
        """Applies a function to every tensor."""
        return replace(
            self,
            **{
                f.name: function(value)
                for f in fields(self)
                if (value := getattr(self, f.name)) is not None
            },
        )


@dataclass(frozen=True)
class Rollout:
    """What PPO needs beside the trajectories, `[B, T, ...]`; per meta-episode: `[B, ...]`.

    final_belief `[B, D]`: after the last observation; terminated `[B]`: a true end, not a cut.
    mask `[B, T, choices]`: which values of its categories each action could have, or None.
    """

    trajectories: Trajectories
    action: Tensor
    log_prob: Tensor
    belief: Tensor
    final_belief: Tensor
    terminated: Tensor
    mask: Tensor | None = None


def rollout_from_episodes(
    episodes: Sequence[Any], module: Any, device: torch.device | str = "cpu"
) -> Rollout:
    """Builds the batch of RLlib `SingleAgentEpisode`s that are whole meta-episodes.

    Args:
        episodes: whole meta-episodes, lengths may differ.
        module: its `encode_action` turns actions into encoder inputs.

    Raises:
        UserError: if an episode begins in the middle of a meta-episode.
    """
    for episode in episodes:
        if episode.t_started != 0:
            raise UserError(
                "an episode begins in the middle of a meta-episode: belief learners train on whole "
                "meta-episodes. Set rollout_fragment_length to the horizon of the meta-episode."
            )
    lengths = np.array([len(episode) for episode in episodes])
    longest = int(lengths.max())

    def column(get: Any, extra: int = 0) -> Tensor:
        return torch.as_tensor(padded([get(e) for e in episodes], longest + extra), device=device)

    def output(key: str) -> Tensor:
        return column(lambda e: e.get_extra_model_outputs(key))

    action = column(lambda e: e.get_actions())
    labels = {key: column(of) for key in CONTEXT_LABELS if (of := _label(episodes[0], key))}
    trajectories = Trajectories(
        observation=column(lambda e: np.asarray(e.get_observations(), np.float32), 1),
        action=module.encode_action(action),
        reward=column(lambda e: np.asarray(e.get_rewards(), np.float32)),
        valid=torch.as_tensor(np.arange(longest) < lengths[:, None], device=device),
        length=torch.as_tensor(lengths, device=device),
        session=labels["session"].long() if "session" in labels else None,
        switched=labels["switched"].long() if "switched" in labels else None,
    )
    return Rollout(
        trajectories=trajectories,
        action=action,
        log_prob=output(Columns.ACTION_LOGP),
        belief=output(BELIEF),
        final_belief=_final_belief(episodes, trajectories, module),
        terminated=torch.as_tensor([e.is_terminated for e in episodes], device=device),
        mask=output(ACTION_MASK).bool() if ACTION_MASK in episodes[0].extra_model_outputs else None,
    )


def rollout_from_meta_episodes(
    played: Sequence[Any], module: Any, device: torch.device | str = "cpu"
) -> Rollout:
    """The same of what a `Collector` gives, without labels and beliefs."""
    data = trajectories_of(record(played), module).map(lambda column: column.to(device))
    rows, steps = data.valid.shape

    def column(arrays: list[np.ndarray]) -> Tensor:
        return torch.as_tensor(padded(arrays, steps), device=device)

    masks = [meta.labels[ACTION_MASK] for meta in played if ACTION_MASK in meta.labels]
    none = torch.zeros(rows, steps, 0, device=device)
    return Rollout(
        data,
        action=column([meta.actions for meta in played]),
        log_prob=column([meta.log_prob for meta in played]),
        belief=none,
        final_belief=none[:, 0],
        terminated=torch.as_tensor([meta.terminated for meta in played], device=device),
        mask=column(masks).bool() if masks else None,
    )


def trajectories_of(played: Recording, module: Any) -> Trajectories:
    """Recorded meta-episodes, without labels, as a module's networks take them."""

    def numbers(column: Any) -> Tensor:
        return torch.as_tensor(column, dtype=torch.float32)

    return Trajectories(
        observation=numbers(played.observations),
        action=module.encode_action(torch.as_tensor(played.actions)),
        reward=numbers(played.rewards),
        valid=torch.as_tensor(played.valid),
        length=torch.as_tensor(played.lengths),
    )


def _label(episode: Any, key: str) -> Callable[[Any], np.ndarray] | None:
    """How to read a label `[T, ...]`: from columns, else (RLlib's own runner) from infos."""
    if key in episode.extra_model_outputs:
        return lambda e: e.get_extra_model_outputs(key)
    if is_usable(key, episode.get_infos(0) or {}):
        return lambda e: read_label(key, e.get_infos()[:-1])
    return None


@torch.no_grad()
def _final_belief(episodes: Sequence[Any], data: Trajectories, module: Any) -> Tensor:
    """Beliefs `[B, D]` after the last observation, encoded here where the runner did not."""
    if all(FINAL_BELIEF in episode.custom_data for episode in episodes):
        stored = np.stack([episode.custom_data[FINAL_BELIEF] for episode in episodes])
        return torch.as_tensor(stored, device=data.reward.device)
    posterior = module.encode(data.inputs)
    return module.policy_belief(posterior)[torch.arange(len(data.length)), data.length]


def minibatches(count: int, size: int, epochs: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Index tensors `[size]` of shuffled minibatches, every element once an epoch.

    The `count` elements are cut into round(count / size) parts as equal as possible, so that no
    tiny remainder becomes a noisy gradient step.
    """
    parts = max(1, round(count / size))
    for _ in range(epochs):
        order = torch.randperm(count, generator=generator)
        yield from torch.tensor_split(order, parts)


def flatten_valid(columns: dict[str, Tensor], valid: Tensor) -> dict[str, Tensor]:
    """`[B, T, ...]` columns as flat `[N, ...]` ones without the padding."""
    if bool(valid.all()):
        return {key: value.flatten(0, 1) for key, value in columns.items()}
    return {key: value[valid] for key, value in columns.items()}
