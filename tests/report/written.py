"""Run folders and evaluations as `rllib train` and `rllib evaluate` write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import rllib_metarl.envs  # noqa: F401  (registers the grid)
from tests.envs.filters import grid as exact_filter

GRID = "DLCMDP/GridWorld-v0"
CONFIG: dict[str, Any] = {"env": GRID, "gamma": 0.95, "session_masking": True}


def result(
    iteration: int, steps: int, value: float, evaluation: tuple[int, float] | None = None
) -> dict[str, Any]:
    """One line of `result.json`; evaluation: the steps it was made at and its return."""
    line: dict[str, Any] = {
        "training_iteration": iteration,
        "num_env_steps_sampled_lifetime": steps,
        "time_total_s": 2.0 * iteration,
        "env_runners": {"episode_return_mean": value},
        "learners": {"default_policy": {"vae_elbo": -1.0 / iteration}},
    }
    if evaluation is not None:
        at, mean = evaluation
        score = (mean - 29.2) / (46.15 - 29.2)
        line["evaluation"] = {"at_env_steps": at, "return_mean": mean, "normalised_score": score}
    return line


def write_run(
    folder: Path,
    lines: Sequence[dict[str, Any]],
    algorithm: str = "DynaMITE",
    trial: str = "00000",
    **config: Any,
) -> Path:
    """A trial's folder below an experiment's."""
    place = folder / f"{algorithm}_DLCMDP_GridWorld-v0_{trial}"
    place.mkdir(parents=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (place / "result.json").write_text(text)
    (place / "params.json").write_text(json.dumps(CONFIG | config))
    return place


def seeds(folder: Path, finals: Sequence[float], **config: Any) -> list[Path]:
    """One run a seed: three evaluations of which the second is the best, the last as given."""
    written = []
    for seed, final in enumerate(finals):
        values = (final - 10.0, final + 2.0, final)
        lines = [
            result(i, 100 * i, values[i - 1] - 1.0, (100 * i, values[i - 1])) for i in (1, 2, 3)
        ]
        name = str(config.get("session_masking", "")) + str(seed)
        written.append(write_run(folder, lines, trial=name, seed=seed, **config))
    return written


def meta_episode(seed: int, sharpness: float = 1.0) -> dict[str, Any]:
    """A real meta-episode on the grid: a walker that follows the exact filter's belief.

    sharpness: power to which the decoded odds differ from the exact ones; 1 is calibrated.
    """
    env: Any = gym.make(GRID, size=4, horizon=24, p_switch=0.15)
    observation, info = env.reset(seed=seed)
    observations, infos, actions, rewards = [observation], [info], [], []
    belief = np.array([0.5])
    for _ in range(24):
        goal = observation[4:6] if belief[-1] > 0.5 else observation[2:4]
        actions.append(_towards(goal - observation[:2]))
        observation, reward, _, _, info = env.step(actions[-1])
        observations.append(observation)
        infos.append(info)
        rewards.append(float(reward))
        belief = _exact(observations, rewards)
    return _recorded(np.array(observations), infos, actions, rewards, belief, sharpness)


def _exact(observations: list[Any], rewards: list[float]) -> Any:
    settings = {"size": 4, "horizon": 24, "p_switch": 0.15}
    return np.asarray(exact_filter(np.array([observations]), np.array([rewards]), **settings))[0]


def _towards(offset: Any) -> int:
    if abs(offset[0]) > 1e-3:
        return 0 if offset[0] > 0 else 2
    if abs(offset[1]) > 1e-3:
        return 1 if offset[1] > 0 else 3
    return 4


def _recorded(
    observations: Any,
    infos: list[dict[str, Any]],
    actions: list[int],
    rewards: list[float],
    belief: Any,
    sharpness: float,
) -> dict[str, Any]:
    cells = np.rint(observations * 3).astype(int)
    odds = (belief / (1 - belief + 1e-12)) ** sharpness
    decoded = odds / (1 + odds)
    switched = [int(info["switched"]) for info in infos]
    jump = np.abs(np.diff(belief, prepend=belief[0]))
    return {
        "return": sum(rewards),
        "horizon": len(rewards),
        "actions": actions,
        "rewards": rewards,
        "context": [[float(info["context"][0])] for info in infos],
        "session": [int(info["session"]) for info in infos],
        "switched": switched,
        "belief_mean": [[float(2 * p - 1), 0.0] for p in belief],
        "belief_std": [[float(np.sqrt(p * (1 - p)) + 0.05), 1.0] for p in belief],
        "decoded": [[1 - float(p), float(p)] for p in decoded],
        "exact": [[1 - float(p), float(p)] for p in belief],
        "classes": ["goal 0 pays", "goal 1 pays"],
        "termination": [float(min(1, j)) for j in jump],
        "termination_exact": [float(min(1, j)) for j in jump],
        "frame": {
            "kind": "grid",
            "size": 4,
            "position": [[int(y), int(x)] for x, y in cells[:, :2]],
            "goals": [[int(cells[0, 3]), int(cells[0, 2])], [int(cells[0, 5]), int(cells[0, 4])]],
        },
    }


def evaluation(run: Path, value: float = 45.0, episodes: int = 2) -> dict[str, Any]:
    """An evaluation of a run's last checkpoint, as `rllib evaluate` writes it."""
    return {
        "run": "DynaMITE",
        "env": GRID,
        "env_config": {},
        "return_mean": value,
        "return_std": 9.0,
        "normalised_score": (value - 29.2) / (46.15 - 29.2),
        "references": {"random": -3.1, "blind": 29.2, "bayes": 46.15, "oracle": 50.8},
        "episodes": 512,
        "env_steps": 30720,
        "held_out_seed": 0,
        "checkpoint": str(run / "checkpoint_000003"),
        "protocol": {
            "inner_episode_returns": None,
            "adaptation": [
                {
                    "gradient_steps": k,
                    "return_mean": 40.0 - 20.0 / (1 + k),
                    "return_standard_error": 0.5,
                    "env_steps": 2000.0 * k,
                }
                for k in range(4)
            ],
            "return_by_session": [
                {"session": k, "mean": 12.0 - k, "standard_error": 0.4, "episodes": 500 - 40 * k}
                for k in range(4)
            ],
            "reward_since_switch": [
                {"steps": k, "mean": 0.2 + 0.1 * k, "standard_error": 0.02, "count": 900}
                for k in range(8)
            ],
            "recovery_steps": 5.5,
            "detection_delay": 2.5,
            "return_by_context": [
                {"value": k, "mean": value + k, "standard_error": 0.5, "episodes": 256}
                for k in (0, 1)
            ],
            "stochastic_return_mean": value - 1.5,
        },
        **_of_the_belief(),
        "absent": {"crps": "the context is discrete"},
        "meta_episodes": [meta_episode(seed, 1.6) for seed in range(episodes)],
    }


