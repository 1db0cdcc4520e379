"""Trajectories recorded by a user's own loop, as the meta-episodes that an agent adapts to."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector.utils import concatenate, create_empty_array
from numpy.typing import NDArray

from rllib_metarl.columns import ACTION_MASK
from rllib_metarl.errors import UserError
from rllib_metarl.models.step import Inputs
from rllib_metarl.sampling.collector import MetaEpisodeData
from rllib_metarl.serving import given

KEYS = ("observations", "actions", "rewards")
MASKS = "action_masks"


def played_of(trajectories: Any, module: Any) -> list[MetaEpisodeData]:
    """Trajectories of one task as meta-episodes of a module, see `Agent.adapt`.

    Raises:
        UserError: there are none, or one is not of that form, or not finite.
    """
    if not isinstance(trajectories, Sequence) or not len(trajectories):
        raise UserError(
            f"trajectories is {reprlib.repr(trajectories)}: give a list of one or more, each with "
            f"{', '.join(KEYS)}."
        )
    return [_played(one, f"trajectory {i}", module) for i, one in enumerate(trajectories)]


def _played(trajectory: Any, where: str, module: Any) -> MetaEpisodeData:
    if not isinstance(trajectory, Mapping) or not set(KEYS) <= set(trajectory):
        raise UserError(f"{where} is {reprlib.repr(trajectory)}: give {', '.join(KEYS)}.")
    count = len(trajectory["rewards"])
    if not count:
        raise UserError(f"{where} has no rewards: give one step or more.")
    try:
        rewards = given.reward(trajectory["rewards"], count)
        observations = _observations(trajectory["observations"], count, module)
        actions = _actions(trajectory["actions"], count, module)
        mask = _masks(trajectory.get(MASKS), count, module)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    seen = torch.as_tensor(observations[:-1], dtype=torch.float32)
    with torch.inference_mode():
        logits = module.step(_first_steps(seen, module)).logits
        if mask is not None:
            logits = module.actions.masked(logits, torch.as_tensor(mask))
        log_prob = module.actions.log_prob(logits, torch.as_tensor(actions))
    none = np.zeros((count, 0), np.float32)
    return MetaEpisodeData(
        observations,
        actions,
        rewards,
        none,
        logits.numpy(),
        log_prob.numpy(),
        none[0],
        terminated=True,
        truncated=False,
        env_index=0,
        labels={} if mask is None else {ACTION_MASK: mask},
    )


def _first_steps(observation: torch.Tensor, module: Any) -> Inputs:
    """For an agent without memory every step is like the first."""
    count = len(observation)
    action, reward = torch.zeros(count, module.action_width), torch.zeros(count)
    state = module.initial_state(count, torch.device("cpu"))
    return Inputs(observation, action, reward, state)


def _observations(values: Any, count: int, module: Any) -> NDArray[Any]:
    """Flat observations `[T + 1, O]`; the last one is repeated where it was left out."""
    if len(values) not in (count, count + 1):
        raise UserError(
            f"{len(values)} observations and {count} rewards: give as many, or one more."
        )
    space = module.observation_space
    try:
        batch = concatenate(space, list(values), create_empty_array(space, len(values)))
    except (KeyError, IndexError, TypeError, ValueError):
        raise UserError(f"observations do not lie in {str(space)[:200]}.") from None
    flat = module.observations.flatten(given.observations(space, batch, len(values)))
    return flat if len(flat) > count else np.concatenate([flat, flat[-1:]])


def _actions(values: Any, count: int, module: Any) -> NDArray[Any]:
    """Flat actions `[T]` or `[T, P]`."""
    space = module.actions.flat_space
    try:
        array = np.stack([np.asarray(value) for value in values])
    except (TypeError, ValueError):
        array = np.empty(0, object)
    expected = (count, *(space.shape or ()))
    if array.dtype.kind not in "iuf" or array.shape != expected:
        raise UserError(
            f"actions have shape {array.shape}, expected {expected}: give `drawn` of the state "
            "after each act, not the action that the env got."
        )
    if not np.isfinite(array).all():
        raise UserError("actions are not finite.")
    if module.actions.discrete and not ((array >= 0) & (array < module.actions.width)).all():
        raise UserError(f"actions are not all from 0 to {module.actions.width - 1}.")
    return array


def _masks(values: Any, count: int, module: Any) -> NDArray[np.bool_] | None:
    if values is None:
        return None
    masks: NDArray[np.bool_] = module.actions.mask_of(values, count)
    return masks
