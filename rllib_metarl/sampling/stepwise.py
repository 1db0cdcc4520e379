"""RLlib's own EnvRunner for belief agents, where something of the user's runs at every env step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import VectorizeMode
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.spaces.space_utils import batch as stacked
from ray.util.debug import log_once

from rllib_metarl.columns import ACTION_MASK, BELIEF, FINAL_BELIEF, RECORDED
from rllib_metarl.compiler import no_compiler
from rllib_metarl.envs import EnvFault, Guard, Guarded, Plain, Stream, is_usable, read_label
from rllib_metarl.envs.core.faults import BrokenEnv
from rllib_metarl.errors import UserError
from rllib_metarl.models.step import Inputs
from rllib_metarl.sampling.collector import MetaEpisodeData, broken
from rllib_metarl.sampling.connectors import privileged_label
from rllib_metarl.sampling.envs import maker, making, said
from rllib_metarl.sampling.faults import carried
from rllib_metarl.sampling.held_out import HeldOut, spread
from rllib_metarl.sampling.patience import Patience
from rllib_metarl.sampling.runner import created, log_faults, stream_of, tolerance_of

SEEDS = "seed_streams"

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
    _ongoing_episodes: list[Any]

    @override(SingleAgentEnvRunner)
    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        self._generators: list[np.random.Generator] = []
        with no_compiler():
            super().__init__(config=config, **kwargs)
        self.episodes_to_numpy = False  # an episode under way must stay one that can grow
        for note in self.config.notes() if not self.worker_index else ():
            if log_once(f"rllib_metarl: {note}"):
                logger.warning(note)

    @override(SingleAgentEnvRunner)
    def make_env(self) -> None:
        if self.env is not None:
            self.env.close()
        config, index = self.config, self.worker_index or 0
        several = {VectorizeMode.ASYNC: AsyncVectorEnv}
        batch = several.get(VectorizeMode(config.gym_env_vectorize_mode), SyncVectorEnv)
        with carried(index, self.tune_trial_id), making(config.env):
            make = partial(_plain, maker(config.env, config.env_config, index, self.num_workers))
            made = [partial(make, i) for i in range(config.num_envs_per_env_runner)]
            self._guard = _guard_of(config, make)
            if self._guard is not None:
                spare = stream_of(config, index)
                made = [partial(_guarded, make, i, self._guard, spare) for i in range(len(made))]
            self.env = DictInfoToList(batch(made))
        self.num_envs = self.env.num_envs
        self._needs_initial_reset = True
        self._patience = Patience(said(config.env), max_steps=config.max_meta_episode_steps)
        created(self)
        if len(self._generators) != self.num_envs:  # else made again after an error: go on
            self._set_stream(stream_of(self.config, self.worker_index))

    def _set_stream(self, stream: Any) -> None:
        self.stream = stream
        self._generators = [stream.generator(i) for i in range(self.num_envs)]

    @override(SingleAgentEnvRunner)
    def _try_env_reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Seeds at first, and in evaluation each time, there from the streams' beginning."""
        evaluation = self.config.in_evaluation
        if evaluation and self._needs_initial_reset:
            self._set_stream(self.stream)
        seeds: Any = None
        if evaluation or self._needs_initial_reset:
            seeds = [int(rng.integers(2**32)) for rng in self._generators]
        with self._blamed():
            return super()._try_env_reset(seed=seeds, options=options)

    @override(SingleAgentEnvRunner)
    def _try_env_step(self, actions: Any) -> Any:
        self._patience.look(max(len(e) for e in self._ongoing_episodes if e is not None))
        with self._blamed():
            return super()._try_env_step(actions)

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """Names the env where it returns what cannot be used; RLlib has no other word for it."""
        guard = self._guard
        try:
            yield
            # RLlib may have made the envs again, for ever; it may also have let it through.
            if guard is not None and guard.broken is not None:
                raise guard.broken
        except BrokenEnv as error:
            raise broken(said(self.config.env), error) from error
        except (EnvFault, RuntimeError) as error:
            fault = error if isinstance(error, EnvFault) else error.__cause__
            if isinstance(fault, BrokenEnv):
                raise broken(said(self.config.env), fault) from error
            if not isinstance(fault, EnvFault):
                raise
            raise UserError(f"env {said(self.config.env)} {fault}. Fix the env.") from error

    @override(SingleAgentEnvRunner)
    def _sample(self, **settings: Any) -> list[SingleAgentEpisode]:
        if self._guard is not None:
            self._guard.look_at_the_clock()
        try:
            with carried(self.worker_index, self.tune_trial_id):
                return self._sample_whole(**settings)
        finally:
            self._log_faults()

    def _log_faults(self) -> None:
        guard, new, news = self._guard, 0, []
        if guard is not None:
            new, guard.faults = guard.faults, 0
            news, guard.news = guard.news, []
        log_faults(self, new, news)

    def _sample_whole(
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

    def play(self, per_env: int, *, explore: bool = False) -> list[SingleAgentEpisode]:
        """`per_env` meta-episodes of each sub-env from its stream's start, env by env in turn."""
        self._needs_initial_reset = True
        played = [e for _ in range(per_env) for e in self._play_one(explore)]
        self._needs_initial_reset = True
        self.get_metrics()  # nobody else empties them
        return self._finish(played)

    def _play_one(self, explore: bool) -> list[SingleAgentEpisode]:
        """The first meta-episode of each sub-env from a reset on."""
        self._reset_envs_and_episodes(explore)
        ended: dict[str, Any] = dict.fromkeys(e.id_ for e in self._ongoing_episodes)
        while None in ended.values():
            ended |= {e.id_: e for e in self._advance(1, explore=explore) if e.id_ in ended}
        return list(ended.values())

    def _finish(self, episodes: list[SingleAgentEpisode]) -> list[SingleAgentEpisode]:
        """Flattens observations, and adds what the learner needs of the last one."""
        if not episodes:
            return episodes
        for episode in episodes:
            self._flatten(episode)
        for episode, belief in zip(episodes, self._final_belief(episodes), strict=True):
            episode.custom_data[FINAL_BELIEF] = belief
        return [e.to_numpy() for e in episodes] if self.config.episodes_to_numpy else episodes

    def _flatten(self, episode: SingleAgentEpisode) -> None:
        """Has an episode hold observations as the module reads them, `[T + 1, O]`."""
        codec = self.module.observations
        if codec.plain and not codec.carries_mask:
            return
        raw = [episode.get_observations(i) for i in range(len(episode) + 1)]
        flat = codec.flatten(stacked(raw))
        episode.observation_space = codec.flat_space
        episode.observations = InfiniteLookbackBuffer(list(flat), space=codec.flat_space)

    @torch.inference_mode()
    def _final_belief(self, episodes: list[SingleAgentEpisode]) -> np.ndarray:
        """Beliefs `[len(episodes), D]` after the last observations."""
        module, label = self.module, self.module.needs_privileged

        def column(values: list[Any]) -> torch.Tensor:
            return torch.as_tensor(np.stack(values), dtype=torch.float32, device=self._device)

        state = [e.get_extra_model_outputs(Columns.STATE_OUT, -1) for e in episodes]
        inputs = Inputs(
            column([e.get_observations(-1) for e in episodes]),
            module.encode_action(column([e.get_actions(-1) for e in episodes])),
            column([e.get_rewards(-1) for e in episodes]),
            {key: column([row[key] for row in state]) for key in state[0]},
            column([privileged_label(e, label) for e in episodes]) if label else None,
        )
        return module.step(inputs).belief.cpu().numpy()

    @override(SingleAgentEnvRunner)
    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> Any:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self.env is not None and self._check_component(SEEDS, components, not_components):
            states = [rng.bit_generator.state for rng in self._generators]
            state[SEEDS] = {"worker_index": self.stream.worker_index, "states": states}
        return state

    @override(SingleAgentEnvRunner)
    def set_state(self, state: Any) -> None:
        """Restores `get_state()`; new meta-episodes begin, with tasks that the run has not seen.

        As in `MetaEpisodeRunner`, a worker that joins with another's state leaves the beginning of
        its stream.
        """
        super().set_state(state)
        if self.env is None or self.config.in_evaluation:
            return
        steps = int(state.get(NUM_ENV_STEPS_SAMPLED_LIFETIME) or 0)
        stored = state.get(SEEDS, {})
        if stored.get("worker_index") == self.stream.worker_index:
            for rng, saved in zip(self._generators, stored["states"], strict=True):
                rng.bit_generator.state = saved
            self._needs_initial_reset = True
        elif self._needs_initial_reset and steps and not self.stream.incarnation:
            self._set_stream(replace(self.stream, incarnation=steps % 2**32))


class StepwiseHeldOut(HeldOut):
    """Held-out evaluation of agents that act through connectors, on `StepwiseRunner`.

    Args:
        config: the agent's; its callbacks are not called here.
        episodes: how many meta-episodes.
        seed: chooses the held-out tasks. Where the env is natively vectorised they are not those
            that `HeldOut` chooses by the same seed.
    """

    def __init__(self, config: Any, episodes: int, seed: int) -> None:
        arguments = config.held_out_arguments()
        super().__init__(config.env, arguments, 1, seed)  # for the references alone
        self.episodes = episodes
        envs, self.per_env = spread(episodes)
        config = config.copy(copy_frozen=False)
        config.environment(env_config=arguments)
        config.env_runners(num_env_runners=0, num_envs_per_env_runner=envs)
        config.debugging(seed=None)  # RLlib would seed the generators of the whole process
        config.callbacks_class = RLlibCallback
        for name in [key for key in vars(config) if key.startswith("callbacks_on_")]:
            setattr(config, name, None)
        config.in_evaluation, config.held_out_seed = True, seed
        config.max_env_faults = 0  # a score of truncated meta-episodes would be no score
        with torch.random.fork_rng():  # an evaluation leaves no trace in training
            self.runner = StepwiseRunner(config=config, worker_index=0, num_workers=0)

    @override(HeldOut)
    def follow(self, runner: SingleAgentEnvRunner) -> None:
        """Takes over what the connectors of a runner that trains have learnt."""
        own = self.runner
        own._env_to_module.set_state(runner._env_to_module.get_state())
        own._module_to_env.set_state(runner._module_to_env.get_state())

    @override(HeldOut)
    def play(
        self,
        module: Any,
        *,
        explore: bool = False,
        progress: Callable[[int], None] = lambda played: None,
    ) -> list[MetaEpisodeData]:
        """The meta-episodes in the order of their tasks, observations as the module saw them."""
        self.runner.module = module
        played = self.runner.play(self.per_env, explore=explore)
        progress(len(played))
        envs = self.runner.num_envs
        return [_meta_episode(e, i % envs) for i, e in enumerate(played)][: self.episodes]

    @override(HeldOut)
    def close(self) -> None:
        self.runner.stop()
        super().close()


def _plain(make: Callable[[int], gym.Env], index: int) -> gym.Env:
    return Plain(make(index))


def _guard_of(config: Any, make: Callable[[int], gym.Env]) -> Guard | None:
    tolerance = tolerance_of(config)
    if tolerance is None:
        return None
    guard = Guard(make, tolerance)
    guard.name = said(config.env)
    return guard


def _guarded(make: Callable[[int], gym.Env], index: int, guard: Guard, stream: Stream) -> gym.Env:
    seed = int(stream.generator(index).integers(2**32))
    return Guarded(make, index, guard, np.random.default_rng([seed, 1]))


def _meta_episode(episode: SingleAgentEpisode, env_index: int) -> MetaEpisodeData:
    infos = episode.get_infos()[:-1]
    output = episode.get_extra_model_outputs
    labels = {key: read_label(key, infos) for key in RECORDED if is_usable(key, infos[0])}
    if ACTION_MASK in episode.extra_model_outputs:
        labels[ACTION_MASK] = output(ACTION_MASK)
    return MetaEpisodeData(
        observations=episode.get_observations(),
        actions=episode.get_actions(),
        rewards=episode.get_rewards(),
        belief=output(BELIEF),
        logits=output(Columns.ACTION_DIST_INPUTS),
        log_prob=output(Columns.ACTION_LOGP),
        final_belief=episode.custom_data[FINAL_BELIEF],
        terminated=episode.is_terminated,
        truncated=episode.is_truncated,
        env_index=env_index,
        labels=labels,
    )
