"""``rllib evaluate``: greedy return of a checkpoint on held-out tasks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rllib_metarl.cli.output import check_writable, write_json
from rllib_metarl.cli.session import quiet, ray_session
from rllib_metarl.cli.source import read_json
from rllib_metarl.errors import UserError


def evaluate(
    checkpoint: Path,
    episodes: int,
    seed: int | None,
    env_config: str | None,
    json: Path | None,
    plugins: tuple[str, ...],
) -> int:
    """Evaluate a checkpoint, print a table and write it as JSON; returns the exit code."""
    path = find_checkpoint(checkpoint)
    check_writable(json)
    changed = read_json("--env-config", env_config).data
    with quiet():
        result = _evaluate(path, episodes, seed, changed, plugins)
    if json is not None:
        write_json(json, result)
    show(result, Console(highlight=False))
    return 0


def _evaluate(
    path: Path,
    episodes: int,
    seed: int | None,
    env_config: dict[str, Any],
    plugins: tuple[str, ...],
) -> dict[str, Any]:
    from rllib_metarl.cli.catalogue import register_everything
    from rllib_metarl.cli.plain import evaluate_rllib, is_rllibs_own
    from rllib_metarl.cli.values import import_plugin
    from rllib_metarl.evaluation.protocol import evaluate_checkpoint

    sys.path.append(str(Path.cwd()))
    register_everything()
    for plugin in plugins:
        import_plugin(plugin)
    if not is_rllibs_own(path):
        return evaluate_checkpoint(path, episodes, seed, env_config)
    if env_config:
        raise UserError(
            "--env-config is for this project's algorithms; for one of RLlib's own, train and "
            "evaluate it on an env registered with those arguments."
        )
    with ray_session(list(plugins)):
        return evaluate_rllib(path, episodes, seed)


def find_checkpoint(path: Path) -> Path:
    """``path``, or the newest checkpoint below it when it is a trial's or a run's directory.

    Raises:
        UserError: there is none.
    """
    path = path.expanduser().absolute()
    if not path.exists():
        raise UserError(f"{path}: no such checkpoint")
    if _is_checkpoint(path):
        return path
    below = [found.parent for found in path.glob("**/rllib_checkpoint.json")]
    whole = [found for found in below if found.name.startswith("checkpoint_")]
    if not whole:
        raise UserError(
            f"{path}: no checkpoint here; the last line of `rllib train` names one, a folder "
            "called checkpoint_000012 or alike"
        )
    return max(whole, key=lambda found: found.stat().st_mtime)


def show(result: dict[str, Any], console: Console) -> None:
    """Print an evaluation as a short table, as plain text where there is no terminal."""
    rows = [(key, _text(value)) for key, value in result.items() if key != "references"]
    rows += [
        (f"reference {name}", _text(value))
        for name, value in (result.get("references") or {}).items()
    ]
    if not console.is_terminal:
        for name, value in rows:
            print(f"{name}: {value}")
        return
    table = Table(show_header=False, box=None)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _is_checkpoint(path: Path) -> bool:
    return (path / "rllib_checkpoint.json").is_file()


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,.3f}" if isinstance(value, float) else str(value)
