"""The Algorithm class of all belief-based agents: PPO's training step, timed and evaluated."""

from __future__ import annotations

import time
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPO
from ray.rllib.utils.annotations import override
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from rllib_metarl.algorithms.belief.config import BeliefConfig
from rllib_metarl.sampling.held_out import HeldOut


class BeliefPPO(PPO):
    """Samples meta-episodes, learns, and evaluates on held-out tasks every so many env steps."""

    @classmethod
    @override(PPO)
    def get_default_config(cls) -> AlgorithmConfig:
        return BeliefConfig(algo_class=cls)

    @override(PPO)
    def setup(self, config: Any) -> None:
        super().setup(config)
        self._held_out: HeldOut | None = None
        self._evaluated_at = 0
        self._newest_evaluation: dict[str, float] = {}

    @override(PPO)
    def training_step(self) -> None:
        before, start = self.env_steps(), time.perf_counter()
        super().training_step()
        elapsed = time.perf_counter() - start
        rate = (self.env_steps() - before) / elapsed
        self.metrics.log_value(("timing", "env_steps_per_s"), rate, window=1)
        every = self.config.evaluate_every_steps
        if every and self.env_steps() - self._evaluated_at >= every:
            self._evaluated_at = self.env_steps()
            self.evaluate_held_out()
        # Reported in every iteration (stop criteria and checkpoint scores need that);
        # at_env_steps says how old it is.
        self.metrics.log_dict(self._newest_evaluation, key="evaluation", window=1)

    def env_steps(self) -> int:
        """Env steps sampled so far, over restarts."""
        key = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
        return int(self.metrics.peek(key, default=0))

    def evaluate_held_out(self) -> dict[str, Any]:
        """Greedy evaluation on the held-out tasks; reported under ``evaluation/``."""
        config = self.config
        if self._held_out is None:
            self._held_out = HeldOut(
                config.env, config.env_config, config.held_out_episodes, config.held_out_seed
            )
        result = self._held_out.evaluate(self.env_runner.module)
        numbers = {key: value for key, value in result.items() if isinstance(value, (int, float))}
        self._newest_evaluation = numbers | {"at_env_steps": self.env_steps()}
        return result

    @override(PPO)
    def cleanup(self) -> None:
        if self._held_out is not None:
            self._held_out.close()
        super().cleanup()
