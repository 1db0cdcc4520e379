"""``rllib sweep status|best|resume``: what became of a sweep, and going on with it."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Any

from rllib_metarl.cli.output import check_writable, write_json
from rllib_metarl.errors import UserError
from rllib_metarl.reading import expanded


def status(directory: Path, metric: str | None, limit: int, json: Path | None) -> int:
    """``rllib sweep status``: the trials as a table; returns the exit code."""
    from rich.console import Console

    from rllib_metarl.cli.running.ray_session import quiet
    from rllib_metarl.report.sweep_data import read_sweep

    check_writable(json)
    sweep = read_sweep(directory, metric)
    with quiet():
        from rllib_metarl.cli.running.sweep_table import Row, table
    rows = [
        Row(one.number, one.status, one.values, one.value, one.env_steps, one.wall_s)
        for one in sweep.trials
    ]
    console = Console(file=sys.stdout, highlight=False)
    counts = ", ".join(f"{number} {status}" for status, number in sweep.counts().items())
    console.print(f"{sweep.name}: {counts}", markup=False, soft_wrap=True)
    if rows:
        console.print(table(rows, sweep.metric, sweep.maximises, limit))
    console.print(_closing(sweep), markup=False, soft_wrap=True)
    if json is not None:
        write_json(json, _as_json(sweep))
    return 0


def _closing(sweep: Any) -> str:
    reported = [trial.reported_at for trial in sweep.trials if trial.reported_at]
    if not reported:
        return "no trial has reported yet"
    age = max(0, int(time.time() - max(reported)))
    compared = f"compared by {sweep.metric} ({sweep.record['mode']}); " if sweep.metric else ""
    if sweep.metric and sweep.best is None:
        compared = f"no trial has reported {sweep.metric}; "
    return f"{compared}last report {age} s ago"


def _as_json(sweep: Any) -> dict[str, Any]:
    best = sweep.best
    return {
        "sweep": sweep.name,
        "metric": sweep.metric,
        "mode": sweep.record["mode"],
        "counts": sweep.counts(),
        "best": None
        if best is None
        else {"value": best.value, "trials": [trial.number for trial in best.trials]},
        "trials": [
            {
                "trial": trial.number,
                "id": trial.trial_id,
                "status": trial.status,
                "value": trial.value,
                "env_steps": trial.env_steps,
                "wall_s": trial.wall_s,
                "values": trial.values,
                "directory": str(trial.directory),
                "checkpoint": str(trial.checkpoint) if trial.checkpoint else None,
                "error": str(trial.error) if trial.error else None,
            }
            for trial in sweep.trials
        ],
    }


def best(directory: Path, metric: str | None, out: Path | None) -> int:
    """``rllib sweep best``: write the best configuration as an experiment file."""
    from rllib_metarl.cli.running.ray_session import quiet
    from rllib_metarl.report.sweep_data import read_sweep

    check_writable(out, "--out")
    sweep = read_sweep(directory, metric)
    with quiet():
        from rllib_metarl.cli.running.record import write_best
        from rllib_metarl.cli.running.sweep_table import best_line
    file = write_best(sweep, out)
    print(best_line(sweep))
    for trial in sweep.best.trials if sweep.best else ():
        print(f"checkpoint: {trial.checkpoint or 'none was written'}")
    print(f"train it: {shlex.join(['rllib', 'train', 'file', str(file)])}")
    return 0


def resume(
    directory: Path,
    ray_address: str | None,
    ray_num_cpus: int | None,
    json: Path | None,
    verbose: int,
    trust_checkpoint: bool = False,
    plugins: tuple[str, ...] = (),
) -> int:
    """``rllib sweep resume``: go on with a sweep that was interrupted."""
    from rllib_metarl.cli.train import Options, train_file
    from rllib_metarl.report.sweep_data import EXPERIMENT, read_sweep

    sweep = read_sweep(directory)
    directory = expanded(directory).absolute()
    if directory.name != sweep.name:
        raise UserError(
            f"{directory}: holds the sweep '{sweep.name}'; Tune finds it by that name, so rename "
            f"the directory to {directory.parent / sweep.name}"
        )
    options = Options(
        storage_path=str(directory.parent),
        resume=True,
        trust_checkpoint=trust_checkpoint,
        plugins=plugins,
        ray_address=ray_address,
        ray_num_cpus=ray_num_cpus,
        json=json,
        verbose=verbose,
    )
    file = directory / EXPERIMENT
    argv = ["train", "file", str(file), "--storage-path", str(directory.parent), "--resume"]
    return train_file(file, options, argv)
