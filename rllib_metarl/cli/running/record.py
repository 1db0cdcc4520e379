"""What a sweep leaves beside its trials: what it searched, how to go on, and its best config."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import yaml

from rllib_metarl.checkpoints import write_whole
from rllib_metarl.cli.experiment.prepare import Prepared
from rllib_metarl.cli.experiment.source import read_yaml
from rllib_metarl.cli.experiment.space import Parameter, place
from rllib_metarl.cli.experiment.sweep import Sweep
from rllib_metarl.cli.running.sweep_trust import seal_experiment
from rllib_metarl.errors import UserError
from rllib_metarl.report.sweep_data import BEST, EXPERIMENT, RECORD, Candidate, SweepData

SWEEP_KEYS = (
    "num_samples",
    "search_alg",
    "search_seed",
    "scheduler",
    "scheduler_config",
    "metric",
    "mode",
    "seeds",
    "max_concurrent_trials",
    "time_budget_s",
)
"""Keys of an experiment that a single training does not have."""


def write_record(experiment: Prepared, directory: Path) -> None:
    """Write what `rllib sweep` and `rllib report` need to know, before the first trial starts."""
    sweep = experiment.sweep
    assert sweep is not None
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_record(experiment, sweep), indent=2, default=str) + "\n"
    write_whole(directory / RECORD, text.encode())
    written = {**experiment.written, "storage_path": experiment.storage}
    head = f"# The sweep in this directory.\n#\n#   rllib sweep resume {directory}\n"
    text = head + _yaml({experiment.name: written})
    write_whole(directory / EXPERIMENT, text.encode())
    seal_experiment(directory)


def _record(experiment: Prepared, sweep: Sweep) -> dict[str, Any]:
    spec = experiment.spec
    return {
        "name": experiment.name,
        "run": spec.run,
        "env": experiment.config.get("env"),
        "metric": sweep.metric,
        "mode": sweep.mode,
        "search_alg": sweep.search,
        "scheduler": sweep.scheduler,
        "scheduler_config": sweep.settings,
        "seeds": list(sweep.space.seeds),
        "trials": sweep.trials,
        "stop": spec.stop,
        "time_budget_s": spec.time_budget_s,
        "began": time.time(),
        "parameters": [_parameter(one) for one in sweep.space.parameters],
    }


def _parameter(one: Parameter) -> dict[str, Any]:
    """As `SearchedKey` takes it; with the value elsewhere among those that may come."""
    listed: list[Any] | None = list(one.values) or None
    if listed is not None and one.when and one.otherwise not in listed:
        listed.append(one.otherwise)
    return {
        "name": one.name,
        "listed": listed,
        "low": one.low,
        "high": one.high,
        "logarithmic": one.logarithmic,
        "describe": one.describe(),
    }


def best_experiment(sweep: SweepData) -> str:
    """The best configuration as an experiment file.

    Raises:
        UserError: no trial has reported the metric yet, or the sweep's file is missing or damaged.
    """
    best = sweep.best
    if best is None:
        raise UserError(
            f"{sweep.directory}: no trial has reported {sweep.metric or 'a metric'} yet; wait for "
            "one, or name another by --metric"
        )
    file = sweep.directory / EXPERIMENT
    try:
        written = read_yaml(file).data[sweep.name]
        spec = {key: value for key, value in written.items() if key not in SWEEP_KEYS}
        # A resumed sweep has its trials in another order.
        seeds = list(sweep.record["seeds"] or [None])
        values = [trial.values for trial in best.trials]
        _fill(spec, min(values, key=lambda one: seeds.index(one.get("seed", seeds[0]))))
    except (UserError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{file}: missing or damaged ({error}); it belongs to the sweep") from None
    return _heading(sweep, best) + _yaml({f"{sweep.name}-best": spec})


def _fill(spec: dict[str, Any], values: dict[str, Any]) -> None:
    """Puts a trial's values in place of what was searched."""
    config = spec.setdefault("config", {})
    for name, value in values.items():
        path = [int(key) if key.isdigit() else key for key in name.split("/")]
        if path == ["env"] and "env" in spec:
            spec["env"] = value
        else:
            place(config, tuple(path), copy.deepcopy(value))


def _heading(sweep: SweepData, best: Candidate) -> str:
    steps = max(trial.env_steps for trial in best.trials)
    seeds = f", mean of {len(best.trials)} seeds" if sweep.record["seeds"] else ""
    lines = [
        f"The best of {len(sweep.candidates)} configurations of the sweep {sweep.name}: "
        f"{sweep.metric} {best.value:.6g}{seeds}, after {steps:,} env steps.",
        "",
        f"  rllib train file {BEST}",
    ]
    if sweep.record["scheduler"] in ("pbt", "pb2"):
        lines += [
            "",
            f"{sweep.record['scheduler'].upper()} changed these values while the trial trained, "
            "and took weights over from others:",
            "these are the last ones, and training with them from the start is another experiment.",
        ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def write_best(sweep: SweepData, file: Path | None = None) -> Path:
    """Write the best configuration, into the sweep's directory by default; returns the file.

    Raises:
        UserError: there is none yet, or the file cannot be written.
    """
    file = file or sweep.directory / BEST
    text = best_experiment(sweep)
    try:
        write_whole(file, text.encode())
    except OSError as error:
        raise UserError(f"--out {file}: cannot be written: {error.strerror}") from None
    return file


def _yaml(data: dict[str, Any]) -> str:
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=100)
