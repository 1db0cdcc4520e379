"""Collects the transitions that IIDA's context encoder is learnt from, with a generator policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor

from rllib_metarl.checkpoint import Checkpoint
from rllib_metarl.envs import Stream
from rllib_metarl.errors import UserError
from rllib_metarl.learning.iida import Transitions, transitions_of
from rllib_metarl.models.actions import ActionCodec
from rllib_metarl.models.observations import ObservationCodec
from rllib_metarl.models.step import Inputs, State, Step
from rllib_metarl.reading import expanded
from rllib_metarl.recording import record
from rllib_metarl.sampling.collector import Collector, MetaEpisodeData
from rllib_metarl.sampling.envs import build_vector

RANDOM = "random"
_SURE = -40.0
"""Log standard deviation of an action that has been chosen already: lost in its rounding."""
_APART = 2**32 - 1
"""The incarnation of the streams that are collected from: no training ever meets their tasks."""


@dataclass(frozen=True)
class CollectSettings:
    """What is collected.

    Attributes:
        env_steps: at least so many, in whole meta-episodes.
        num_envs: how many envs at once.
        generator: ``random``, or the folder of a checkpoint, whose policy acts by sampling.
        hold: average steps for which a random action is held; slow dynamics need longer actions.

    Raises:
        UserError: a setting is out of range.
    """

    env_steps: int = 100_000
    num_envs: int = 64
    generator: str = RANDOM
    hold: float = 1.0

    def __post_init__(self) -> None:
        for name in ("env_steps", "num_envs"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"collect: {name} is {value!r}: use a whole number of at least 1.")
        if not isinstance(self.hold, (int, float)) or isinstance(self.hold, bool) or self.hold < 1:
            raise UserError(f"collect: hold is {self.hold!r}: use a number of steps, at least 1.")
        if not isinstance(self.generator, str):
            raise UserError(
                f"collect: generator is {self.generator!r}: use random, or a checkpoint's folder."
            )


class RandomActions:
    """Acts at random, uniformly, and holds an action for a while; has what a `Collector` asks for.

    Args:
        observation_space, action_space: of the env.
        hold: steps that an action is held on average (geometrically distributed).
        seed: of its stream.
    """

    needs_privileged = None
    belief_size = None  # with 0 no step would be drawn after the last observation

    def __init__(
        self, observation_space: gym.Space, action_space: gym.Space, hold: float, seed: int
    ) -> None:
        self.actions = ActionCodec(action_space)
        self.observations = ObservationCodec(observation_space, sum(self.actions.categories))
        self.action_width = self.actions.width
        self._renewed = 1.0 / hold
        self._generator = torch.Generator().manual_seed(seed)

    def eval(self) -> None:
        """It is never trained."""

    def initial_state(self, batch_size: int, device: Any = None) -> State:
        """No action is held before the first."""
        return {
            "action": torch.zeros(batch_size, self.action_width),
            "began": torch.zeros(batch_size, 1),
        }

    def encode_action(self, action: Tensor) -> Tensor:
        """Encoder inputs `[..., A]` of flat actions, as `BeliefModule.encode_action`."""
        return self.actions.encode(action)

    def step(self, inputs: Inputs) -> Step:
        """A `Step` of N rows whose action distribution leaves no choice."""
        observation, state = inputs.observation, inputs.state
        count = len(observation)
        renewed = torch.rand(count, 1, generator=self._generator) < self._renewed
        action = torch.where(renewed | (state["began"] == 0.0), self._drawn(count), state["action"])
        began = torch.ones(count, 1)
        one_hots, numbers = action.split([sum(self.actions.categories), self.actions.numbers], -1)
        logits = torch.cat([one_hots.log(), numbers, torch.full_like(numbers, _SURE)], dim=-1)
        return Step(observation[:, :0], logits, {"action": action, "began": began})

    def _drawn(self, count: int) -> Tensor:
        parts = []
        for size in self.actions.categories:
            chosen = torch.randint(size, (count,), generator=self._generator)
            parts.append(torch.nn.functional.one_hot(chosen, size).float())
        numbers = torch.rand(count, self.actions.numbers, generator=self._generator)
        return torch.cat([*parts, 2.0 * numbers - 1.0], dim=-1)


def collect(
    env: Any,
    env_config: dict[str, Any] | None,
    settings: CollectSettings,
    seed: int = 0,
    progress: Callable[[int], None] = lambda env_steps: None,
) -> Transitions:
    """Plays whole meta-episodes and cuts them into tasks.

    Args:
        env: an id, the name of a registered env, or a class.
        env_config: its arguments.
        settings: see `CollectSettings`.
        seed: of tasks and actions; no training meets these tasks.
        progress: called with the env steps so far.

    Raises:
        UserError: the env or the generator cannot be used, or the env gave NaN.
    """
    stream = Stream(int(seed), incarnation=_APART)
    try:
        vector = build_vector(env, settings.num_envs, env_config, stream)
    except Exception as error:  # an env is anybody's code
        raise UserError(
            f"env {env} cannot be made with {env_config or 'no arguments'}: "
            f"{type(error).__name__}: {error}"
        ) from error
    try:
        module = _generator(vector, settings, seed)
        collector = Collector(vector, module, seed=int(seed))
        played: list[MetaEpisodeData] = []
        steps = 0
        while steps < settings.env_steps:
            finished = collector.collect(min_episodes=1)
            played += finished
            steps += sum(map(len, finished))
            progress(steps)
    finally:
        vector.close()
    about = {
        "env": str(env),
        "env_config": {key: str(value) for key, value in (env_config or {}).items()},
        "generator": settings.generator,
        "hold": float(settings.hold),
        "seed": int(seed),
        "env_steps": steps,
        "meta_episodes": len(played),
    }
    return transitions_of(record(played), module.encode_action, about)


def _generator(vector: gym.vector.VectorEnv, settings: CollectSettings, seed: int) -> Any:
    spaces = (vector.single_observation_space, vector.single_action_space)
    if settings.generator == RANDOM:
        return RandomActions(*spaces, hold=float(settings.hold), seed=int(seed) + 1)
    module = Checkpoint.open(expanded(settings.generator)).module()
    own = (module.observation_width, module.action_width)
    actions = ActionCodec(spaces[1])
    observed = ObservationCodec(spaces[0], sum(actions.categories)).size
    here = (observed, actions.width)
    if own != here or module.action_space != spaces[1]:
        raise UserError(
            f"the generator {settings.generator} was trained on another env: its observations and "
            f"actions have widths {own}, those here {here}."
        )
    return module
