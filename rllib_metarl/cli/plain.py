"""Evaluation of checkpoints of RLlib's own algorithms, by RLlib's own evaluation."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from rllib_metarl import checkpoints
from rllib_metarl.algorithms.belief.stored import POLICY
from rllib_metarl.errors import UserError

DESCRIPTION = "class_and_ctor_args.pkl"


def is_rllibs_own(checkpoint: Path) -> bool:
    """Whether a checkpoint holds one of RLlib's own algorithms.

    Raises:
        UserError: it takes a pickle to say, and the checkpoint is not trusted.
    """
    if (checkpoint / POLICY).is_file() or not (checkpoint / DESCRIPTION).is_file():
        return False
    checkpoints.require_trust(checkpoint)
    return _origin(checkpoint).startswith("ray.")


def evaluate_rllib(checkpoint: Path, episodes: int, seed: int | None) -> dict[str, Any]:
    """Greedy episodes of an RLlib checkpoint; the same keys as this project's evaluation.

    Must run inside a Ray session.

    Raises:
        UserError: the checkpoint cannot be restored.
    """
    config = _stored_config(checkpoint)
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
        algorithm.restore_from_path(str(checkpoint))
        result = algorithm.evaluate()["env_runners"]
    except (FileNotFoundError, RuntimeError, ValueError) as error:
        raise UserError(f"{checkpoint}: cannot be restored: {error}") from None
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
        "checkpoint": str(checkpoint),
    }


def _stored_config(checkpoint: Path) -> Any:
    """The AlgorithmConfig of a run; Tune hands an algorithm its config as a dict."""
    stored = _stored(checkpoint)
    config = stored["ctor_args_and_kwargs"][0][0]
    if isinstance(config, dict):
        return stored["class"].get_default_config().update_from_dict(config)
    return config.copy(copy_frozen=False)


def _origin(checkpoint: Path) -> str:
    try:
        return str(_stored(checkpoint)["class"].__module__)
    except (OSError, KeyError, ImportError, AttributeError, pickle.UnpicklingError, EOFError):
        # Whatever is wrong with it, the evaluation of this project's checkpoints tells it better.
        return ""


def _stored(checkpoint: Path) -> dict[str, Any]:
    stored: dict[str, Any] = pickle.loads((checkpoint / DESCRIPTION).read_bytes())
    return stored
