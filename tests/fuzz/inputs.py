"""The inputs as they should be, of which odd ones are made."""

from __future__ import annotations

import json
from typing import Any

import yaml

GRID = "DLCMDP/GridWorld-v0"
PLAIN: dict[str, Any] = {
    "run": "DynaMITE",
    "env": GRID,
    "stop": {"training_iteration": 3, "evaluation/normalised_score": 0.9},
    "num_samples": 2,
    "time_budget_s": 60,
    "checkpoint_config": {"checkpoint_frequency": 2, "num_to_keep": 3},
    "config": {"lr": [[0, 0.002], [3000, 0.0001]], "num_envs_per_env_runner": 4, "lambda": 0.95},
}
SWEEP: dict[str, Any] = {
    "run": "VariBAD",
    "env": GRID,
    "search_alg": "optuna",
    "scheduler": "asha",
    "scheduler_config": {"grace_period": 100_000, "reduction_factor": 3},
    "metric": "evaluation/return_mean",
    "num_samples": 4,
    "seeds": 2,
    "max_concurrent_trials": 1,
    "stop": {"num_env_steps_sampled_lifetime": 900_000},
    "config": {
        "lr": {"loguniform": [1e-4, 1e-2]},
        "belief_conditioning": {"choice": ["film", "concat"]},
        "belief_embedding": {"when": {"belief_conditioning": "film"}, "then": {"choice": [8, 16]}},
        "num_epochs": {"randint": [1, 4]},
        "env_config": {"horizon": {"choice": [20, 60]}},
        "evaluate_every_steps": 50_000,
    },
}
RLLIBS: dict[str, Any] = {
    "run": "PPO",
    "env": "CartPole-v1",
    "scheduler": "pbt",
    "metric": "env_runners/episode_return_mean",
    "num_samples": 4,
    "stop": {"training_iteration": 20},
    "config": {"lr": {"uniform": [1e-4, 1e-2]}, "model": {"fcnet_hiddens": [8]}},
}
EXPERIMENTS: tuple[dict[str, Any], ...] = (
    {"a": PLAIN},
    {"b": SWEEP},
    {"c": RLLIBS},
    {"plugins": ["math"], "a": PLAIN, "b": SWEEP},
)

CONFIG_OPTIONS: dict[str, Any] = {
    "lr": 0.001,
    "latent_size": 4,
    "policy_hidden": [16, 16],
    "session_masking": True,
    "env_config": {"horizon": 20, "size": 4},
    "belief_conditioning": "film",
}
ENV_CONFIG: dict[str, Any] = {"size": 3, "horizon": 6, "p_switch": 0.3}
VARIANTS: dict[str, Any] = {"fast": {"p_switch": 0.9}, "long": {"horizon": 8}}
FIT_CONFIG: dict[str, Any] = {
    "latent_size": 2,
    "context_window": 4,
    "encoder_embedding": [4],
    "forward_hidden": [4],
}

# --- a sweep as `rllib train` leaves it -----------------------------------------------------------

STATE = "experiment_state-2026-01-01_00-00-00.json"
_RECORD: dict[str, Any] = {
    "name": "mine",
    "run": "VariBAD",
    "env": GRID,
    "metric": "evaluation/return_mean",
    "mode": "max",
    "search_alg": "optuna",
    "scheduler": "asha",
    "scheduler_config": {"grace_period": 100},
    "seeds": [1, 2],
    "trials": 8,
    "stop": {"num_env_steps_sampled_lifetime": 900},
    "time_budget_s": None,
    "began": 1_767_000_000.0,
    "parameters": [
        {
            "name": "lr",
            "listed": None,
            "low": 1e-4,
            "high": 1e-2,
            "logarithmic": True,
            "describe": "loguniform [0.0001, 0.01]",
        },
        {
            "name": "env_config/horizon",
            "listed": [20, 60],
            "low": 0.0,
            "high": 0.0,
            "logarithmic": False,
            "describe": "choice [20, 60]",
        },
    ],
}


def tunes_record(trials: list[dict[str, str]]) -> bytes:
    """Tune's record of trials, with its JSON in JSON."""
    told = []
    for number, trial in enumerate(trials):
        about = {
            "trial_id": f"t{number}",
            "trainable_name": "VariBAD",
            "relative_logdir": trial["folder"],
            "status": trial["status"],
        }
        told.append([json.dumps(about), json.dumps({"error_filename": None})])
    return json.dumps({"trial_data": told}).encode()


def _reports(number: int) -> bytes:
    lines = [
        {
            "training_iteration": i,
            "num_env_steps_sampled_lifetime": 300 * i,
            "time_total_s": 2.0 * i,
            "timestamp": 1_767_000_000 + i,
            "done": i == 3,
            "evaluation": {"return_mean": 10.0 * i + number, "normalised_score": 0.1 * i},
        }
        for i in (1, 2, 3)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def sweep_files(seeds: list[int] | None = None, searched: bool = True) -> dict[str, bytes]:
    """File name -> content of a sweep with four configurations of two seeds each."""
    seeds = [1, 2] if seeds is None else seeds
    record = {**_RECORD, "seeds": seeds, "parameters": _RECORD["parameters"] if searched else []}
    files = {"sweep.json": json.dumps(record, indent=2).encode()}
    files["sweep.yaml"] = yaml.safe_dump({"mine": SWEEP}, sort_keys=False).encode()
    trials = []
    for number in range(8 if searched else len(seeds)):
        folder = f"VariBAD_DLCMDP_GridWorld-v0_{number:05}"
        config = {
            "lr": 0.0002 * (1 + number // 2),
            "env_config": {"horizon": 20 + 40 * (number % 2)},
        }
        config |= {"seed": seeds[number % 2], "env": GRID}
        files[f"{folder}/params.json"] = json.dumps(config).encode()
        files[f"{folder}/result.json"] = _reports(number)
        trials.append({"folder": folder, "status": "TERMINATED" if number else "RUNNING"})
    return files | {STATE: tunes_record(trials)}
