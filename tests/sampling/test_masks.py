"""Action masks: what they forbid is never done, in acting as in the learner's likelihoods."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from ray.rllib.callbacks.callbacks import RLlibCallback

from rllib_metarl.errors import UserError
from rllib_metarl.learning.batch import rollout_from_episodes
from rllib_metarl.sampling.held_out import HeldOut
from rllib_metarl.sampling.stepwise import StepwiseRunner
from tests.algorithms.small import small_config, small_learner, small_runner

F = np.float32


class Masked(gym.Env):
    """Forbids all actions but one or two, others at each step, in one of the usual ways."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.kind, self.forgets = config["kind"], config.get("forgets", False)
        self.nothing, self.wrong = config.get("nothing", False), config.get("wrong", False)
        several = self.kind == "info, several"
        self.action_space = spaces.MultiDiscrete([4, 3]) if several else spaces.Discrete(4, start=1)
        self.inner = spaces.Box(-1, 1, (2,), F)
        self.observation_space: gym.Space = self.inner
        if self.kind == "observation":
            mask = spaces.MultiBinary(4)
            self.observation_space = spaces.Dict(action_mask=mask, observations=self.inner)
        self.seen: list[Any] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return self._observe()

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        chosen = np.atleast_1d(action - getattr(self.action_space, "start", 0))
        assert self.mask[chosen[0]] and (len(chosen) == 1 or self.second[chosen[1]])
        self.t += 1
        observation, info = self._observe()
        return observation, float(chosen[0]), False, self.t >= 6, info

    def _observe(self) -> tuple[Any, dict[str, Any]]:
        self.mask = np.zeros(4, np.int8)
        self.mask[[self.t % 4, (self.t + 1) % 4]] = not self.nothing
        self.second = np.eye(3, dtype=np.int8)[self.t % 3]
        at = self.np_random.uniform(-1, 1, 2).astype(F)
        if self.kind == "observation":
            return {"action_mask": self.mask, "observations": at}, {}
        if self.forgets and self.t > 2:
            return at, {}
        if self.kind == "info, several":
            return at, {"action_mask": (self.mask, self.second)}
        return at, {"action_mask": self.mask[:3] if self.wrong else self.mask}


def _config(kind: str, **env: Any) -> Any:
    arguments = {"kind": kind} | env
    return small_config("RL2", env=Masked, env_config=arguments, max_env_faults=0, num_epochs=1)


class Watching(RLlibCallback):
    """Brings RLlib's own EnvRunner."""

    def on_episode_step(self, **kwargs: Any) -> None:
        pass


@pytest.mark.parametrize("stepwise", [False, True], ids=["fast", "stepwise"])
@pytest.mark.parametrize("kind", ["info", "info, several", "observation"])
def test_what_a_mask_forbids_is_never_done(kind: str, stepwise: bool) -> None:
    config = _config(kind)
    runner: Any = small_runner(config)
    if stepwise:
        config.callbacks(Watching).validate()
        runner = StepwiseRunner(config=config, worker_index=1, num_workers=2)
    episodes = runner.sample(num_timesteps=48)
    rollout = rollout_from_episodes(episodes, runner.module)
    assert rollout.mask is not None and rollout.mask.shape[-1] == (7 if "several" in kind else 4)
    assert rollout.trajectories.observation.shape[-1] == 2
    with torch.no_grad():
        logits = runner.module.act(rollout.trajectories.observation[:, :-1], rollout.belief)
        masked = runner.module.actions.masked(logits, rollout.mask)
        log_prob = runner.module.actions.log_prob(masked, rollout.action)
    torch.testing.assert_close(log_prob, rollout.log_prob, atol=1e-4, rtol=1e-4)
    learner = small_learner(config)
    report = learner.update(episodes=episodes)["default_policy"]
    assert abs(report["mean_kl_loss"].peek()) < 0.05  # the first pass: the policy that acted
    assert 0.0 < report["entropy"].peek() < 0.7  # two of four are left: log 2 at most
    if not stepwise:
        HeldOut(Masked, config.env_config, 3).play(runner.module)


@pytest.mark.parametrize(
    "env, message",
    [
        ({"forgets": True}, "at some steps and not at others"),
        ({"nothing": True}, "forbids every action"),
        ({"wrong": True}, "has 3 entries where the action space .* has 4 choices"),
    ],
)
def test_a_mask_that_cannot_be_is_told(env: dict[str, Any], message: str) -> None:
    runner = small_runner(_config("info", **env))
    with pytest.raises(UserError, match=f"(?s){message}"):
        runner.sample(num_timesteps=48)