def _of_the_belief() -> dict[str, Any]:
    """The sections that judge the belief."""
    ends = [0.55, 0.75, 0.95]
    return {
        "belief": {
            "probe": {"log_loss": 0.31, "accuracy": 0.86, "brier": 0.1},
            "exact": {"log_loss": 0.28, "accuracy": 0.87, "brier": 0.09},
            "nats_from_exact": 0.03,
        },
        "calibration": {
            "ece": 0.021,
            "ece_exact": 0.004,
            "reliability": [{"confidence": c, "accuracy": c - 0.03, "count": 99} for c in ends],
            "reliability_exact": [{"confidence": c, "accuracy": c, "count": 99} for c in ends],
        },
        "uncertainty": {
            "entropy_by_step": [0.69, 0.5, 0.4, 0.35],
            "entropy_by_step_exact": [0.69, 0.48, 0.36, 0.33],
            "out_of_distribution": {
                "no goal pays": {"entropy": 0.93, "elbo": 0.97},
                "both pay": {"entropy": 0.71, "elbo": 0.9},
            },
            "risk_coverage": [
                {"coverage": c, "risk": 0.13 * c, "threshold": 1 - c} for c in (0.2, 0.6, 1.0)
            ],
        },
        "termination": {
            "precision": 0.7,
            "recall": 0.6,
            "f1": 0.65,
            "auroc": 0.9,
            "auroc_exact": 0.92,
            "threshold": 0.5,
        },
    }
