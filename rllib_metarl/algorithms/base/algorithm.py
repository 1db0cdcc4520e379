"""What all Algorithm classes share: training steps that are timed, watched and evaluated."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
)

from rllib_metarl.algorithms.base.exported import write_description, write_policy
from rllib_metarl.algorithms.base.generators import generator_states, set_generator_states
from rllib_metarl.algorithms.base.learner import MetaLearner
from rllib_metarl.algorithms.base.settings import Condition
from rllib_metarl.algorithms.base.snapshot import SNAPSHOT, take_snapshot
from rllib_metarl.algorithms.base.spare import Spare, finish
from rllib_metarl.compiler import no_compiler
from rllib_metarl.errors import UserError
from rllib_metarl.sampling.faults import noted_faults, reported_fault
from rllib_metarl.sampling.held_out import HeldOut
from rllib_metarl.sampling.runner import MetaEpisodeRunner, tolerance_of
from rllib_metarl.sampling.stepwise import StepwiseHeldOut

MAX_IDLE_ITERATIONS = 5
STARTING_S = 300.0
"""How long training waits for EnvRunners of which none is up; on a busy machine they start late."""
IDLE_PAUSE_S = 1.0
PING_TIMEOUT_S = 5.0
FAULTS = "faults.log"
GENERATORS = "process_generators"
RUNNERS = "runners_own"
REPLAY = "replay_buffer"

logger = logging.getLogger("rllib_metarl")


class MetaAlgorithm(Algorithm):
    """Samples meta-episodes, learns, and evaluates on held-out tasks every so many env steps.

    A mixin: it comes before the RLlib algorithm whose training step is used, as in
    ``class BeliefPPO(MetaAlgorithm, PPO)``, and its config is a `MetaConfig`.

    Attributes:
        CONFIG: the class of its config.
        METRICS: as `MetaLearner.METRICS`, of what the algorithm itself reports beside what all do.
        keeps_runners: whether a checkpoint holds what remote EnvRunners were doing.
    """

    CONFIG: ClassVar[Any]
    METRICS: ClassVar[dict[str, Condition | None]] = {}
    keeps_runners = True

    @classmethod
    @override(Algorithm)
    def get_default_config(cls) -> Any:
        return cls.CONFIG(algo_class=cls)

    @override(Algorithm)
    def setup(self, config: Any) -> None:
        self._held_out: HeldOut | None = None
        self._newest_evaluation: dict[str, float] = {}
        self._snapshot: dict[str, Any] | None = None
        self._idle = self._dropped = 0
        self._sampled_at = time.monotonic()
        self._spare = Spare()
        self._own_id = uuid.uuid4().hex[:8]
        try:
            with no_compiler():
                super().setup(config)
        except Exception:  # RLlib's own words, where an EnvRunner could not make its env
            message = reported_fault(self.trial_id)
            if message is None:
                raise
            raise UserError(message) from None
        folder = self.run_folder()
        self.learner_group.foreach_learner(lambda learner: _look_in(learner, folder))

    @property
    @override(Algorithm)
    def trial_id(self) -> str:
        """Tune's, or one of its own where Tune gives none, as after PBT has exploited a trial."""
        tunes: str = super().trial_id
        return f"{tunes}-{self._own_id}" if tunes == "default" else tunes

    def run_folder(self) -> Path:
        """Where this run's files are: the trial's folder, if that is on this machine."""
        storage = self._storage
        if storage is not None and Path(storage.trial_fs_path).is_dir():
            return Path(storage.trial_fs_path)
        return Path(self.logdir)

    @override(Algorithm)
    def step(self) -> Any:
        self._spare.look(self, self.run_folder())
        result = super().step()
        if self._snapshot is not None:  # lists, not a metric that could be reduced: reported once
            result.setdefault("evaluation", {})[SNAPSHOT] = self._snapshot
            self._snapshot = None
        return result

    @override(Algorithm)
    def training_step(self) -> None:
        before, start = self.env_steps(), time.perf_counter()
        self.sample_and_learn()
        self._check_faults(sampled=self.env_steps() > before)
        elapsed = time.perf_counter() - start
        rate = (self.env_steps() - before) / elapsed
        self.metrics.log_value(("timing", "env_steps_per_s"), rate, window=1)
        every = self.config.evaluate_every_steps
        evaluated_at = self._newest_evaluation.get("at_env_steps", 0)
        if every and self.env_steps() - evaluated_at >= every:
            self.evaluate_held_out()
        # Reported in every iteration (stop criteria and checkpoint scores need that);
        # at_env_steps says how old it is.
        self.metrics.log_dict(self._newest_evaluation, key="evaluation", window=1)

    def sample_and_learn(self) -> None:
        """Hook: here whole meta-episodes of all EnvRunners, and an update on each of `batches`."""
        episodes, sampled = synchronous_parallel_sample(
            worker_set=self.env_runner_group,
            max_agent_steps=self.config.total_train_batch_size,
            sample_timeout_s=self.config.sample_timeout_s,
            _uses_new_env_runners=True,
            _return_metrics=True,
        )
        if not episodes:
            return
        self.metrics.aggregate(sampled, key=ENV_RUNNER_RESULTS)
        steps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.env_steps()}
        for batch in self.batches(episodes):
            learnt = self.learner_group.update(episodes=batch, timesteps=steps)
            self.metrics.aggregate(learnt, key=LEARNER_RESULTS)
        self.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group, inference_only=True
        )

    def batches(self, episodes: list[Any]) -> Iterable[list[Any]]:
        """Hook: the meta-episodes that each update is on; here the newest ones, once.

        Off policy: `episodes` go into a replay buffer, and batches come out of it.
        """
        return [episodes]

    def _check_faults(self, sampled: bool) -> None:
        """Raises what RLlib's fault tolerance would hide: an env that fails again and again."""
        self._write_faults()
        self._restart_hung_runners()
        if not self.config.num_env_runners:
            return
        message = reported_fault(self.trial_id)
        message = message or self._idles(sampled)
        if message is not None:
            raise UserError(message)

    def _idles(self, sampled: bool) -> str | None:
        """What to tell where EnvRunners do not sample, and are not just starting either."""
        if sampled:
            self._idle, self._sampled_at = 0, time.monotonic()
            return None
        self._idle += 1
        starting = self.env_runner_group.num_healthy_remote_workers() == 0
        idle_s = time.monotonic() - self._sampled_at
        if self._idle >= MAX_IDLE_ITERATIONS and not (starting and idle_s < STARTING_S):
            return (
                f"no EnvRunner sampled a step in {self._idle} iterations ({idle_s:.0f} s). Run "
                "once with num_env_runners: 0 to see why; where a step is just slow, raise "
                "sample_timeout_s."
            )
        time.sleep(IDLE_PAUSE_S)  # all are starting: an iteration without them takes no time
        return None

    def _write_faults(self) -> None:
        """Writes the env faults that EnvRunners have tolerated to a file of the run."""
        news = noted_faults(self.trial_id)
        if news:
            with (self.run_folder() / FAULTS).open("a", encoding="utf-8") as file:
                file.writelines(f"{time.strftime('%F %T')} {line}\n" for line in news)

    def _restart_hung_runners(self) -> None:
        """Ends EnvRunners that do not answer; RLlib would send them samples forever.

        Of a sample that came too late RLlib has dropped the answer, so that nothing more is lost.
        """
        dropped = self.env_runner_group.num_env_runners_dropped_lifetime()
        before, self._dropped = self._dropped, dropped
        hung = self._silent_runners() if dropped > before else []
        for index, runner in hung:
            logger.warning(
                "EnvRunner %d did not answer within sample_timeout_s (%s s): its env hangs or is "
                "slow; it is restarted",
                *(index, self.config.sample_timeout_s),
            )
            ray.kill(runner, no_restart=False)
        self.metrics.log_value(("faults", "hung_env_runners"), len(hung), reduce="sum")

    def _silent_runners(self) -> list[tuple[int, Any]]:
        """The EnvRunners that do not even answer a ping, each with its index."""
        manager = self.env_runner_group._worker_manager
        runners = {index: manager.actors()[index] for index in manager.healthy_actor_ids()}
        pings = {runner.ping.remote(): index for index, runner in runners.items()}
        if not pings:  # all have died, which RLlib sees to
            return []
        _, silent = ray.wait(list(pings), num_returns=len(pings), timeout=PING_TIMEOUT_S)
        return [(pings[ping], runners[pings[ping]]) for ping in silent]

    def env_steps(self) -> int:
        """Env steps sampled so far, over restarts."""
        key = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
        return int(self.metrics.peek(key, default=0))

    def evaluate_held_out(self) -> dict[str, Any]:
        """Greedy evaluation on the held-out tasks; reported under ``evaluation/``."""
        if self._held_out is None:
            config = self.config
            self._held_out = self.make_held_out(config.held_out_episodes, config.held_out_seed)
        self._held_out.follow(self.env_runner)
        module = self.env_runner.module
        played = self._held_out.play(module)
        result = self._held_out.summary(played)
        tells = self.config.termination_head() is not None
        self._snapshot = take_snapshot(played, module, termination=tells)
        numbers = {key: value for key, value in result.items() if isinstance(value, (int, float))}
        self._newest_evaluation = numbers | {"at_env_steps": self.env_steps()}
        return result

    def make_held_out(self, episodes: int, seed: int) -> HeldOut:
        """Held-out tasks on which the policy acts as it does in training."""
        config = self.config
        if config.acts_through_connectors():
            return StepwiseHeldOut(config, episodes, seed)
        held_out: HeldOut = config.held_out(
            episodes, seed, tolerance_of(config), config.max_meta_episode_steps
        )
        return held_out

    @override(Algorithm)
    def save_to_path(self, path: Any = None, **kwargs: Any) -> Any:
        saved = super().save_to_path(path, **kwargs)
        if not kwargs.get("state") and Path(saved).is_dir():  # else stored elsewhere, or not it all
            write_description(Path(saved), self)
            write_policy(Path(saved), self)
        return saved

    @override(Algorithm)
    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Completes and seals a checkpoint before Tune stores it."""
        super().save_checkpoint(checkpoint_dir)
        finish(Path(checkpoint_dir), self._last_result)

    @override(Algorithm)
    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> Any:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component("newest_evaluation", components, not_components):
            state["newest_evaluation"] = dict(self._newest_evaluation)
        if self._check_component(GENERATORS, components, not_components):
            state[GENERATORS] = generator_states()
        if self._check_component(RUNNERS, components, not_components):
            state[RUNNERS] = self._runners_own()
        if self._keeps_replay() and self._check_component(REPLAY, components, not_components):
            state[REPLAY] = self.local_replay_buffer.get_state()
        return state

    def _keeps_replay(self) -> bool:
        """Whether checkpoints hold the replay buffer, which RLlib's new API stack leaves out."""
        stored = getattr(self.config, "store_buffer_in_checkpoints", False)
        return bool(stored) and self.local_replay_buffer is not None

    def _runners_own(self) -> dict[int, Any]:
        """The state of each remote EnvRunner that is no other's, by its index."""
        config = self.config
        if not (self.keeps_runners and issubclass(config.env_runner_cls, MetaEpisodeRunner)):
            return {}
        return dict(
            self.env_runner_group.foreach_env_runner(
                lambda runner: (runner.worker_index, runner.own_state()),
                local_env_runner=False,
                timeout_seconds=config.sample_timeout_s,
            )
        )

    @override(Algorithm)
    def set_state(self, state: Any) -> None:
        super().set_state(state)
        self._newest_evaluation = dict(state.get("newest_evaluation", self._newest_evaluation))
        if GENERATORS in state:
            set_generator_states(state[GENERATORS])
        self._set_runners_own(state.get(RUNNERS) or {})
        if self._keeps_replay() and REPLAY in state:
            self.local_replay_buffer.set_state(state[REPLAY])

    def _set_runners_own(self, states: dict[int, Any]) -> None:
        """Runners that there were not before begin streams of their own."""
        indices = [i for i in self.env_runner_group.healthy_worker_ids() if i in states]
        if indices:
            calls = [partial(_take_over, state=states[i]) for i in indices]
            self.env_runner_group.foreach_env_runner(
                calls, local_env_runner=False, remote_worker_ids=indices
            )

    @override(Algorithm)
    def cleanup(self) -> None:
        if self._held_out is not None:
            self._held_out.close()
        super().cleanup()


def _take_over(runner: Any, state: dict[str, Any]) -> None:
    """Gives a remote EnvRunner, of whatever class it is there, its own state back."""
    runner.set_own_state(state)


def _look_in(learner: Any, folder: Path) -> None:
    """Tells a learner that guards its updates where the run's files are."""
    if isinstance(learner, MetaLearner):
        learner.guard.look_in(folder)
