"""Held-out tasks that an agent adapts to, gradient step by gradient step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rllib_metarl.algorithms.maml.adaptation import Adaptation, adapted, shared, task_steps
from rllib_metarl.algorithms.maml.module import AdaptedModule
from rllib_metarl.algorithms.maml.runner import require_tasks, task_generator
from rllib_metarl.envs import Stream, Tolerance
from rllib_metarl.learning.batch import rollout_from_meta_episodes
from rllib_metarl.sampling.acting import Actor
from rllib_metarl.sampling.collector import Collector, MetaEpisodeData
from rllib_metarl.sampling.envs import build_vector
from rllib_metarl.sampling.held_out import HeldOut
from rllib_metarl.sampling.patience import MAX_STEPS

MOST_ROWS = 2048
"""Sub-envs at most that play at once."""


class AdaptingHeldOut(HeldOut):
    """Plays held-out tasks after 0, 1, 2, ... gradient steps, with new meta-episodes each time.

    Differs from `HeldOut`: a task is played by `adaptation.rollouts` meta-episodes before each step
    and after the last; actions are always drawn, never greedy, as adapting needs what varies.

    Args:
        env, env_config, seed, tolerance, max_steps: as `HeldOut` takes them.
        episodes: how many tasks.
        adaptation: how they are adapted to.
    """

    adapts = True

    def __init__(
        self,
        env: Any,
        env_config: dict[str, Any] | None,
        episodes: int,
        seed: int = 0,
        tolerance: Tolerance | None = None,
        max_steps: int = MAX_STEPS,
        *,
        adaptation: Adaptation,
    ) -> None:
        self.episodes, self.max_steps, self.adaptation = episodes, max_steps, adaptation
        rounds = math.ceil(episodes / max(1, MOST_ROWS // adaptation.rollouts))
        self.at_once = math.ceil(episodes / rounds)
        self.stream = Stream(seed, evaluation=True)
        rows = self.at_once * adaptation.rollouts
        self.env = build_vector(env, rows, env_config, self.stream, tolerance=tolerance)
        require_tasks(self.env)
        self._phases: list[list[MetaEpisodeData]] = []
        self._skipped: list[int] = []
        self._spent: list[int] = []

    def play(
        self,
        module: Any,
        *,
        explore: bool = True,
        progress: Callable[[int], None] = lambda played: None,
    ) -> list[MetaEpisodeData]:
        """The first meta-episode of each task after the last step; see `summary` for the others.

        Args:
            module: a `MAMLModule`, or an `Actor` with one.
            explore: unused: actions are drawn.
            progress: called now and then with the number of tasks played.
        """
        module = module.module if isinstance(module, Actor) else module
        env, tasks = self.env.unwrapped, task_generator(self.stream)
        env.set_stream(self.stream)
        drawn = tasks.random((self.episodes, env.task_width))
        collector = Collector(self.env, module, seed=self.stream.seed, max_steps=self.max_steps)
        phases: list[list[MetaEpisodeData]] = [[] for _ in range(self.adaptation.steps + 1)]
        self._skipped, self._spent = [0] * len(phases), [0] * len(phases)
        for begin in range(0, self.episodes, self.at_once):
            here = np.arange(begin, begin + self.at_once) % self.episodes
            env.hold_tasks(drawn, np.repeat(here, self.adaptation.rollouts))
            new = min(self.at_once, self.episodes - begin)
            adapting = self._adapt(collector, module, new)
            for all_of_phase, played in zip(phases, adapting, strict=True):
                all_of_phase += played[: new * self.adaptation.rollouts]
            progress(begin + new)
        self._phases = phases
        return phases[-1][:: self.adaptation.rollouts]

    def _adapt(
        self, collector: Collector, module: Any, new: int
    ) -> Iterator[list[MetaEpisodeData]]:
        """Meta-episodes of all rows before each step, and after the last; `new` tasks count."""
        a, weights, collecting = self.adaptation, shared(module, self.at_once), module.collecting()
        collector.act_with(module)
        for step in range(a.steps + 1):
            played = collector.collect_round()
            yield played
            if step < a.steps:
                if collecting is not module:  # a policy of its own finds what is learnt from
                    collector.act_with(collecting)
                    played = collector.collect_round()
                self._spent[step + 1] += sum(map(len, played[: new * a.rollouts]))
                rollout = rollout_from_meta_episodes(played, module)
                steps = task_steps(rollout, self.at_once, a)
                weights, sound = adapted(module, weights, steps, a.rate_of(step), a.loss)
                self._skipped[step + 1] += int((~sound[:new]).sum())
                collector.act_with(AdaptedModule(module, weights))

    def summary(self, played: list[MetaEpisodeData]) -> dict[str, Any]:
        """As `HeldOut.summary`, after the last step and over all meta-episodes, and the way there.

        ``return_mean`` is over the meta-episodes of all tasks, ``return_std`` of the tasks' means;
        ``return_after_0``, ``return_after_1``, ... are the means after so many steps, and
        ``protocol.adaptation`` is the `curve`.
        """
        curve = self.curve()
        told = super().summary(played)
        last = curve[-1]
        for row in curve:
            told[f"return_after_{row['gradient_steps']}"] = row["return_mean"]
        steps = sum(len(episode) for phase in self._phases for episode in phase)
        return told | {
            "return_mean": last["return_mean"],
            "return_std": last["return_std"],
            "env_steps": steps,
            "protocol": {
                "adaptation": curve,
                "return_standard_error": last["return_standard_error"],
            },
        }

    def shown(self, played: list[MetaEpisodeData]) -> list[MetaEpisodeData]:
        """Of each task its first meta-episode before any step, and after the last."""
        before = self._phases[0][:: self.adaptation.rollouts]
        return [episode for pair in zip(before, played, strict=True) for episode in pair]

    def curve(self) -> list[dict[str, float]]:
        """What the newest `play` was worth after each number of gradient steps.

        Of each: ``gradient_steps``; ``return_mean``; ``return_std`` over tasks, and the mean's
        standard error from it; ``env_steps``, how many a task had cost before the policy that
        earned it was there; ``skipped_tasks``, how many kept their weights in the step before, as
        its gradient was NaN or infinite.
        """
        told = []
        for step, phase in enumerate(self._phases):
            returns = np.array([episode.rewards.sum() for episode in phase])
            by_task = returns.reshape(self.episodes, -1).mean(1)
            told.append(
                {
                    "gradient_steps": step,
                    "return_mean": float(by_task.mean()),
                    "return_std": float(by_task.std()),
                    "return_standard_error": float(
                        by_task.std() / max(self.episodes - 1, 1) ** 0.5
                    ),
                    "env_steps": sum(self._spent[: step + 1]) / self.episodes,
                    "skipped_tasks": self._skipped[step],
                }
            )
        return told
