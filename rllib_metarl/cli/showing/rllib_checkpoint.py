"""Evaluation of checkpoints of RLlib's own algorithms, by RLlib's own evaluation."""

from __future__ import annotations

from typing import Any

from rllib_metarl.checkpoint import Checkpoint
from rllib_metarl.errors import UserError


def evaluate_rllib(checkpoint: Checkpoint, episodes: int, seed: int | None) -> dict[str, Any]:
    """Greedy episodes of an RLlib checkpoint; the same keys as this project's evaluation.

    Must run inside a Ray session.

    Raises:
        UserError: the checkpoint cannot be restored.
    """
    config = checkpoint.settings
    config.env_runners(num_env_runners=0)
    config.learners(num_learners=0)
    config.evaluation(
        evaluation_interval=1,
        evaluation_num_env_runners=0,
        evaluation_duration=episodes,
        evaluation_duration_unit="episodes",
        evaluation_config={"explore": False, "metrics_num_episodes_for_smoothing": episodes},
    )
    config.debugging(seed=seed)
    algorithm = config.build_algo()
    try:
        algorithm.restore_from_path(str(checkpoint.path))
        result = algorithm.evaluate()["env_runners"]
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        raise UserError(f"{checkpoint.path}: cannot be restored: {error}") from None
    finally:
        algorithm.stop()
    return {
        "run": config.algo_class.__name__,
        "env": str(config.env),
        "return_mean": float(result["episode_return_mean"]),
        "return_std": None,
        "normalised_score": None,
        "references": None,
        "episodes": int(result["num_episodes"]),
        "env_steps": int(result["num_env_steps_sampled"]),
        "checkpoint": str(checkpoint.path),
    }
