"""LSTM-A3C: "Learning to reinforcement learn" with actors that do not wait for each other."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from ray.rllib.core import COMPONENT_LEARNER
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    WEIGHTS_SEQ_NO,
)

from rllib_metarl.algorithms.base.rllib_settings import MOST, SECONDS
from rllib_metarl.algorithms.base.settings import Condition, Setting, Whole
from rllib_metarl.algorithms.belief.algorithm import BeliefPPO
from rllib_metarl.algorithms.lstm_a2c.lstm_a2c import LSTMA2C, LSTMA2CConfig
from rllib_metarl.errors import UserError

_CALL = "sample_get_state_and_metrics"
_POLL_S = 0.001


class LSTMA3CConfig(LSTMA2CConfig):
    """Settings of LSTM-A3C: every actor's batch is a gradient step of its own, when it comes.

    `train_batch_size_per_learner` is the batch of *one* actor.
    """

    SETTINGS: ClassVar[dict[str, Setting]] = {
        "updates_per_iteration": Setting(Whole(1, MOST), "gradient steps between two reports"),
        "fetch_timeout_s": Setting(SECONDS, "seconds to wait for the first actor that is ready"),
    }

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class or LSTMA3C)
        self.num_env_runners = 2
        self.num_envs_per_env_runner = 16
        self.train_batch_size_per_learner = 1600
        self.updates_per_iteration = 10
        self.fetch_timeout_s = 1.0

    @property
    def total_train_batch_size(self) -> int:
        """One actor's batch times the actors: RLlib hands each its share of it."""
        return int(self.train_batch_size_per_learner) * max(1, self.num_env_runners)

    @override(LSTMA2CConfig)
    def validate(self) -> None:
        super().validate()
        if self.num_env_runners < 1 and not self.in_evaluation:
            raise UserError(
                f"num_env_runners is {self.num_env_runners}, but LSTM-A3C's actors are processes "
                "of their own: set it to 1 or more, or use LSTMA2C."
            )


class LSTMA3C(LSTMA2C):
    """Asynchronous actor-learners on the request machinery that RLlib's IMPALA samples with.

    Differs from Mnih et al. 2016: the actors send trajectories and the learner computes gradients,
    at its own newest weights, rather than the actors computing them at theirs; that is IMPALA's
    division of labour without its V-trace.
    """

    CONFIG = LSTMA3CConfig
    METRICS: ClassVar[dict[str, Condition | None]] = dict.fromkeys(
        ("asynchrony/updates", "asynchrony/staleness_mean", "asynchrony/staleness_max")
    )
    keeps_runners = False  # they are always in the middle of something

    @override(BeliefPPO)
    def sample_and_learn(self) -> None:
        updates, staleness = 0, []
        deadline = time.monotonic() + self.config.sample_timeout_s
        while updates < self.config.updates_per_iteration and time.monotonic() < deadline:
            self.env_runner_group.foreach_env_runner_async(_CALL, tag=_CALL)  # those that are idle
            for actor, (episodes, _, metrics) in self._delivered():
                staleness.append(self._weights_seq_no() - int(metrics[WEIGHTS_SEQ_NO].peek()))
                self.metrics.aggregate([metrics], key=ENV_RUNNER_RESULTS)
                self._learn_from(episodes)
                self._send_weights(actor)
                updates += 1
        self._report_asynchrony(staleness)

    def _delivered(self) -> list[tuple[int, Any]]:
        """What has come from any actor, the actor's index with it; waits for the first only.

        RLlib's own waiting is for *all* requests under way or the time-out, whichever is first:
        actors that take turns would run in lock-step.
        """
        end = time.monotonic() + self.config.fetch_timeout_s
        while True:
            ready = self.env_runner_group.fetch_ready_async_reqs(tags=_CALL, timeout_seconds=0.0)
            if ready or time.monotonic() > end:
                return ready
            time.sleep(_POLL_S)

    def _learn_from(self, episodes: Any) -> None:
        """One gradient step on one actor's meta-episodes, a reference to a list of them."""
        steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        results = self.learner_group.update(
            training_data=TrainingData(episodes_refs=[episodes]),
            timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps},
            num_epochs=1,
        )
        self.metrics.aggregate(results, key=LEARNER_RESULTS)

    def _send_weights(self, actor: int) -> None:
        """The newest weights to the one actor that has just delivered."""
        self.env_runner_group.sync_weights(
            from_worker_or_learner_group=self.learner_group,
            to_worker_indices=[actor],
            inference_only=True,
        )

    def _weights_seq_no(self) -> int:
        """How many gradient steps the learner has taken."""
        state = self.learner_group.get_state(components=f"{COMPONENT_LEARNER}/{WEIGHTS_SEQ_NO}")
        return int(state[COMPONENT_LEARNER][WEIGHTS_SEQ_NO])

    def _report_asynchrony(self, staleness: list[int]) -> None:
        if staleness:
            self.metrics.log_dict(
                {
                    "updates": len(staleness),
                    "staleness_mean": sum(staleness) / len(staleness),
                    "staleness_max": max(staleness),
                },
                key="asynchrony",
                window=1,
            )
