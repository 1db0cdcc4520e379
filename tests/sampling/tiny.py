"""Small environments and modules for the tests of sampling and learning."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from rllib_metarl.algorithms.belief.module import BeliefModule
from rllib_metarl.algorithms.dynamite.module import DynaMITEModule
from rllib_metarl.algorithms.oracle.module import OracleModule
from rllib_metarl.envs import BatchedEnvs, Stream, make_vector
from rllib_metarl.models.step import Inputs
from rllib_metarl.sampling.collector import MetaEpisodeData

GRID = "DLCMDP/GridWorld-v0"
SMALL_GRID = {"size": 3, "horizon": 6, "p_switch": 0.3}

SETTINGS: dict[str, Any] = {
    "latent_size": 2,
    "encoder_hidden": 6,
    "encoder_embedding": [8],
    "policy_hidden": [8],
    "policy_activation": "relu",
    "belief_conditioning": "film",
    "policy_gradient_to_encoder": False,
    "prior_conditioning": True,
    "termination_threshold": 0.5,
    "decoder_hidden": [8],
    "reward_decoder_inputs": ["observation", "action", "next_observation"],
    "decode_state": True,
    "context_size": 1,
    "oracle_sees": "context",
}


class Corridor(gym.Env):
    """Counts: o_t = (episode number, t, last action, noise); ends after `length` steps."""

    def __init__(
        self,
        length: int,
        *,
        box: bool = False,
        labels: bool = True,
        dtype: Any = np.float32,
        bad: tuple[str, int] | None = None,
    ) -> None:
        self.length, self.labels, self.dtype, self.bad = length, labels, dtype, bad
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), dtype)
        low, high = np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32)
        self.action_space = gym.spaces.Box(low, high) if box else gym.spaces.Discrete(3)
        self.episode = -1
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode += 1
        self.t, self.last = 0, 0.0
        return self._observe(), self._labels()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.actions.append(np.copy(action))
        self.t += 1
        self.last = float(np.sum(action))
        reward = float(self.np_random.normal())
        if self.bad == ("reward", self.t):
            reward = float("inf")
        return self._observe(), reward, False, self.t >= self.length, self._labels()

    def _observe(self) -> Any:
        noise = float(self.np_random.normal())
        if self.bad == ("observation", self.t):
            noise = float("nan")
        return np.array([self.episode, self.t, self.last, noise], self.dtype)

    def _labels(self) -> dict[str, Any]:
        if not self.labels:
            return {}
        switched = np.int8(self.t > 0 and self.t % 3 == 0)
        context = np.array([self.t // 3], np.float32)
        return {"context": context, "session": np.int64(self.t // 3), "switched": switched}


def corridors(lengths: tuple[int, ...] = (3, 5, 11), seed: int = 0, **settings: Any) -> BatchedEnvs:
    env = BatchedEnvs([Corridor(length, **settings) for length in lengths])
    env.set_stream(Stream(seed))
    return env


def grid(num_envs: int = 4, seed: int = 0, **settings: Any) -> gym.vector.VectorEnv:
    return make_vector(GRID, num_envs, SMALL_GRID | settings, Stream(seed))


def build(
    env: gym.vector.VectorEnv, module_class: type = DynaMITEModule, **settings: Any
) -> BeliefModule:
    """A module with random weights wherever a new one has zeros, so that all its parts matter."""
    torch.manual_seed(0)
    spec = RLModuleSpec(
        module_class=module_class,
        observation_space=env.single_observation_space,
        action_space=env.single_action_space,
        model_config=SETTINGS | settings,
    )
    module = spec.build()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        if module_class is not OracleModule:
            module.encoder.termination.bias.zero_()
    return module


def replay(module: Any, episode: MetaEpisodeData) -> tuple[np.ndarray, np.ndarray]:
    """Beliefs `[T + 1, D]` and termination logits `[T + 1]` of a whole meta-episode in one pass."""
    with torch.no_grad():
        action = module.encode_action(torch.as_tensor(episode.actions))
        previous_action = torch.cat([torch.zeros_like(action[:1]), action])
        previous_reward = torch.cat([torch.zeros(1), torch.as_tensor(episode.rewards).float()])
        observation = torch.as_tensor(np.asarray(episode.observations, np.float32))
        inputs = (observation, previous_action, previous_reward)
        belief = module.encode(Inputs(*(column[None] for column in inputs)))
        return module.policy_belief(belief)[0].numpy(), belief.termination_logit[0].numpy()
