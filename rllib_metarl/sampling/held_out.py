"""Held-out evaluation: the same tasks each time, greedy, whole meta-episodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rllib_metarl.envs import Stream, Tolerance, hook_of
from rllib_metarl.sampling.collector import Collector, MetaEpisodeData
from rllib_metarl.sampling.envs import build_vector
from rllib_metarl.sampling.patience import MAX_STEPS

MAX_ENVS = 256


class HeldOut:
    """Plays `episodes` held-out meta-episodes of one env, the same ones at every call.

    Args:
        env: an env id, the name of a registered env, or a class.
        env_config: arguments of the env.
        episodes: how many meta-episodes.
        seed: chooses the held-out tasks; they differ from every training task.
        tolerance: how many faults of the env are tolerated; None tolerates none.
        max_steps: how many steps a meta-episode may have.
    """

    adapts = False
    """Whether the agent changes from meta-episode to meta-episode of a task."""

    def __init__(
        self,
        env: Any,
        env_config: dict[str, Any] | None,
        episodes: int,
        seed: int = 0,
        tolerance: Tolerance | None = None,
        max_steps: int = MAX_STEPS,
    ) -> None:
        self.episodes, self.max_steps = episodes, max_steps
        envs, self.per_env = spread(episodes)
        self.stream = Stream(seed, evaluation=True)
        self.env = build_vector(env, envs, env_config, self.stream, tolerance=tolerance)

    def play(
        self,
        module: Any,
        *,
        explore: bool = False,
        progress: Callable[[int], None] = lambda played: None,
    ) -> list[MetaEpisodeData]:
        """The meta-episodes, in the order of their tasks.

        Every sub-env contributes equally many, so that short meta-episodes are not over-counted.

        Args:
            module: acts: an `Actor`, or a module for one.
            explore: by sampling, else greedily.
            progress: called now and then with the number of meta-episodes played.
        """
        self.env.unwrapped.set_stream(self.stream)
        seed, most = self.stream.seed, self.max_steps
        collector = Collector(self.env, module, seed=seed, max_steps=most)
        collector.reset()
        by_env: dict[int, list[MetaEpisodeData]] = {i: [] for i in range(self.env.num_envs)}
        while min(map(len, by_env.values())) < self.per_env:
            for episode in collector.collect(min_episodes=1, explore=explore):
                by_env[episode.env_index].append(episode)
            progress(sum(min(len(own), self.per_env) for own in by_env.values()))
        return [by_env[i][k] for k in range(self.per_env) for i in by_env][: self.episodes]

    def follow(self, runner: Any) -> None:
        """Hook: takes over what a runner that trains has learnt beside its module; nothing here."""

    def references(self) -> dict[str, float] | None:
        """The env's exact reference returns, or None where it has none."""
        ask = hook_of(self.env, "reference_returns")
        return None if ask is None else ask()

    def evaluate(self, module: Any) -> dict[str, Any]:
        """Return, normalised score and references over the held-out tasks, as a dict."""
        return self.summary(self.play(module))

    def summary(self, played: list[MetaEpisodeData]) -> dict[str, Any]:
        """The numbers of `evaluate` for meta-episodes that were played here."""
        returns = np.array([episode.rewards.sum() for episode in played])
        references = self.references()
        return {
            "return_mean": float(returns.mean()),
            "return_std": float(returns.std()),
            "normalised_score": normalised_score(float(returns.mean()), references),
            "references": references,
            "episodes": len(played),
            "env_steps": int(sum(map(len, played))),
        }

    def shown(self, played: list[MetaEpisodeData]) -> list[MetaEpisodeData]:
        """Which meta-episodes are worth a look, the first ones first."""
        return played

    def close(self) -> None:
        """Closes the env."""
        self.env.close()


def spread(episodes: int) -> tuple[int, int]:
    """How many sub-envs play `episodes` meta-episodes, and how many each of them plays."""
    per_env = math.ceil(episodes / MAX_ENVS)
    return math.ceil(episodes / per_env), per_env


def normalised_score(value: float, references: dict[str, float] | None) -> float | None:
    """(return - blind) / (Bayes - blind): 0 does not use the latent, 1 uses it perfectly.

    None where the env does not give both references, or where the evidence is worth nothing
    (Bayes = blind), so that there is nothing to normalise by.
    """
    if not references or "blind" not in references or "bayes" not in references:
        return None
    gap = references["bayes"] - references["blind"]
    return (value - references["blind"]) / gap if gap > 1e-6 else None


def inner_returns(episodes: Sequence[Any]) -> dict[str, float]:
    """Mean return of each inner episode of a trial: how fast what was found is made use of.

    Args:
        episodes: meta-episodes with rewards `[T]` and the label inner_done `[T]`, 1 at the first
            step of every inner episode but the first.

    Returns:
        ``inner_return_1`` .. ``inner_return_K`` and ``last_inner_return``, the last of them; none
        where the label is missing, for then there is one inner episode.
    """
    if not all("inner_done" in e.labels for e in episodes):
        return {}
    numbers_of = [np.cumsum(np.ravel(e.labels["inner_done"])).astype(int) for e in episodes]
    count = 1 + max(int(numbers[-1]) for numbers in numbers_of)
    sums = np.array(
        [np.bincount(n, e.rewards, count) for n, e in zip(numbers_of, episodes, strict=True)]
    )
    means = [float(x) for x in sums.mean(axis=0)]
    numbers = {f"inner_return_{k}": mean for k, mean in enumerate(means, 1)}
    return numbers | {"last_inner_return": means[-1]}
