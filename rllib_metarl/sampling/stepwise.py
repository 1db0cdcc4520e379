"""RLlib's own EnvRunner for belief agents, where something of the user's runs at every env step."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.util.debug import log_once

from rllib_metarl.columns import FINAL_BELIEF
from rllib_metarl.sampling.connectors import privileged_label
from rllib_metarl.sampling.held_out import HeldOut, summary
from rllib_metarl.sampling.runner import stream_of

logger = logging.getLogger("rllib_metarl")


class StepwiseRunner(SingleAgentEnvRunner):
    """`SingleAgentEnvRunner` that returns whole meta-episodes and seeds each sub-env apart.

    Connectors and per-step callbacks run as in RLlib. Differs from it: a meta-episode that a
    fragment would cut goes on in the next sample, so that `rollout_fragment_length` need not be its
    horizon; sub-envs are seeded from the streams of (seed, worker, sub-env, training or
    evaluation) rather than by seed + worker + sub-env, where workers share tasks; no reset in
    training, and no resumed run, begins these streams again; `final_belief` comes with an episode.
    """

    env: Any

    @override(SingleAgentEnvRunner)
    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        self._generators: list[np.random.Generator] = []
        super().__init__(config=config, **kwargs)
        self.episodes_to_numpy = False  # an episode under way must stay one that can grow
        for note in self.config.notes() if not self.worker_index else ():
            if log_once(f"rllib_metarl: {note}"):
                logger.warning(note)

    @override(SingleAgentEnvRunner)
    def make_env(self) -> None:
        super().make_env()
        if len(self._generators) != self.num_envs:  # else made again after an error: go on
            self._set_stream(stream_of(self.config, self.worker_index))

    def _set_stream(self, stream: Any) -> None:
        self.stream = stream
        self._generators = [stream.generator(i) for i in range(self.num_envs)]

    @override(SingleAgentEnvRunner)
    def _try_env_reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Seeds at first, and in evaluation each time with the same seeds."""
        if self.config.in_evaluation:
            self._set_stream(self.stream)
        first = self._needs_initial_reset or self.config.in_evaluation
        seeds: Any = [int(rng.integers(2**32)) for rng in self._generators] if first else None
        return super()._try_env_reset(seed=seeds, options=options)

    @override(SingleAgentEnvRunner)
    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        force_reset: bool = False,
        **settings: Any,
    ) -> list[SingleAgentEpisode]:
        if num_episodes is not None:
            return self._finish(super()._sample(num_episodes=num_episodes, **settings))
        finished: list[SingleAgentEpisode] = []
        missing = num_timesteps or 0
        while missing > 0:
            under_way = 0 if force_reset else self._steps_under_way()
            settings["force_reset"], force_reset = force_reset, False
            ended = self._advance(max(1, missing - under_way), **settings)
            missing -= sum(map(len, ended))
            finished += ended
        return self._finish(finished)

    def _steps_under_way(self) -> int:
        return sum(len(episode) for episode in self._ongoing_episodes if episode is not None)

    def _advance(self, steps: int, **settings: Any) -> list[SingleAgentEpisode]:
        """Steps on and returns what ended; episodes under way stay in one piece."""
        sampled = super()._sample(num_timesteps=steps, **settings)
        whole = {episode.id_: episode for episode in sampled if not episode.is_done}
        self._ongoing_episodes = [whole.get(e.id_, e) for e in self._ongoing_episodes]
        self._ongoing_episodes_for_metrics.clear()
        return [episode for episode in sampled if episode.is_done]

    def play_once(self, *, explore: bool = False) -> list[SingleAgentEpisode]:
        """The first meta-episode of each sub-env from a reset on, in the order of the sub-envs."""
        self._reset_envs_and_episodes(explore)
        ended: dict[str, SingleAgentEpisode] = dict.fromkeys(e.id_ for e in self._ongoing_episodes)
        while None in ended.values():
            ended |= {e.id_: e for e in self._advance(1, explore=explore) if e.id_ in ended}
        self.get_metrics()  # nobody else empties them
        return list(ended.values())

    def _finish(self, episodes: list[SingleAgentEpisode]) -> list[SingleAgentEpisode]:
        """Adds what the learner needs of the last observation."""
        if not episodes:
            return episodes
        for episode, belief in zip(episodes, self._final_belief(episodes), strict=True):
            episode.custom_data[FINAL_BELIEF] = belief
        return [e.to_numpy() for e in episodes] if self.config.episodes_to_numpy else episodes

    @torch.inference_mode()
    def _final_belief(self, episodes: list[SingleAgentEpisode]) -> np.ndarray:
        """Beliefs `[len(episodes), D]` after the last observations."""
        module, label = self.module, self.module.needs_privileged

        def column(values: list[Any]) -> torch.Tensor:
            return torch.as_tensor(np.stack(values), dtype=torch.float32, device=self._device)

        state = [e.get_extra_model_outputs(Columns.STATE_OUT, -1) for e in episodes]
        step = module.step(
            column([e.get_observations(-1) for e in episodes]),
            module.encode_action(column([e.get_actions(-1) for e in episodes])),
            column([e.get_rewards(-1) for e in episodes]),
            {key: column([row[key] for row in state]) for key in state[0]},
            column([privileged_label(e, label) for e in episodes]) if label else None,
        )
        return step.belief.cpu().numpy()

    @override(SingleAgentEnvRunner)
    def set_state(self, state: Any) -> None:
        """Restores RLlib's state; a run that is resumed goes on with tasks it has not seen."""
        super().set_state(state)
        steps = int(state.get(NUM_ENV_STEPS_SAMPLED_LIFETIME) or 0)
        joins = self._needs_initial_reset and steps and not self.config.in_evaluation
        if joins and self.env is not None and not self.stream.incarnation:
            self._set_stream(replace(self.stream, incarnation=steps % 2**32))


class StepwiseHeldOut:
    """`HeldOut` for agents that act through connectors: its tasks, played on `StepwiseRunner`.

    Args:
        config: the agent's; its callbacks are not called here.
        episodes: how many meta-episodes.
        seed: chooses the held-out tasks.
    """

    def __init__(self, config: Any, episodes: int, seed: int) -> None:
        config = config.copy(copy_frozen=False)
        config.env_runners(num_env_runners=0, num_envs_per_env_runner=episodes)
        config.debugging(seed=None)  # RLlib would seed the generators of the whole process
        config.callbacks_class = RLlibCallback
        for name in [key for key in vars(config) if key.startswith("callbacks_on_")]:
            setattr(config, name, None)
        config.in_evaluation, config.held_out_seed = True, seed
        self.runner = StepwiseRunner(config=config, worker_index=0, num_workers=0)
        self._fast = HeldOut(config.env, config.env_config, 1, seed)

    def follow(self, runner: SingleAgentEnvRunner) -> None:
        """Takes over what the connectors of a runner that trains have learnt."""
        own = self.runner
        own._env_to_module.set_state(runner._env_to_module.get_state())
        own._module_to_env.set_state(runner._module_to_env.get_state())

    def evaluate(self, module: Any) -> dict[str, Any]:
        """Return, normalised score and references over the held-out tasks, as a dict."""
        self.runner.module = module
        played = self.runner.play_once()
        returns = np.array([episode.get_return() for episode in played])
        return summary(returns, sum(map(len, played)), self._fast.references())

    def close(self) -> None:
        """Closes the envs."""
        self.runner.stop()
        self._fast.close()
