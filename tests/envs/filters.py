"""The environments' exact filters as functions of arrays alone, for one set of arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rllib_metarl.envs.bandit.env import BernoulliBanditEnv
from rllib_metarl.envs.bandit.parameters import GOOD
from rllib_metarl.envs.gridworld.env import GridWorldEnv
from rllib_metarl.envs.gridworld.family import GridWorldFamilyEnv
from rllib_metarl.envs.two_step.env import TwoStepEnv


def grid(observations: ArrayLike, rewards: ArrayLike, **arguments: Any) -> NDArray[np.float64]:
    """P(goal 1 pays), `[B, T + 1]`."""
    return _posterior(GridWorldEnv(**arguments), observations, None, rewards)[..., 1]


def family(observations: ArrayLike, rewards: ArrayLike, **arguments: Any) -> NDArray[np.float64]:
    """P(member, paying goal), `[B, T + 1, members, 2]`."""
    told = _posterior(GridWorldFamilyEnv(**arguments), observations, None, rewards)
    return told.reshape(*told.shape[:2], -1, 2)


def two_step(
    observations: ArrayLike, actions: ArrayLike, rewards: ArrayLike, **arguments: Any
) -> NDArray[np.float64]:
    """P(B is good), `[B, T + 1]`."""
    return _posterior(TwoStepEnv(**arguments), observations, actions, rewards)[..., 1]


def bandit(actions: ArrayLike, rewards: ArrayLike, **arguments: Any) -> NDArray[np.float64]:
    """The arms' expected probabilities, `[B, T + 1, k]`."""
    env = BernoulliBanditEnv(**arguments)
    acted, paid = np.asarray(actions), np.asarray(rewards)
    good = GOOD.get(arguments.get("structure", ""))
    if good is not None:
        told = _posterior(env, None, acted, paid)
        return told @ np.array([[good, 1 - good], [1 - good, good]])
    contexts = np.full((len(paid), paid.shape[1] + 1, env.action_space.n), 0.5)
    return env.exact_filter().run(None, acted, paid, contexts).mean


def _posterior(env: Any, observations: Any, actions: Any, rewards: Any) -> NDArray[np.float64]:
    received = np.asarray(rewards)
    acted = np.zeros(received.shape, np.int64) if actions is None else actions
    probabilities: NDArray[np.float64] = (
        env.exact_filter().run(observations, acted, received).probabilities
    )
    return probabilities
