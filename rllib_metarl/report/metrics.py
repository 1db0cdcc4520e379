"""What of a result is a metric, and which tag it has.

``python -m rllib_metarl.report.metrics`` prints `metric_table` for ``docs/metrics.md``, and a test
holds table, page and the tags of a real run equal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from rllib_metarl.report.metric_table import LEARNER, METRICS, RUNNERS

ENV_STEPS = "num_env_steps_sampled_lifetime"
"""Result key of the x-axis: env steps sampled since the first iteration, over resumptions."""

# What every RLlib algorithm on the new API stack reports besides the metrics above. Somebody may
# stop on these; they are not drawn.
_RLLIB_KEYS = (
    ENV_STEPS,
    "time_this_iter_s",
    "time_since_restore",
    "iterations_since_restore",
    *(
        prefix + RUNNERS + name
        for prefix in ("", "evaluation/")
        for name in (
            "episode_return_mean",
            "episode_return_max",
            "episode_return_min",
            "episode_len_mean",
            "episode_len_max",
            "episode_len_min",
            "episode_duration_sec_mean",
            "num_episodes",
            "num_episodes_lifetime",
            "num_env_steps_sampled",
            "num_env_steps_sampled_lifetime",
            "agent_episode_return_mean/default_agent",
            "module_episode_return_mean/default_policy",
        )
    ),
    *(
        LEARNER + name
        for name in (
            "total_loss",
            "vf_loss_unclipped",
            "curr_kl_coeff",
            "qf_loss",
            "qf_mean",
            "td_error_mean",
            "alpha_loss",
            "alpha_value",
            "num_module_steps_trained_lifetime",
        )
    ),
    "learners/__all_modules__/num_env_steps_trained_lifetime",
)

# Those of them that this project's runner and learners report.
_OWN_RLLIB_KEYS = (
    ENV_STEPS,
    "time_this_iter_s",
    "time_since_restore",
    "iterations_since_restore",
    *(
        RUNNERS + name
        for name in (
            "episode_return_max",
            "episode_return_min",
            "num_episodes",
            "num_episodes_lifetime",
            "num_env_steps_sampled",
            "num_env_steps_sampled_lifetime",
        )
    ),
    LEARNER + "num_module_steps_trained_lifetime",
)

# Numbers below these levels are RLlib's own bookkeeping, not a user's metric.
_BOOKKEEPING = re.compile(
    r"(^|/)(timers?|connectors?|num_|weights_seq_no|diff_num|perf|actor_manager|"
    r"env_to_module|module_to_env|learner_connector|agent_|module_|episode_|sample$|"
    r"snapshot/|time_between|rlmodule_|env_reset|env_step|curr_|total_loss|vf_loss|default_optimizer)"
)
# Keys that stand beside RLlib's own in the same row of the table.
_OURS = re.compile(r"timing/|evaluation/(?!env_runners/)|.*/policy_learning_rate")
_COUNTED = re.compile(r"(^|/)(num_|time_|iterations_|timesteps_|episode_len_|episode_duration_)")
_COUNTS = {
    *("meta-episodes", "times", "EnvRunners", "steps", "env steps", "gradient steps", "epochs"),
    *("env steps/s", "s", "iterations"),
}
_EXTRA_ROOTS = (RUNNERS, LEARNER, "evaluation/", "custom/")


def reported_keys(own: bool) -> list[str]:
    """Result keys that an algorithm reports, and that a stop criterion may name.

    Args:
        own: for this project's algorithms; False for RLlib's.
    """
    keys = {path for metric in METRICS if own or not metric.own for path in metric.paths}
    if own:
        keys = {key for key in keys if not key.startswith("evaluation/env_runners/")}
        return sorted(keys | set(_OWN_RLLIB_KEYS))
    return sorted({key for key in keys if not _OURS.match(key)} | set(_RLLIB_KEYS))


def is_reported(key: str, own: bool) -> bool:
    """Whether a stop criterion on ``key`` can ever be met."""
    return key in reported_keys(own)


def never_negative(key: str) -> bool:
    """Whether a result key counts something or is a time, so that it is 0 at least."""
    if _COUNTED.search(key):
        return True
    return any(key in metric.paths and metric.unit in _COUNTS for metric in METRICS)


def flatten(result: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested result as one dict with '/' between the levels."""
    flat: dict[str, Any] = {}
    for key, value in result.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}/"))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def tagged(result: Mapping[str, Any]) -> dict[str, float]:
    """Tag -> number, for every metric of the table that a result holds and that is finite."""
    flat = flatten(result)
    found: dict[str, float] = {}
    for metric in METRICS:
        for path in metric.paths:
            number = number_of(flat.get(path))
            if number is not None:
                found[metric.tag] = number
                break
    return found


def extras(result: Mapping[str, Any]) -> dict[str, float]:
    """``extra/<path>`` -> number, for numbers that a user's own callbacks or learner logged."""
    known = set(_RLLIB_KEYS) | {path for metric in METRICS for path in metric.paths}
    found: dict[str, float] = {}
    for path, value in flatten(result).items():
        if not path.startswith(_EXTRA_ROOTS) or path in known:
            continue
        number = number_of(value)
        if number is not None and not _BOOKKEEPING.search(path):
            found[f"extra/{path}"] = number
    return found


def markdown_table() -> str:
    """The table of ``docs/metrics.md``."""
    rows = ["| tag | result key | meaning | unit | healthy |", "|---|---|---|---|---|"]
    for m in METRICS:
        paths = "<br>".join(f"`{path}`" for path in m.paths)
        meaning = m.meaning.replace("|", "\\|")
        rows.append(f"| `{m.tag}` | {paths} | {meaning} | {m.unit} | {m.healthy} |")
    return "\n".join(rows)


def number_of(value: Any) -> float | None:
    """A finite number that a result holds, also one that is written as text; None for all else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def number_at(result: Mapping[str, Any], key: str) -> float:
    """The number at a key, 0 where there is none."""
    return number_of(result.get(key)) or 0.0


def steps_of(result: Mapping[str, Any]) -> float:
    """Where a report stands on the x-axis: its env steps, or else its iteration."""
    return number_at(result, ENV_STEPS) or number_at(result, "training_iteration")


if __name__ == "__main__":
    print(markdown_table())
