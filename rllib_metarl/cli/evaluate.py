"""``rllib evaluate``: a checkpoint on held-out tasks, its return and what its belief is worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from rllib_metarl import checkpoints
from rllib_metarl.algorithms.belief.stored import POLICY
from rllib_metarl.cli.evaluate_table import show
from rllib_metarl.cli.film import check_video
from rllib_metarl.cli.output import check_writable, progress, write_json
from rllib_metarl.cli.session import quiet, ray_session
from rllib_metarl.cli.source import read_json
from rllib_metarl.errors import UserError

DEFAULT_FILE = "evaluation.json"


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    checkpoint: Path
    episodes: int = 512
    seed: int | None = None
    env_config: str | None = None
    quick: bool = False
    variants: str | None = None
    json: Path | None = None
    plugins: tuple[str, ...] = ()
    trust_checkpoint: bool = False
    video: Path | None = None


def evaluate(request: Request) -> int:
    """Evaluate a checkpoint, print a table and write it as JSON; returns the exit code."""
    path = find_checkpoint(request.checkpoint)
    console = Console(highlight=False)
    check_writable(request.json)
    check_video(request.video)
    with quiet(), checkpoints.trusting(request.trust_checkpoint):
        result = _evaluate(path, request, console)
        if request.video is not None:
            _film(path, request.video, result, console)
    show(result, console)
    file = request.json
    if file is None and not request.quick:
        file = path.parent / DEFAULT_FILE  # where `rllib report` looks
    if file is not None:
        write_json(file, result)
        console.print(f"all of it: {file}", markup=False, soft_wrap=True)
    return 0


def _evaluate(path: Path, request: Request, console: Console) -> dict[str, Any]:
    from rllib_metarl.cli.catalogue import register_with_plugins
    from rllib_metarl.cli.plain import evaluate_rllib, is_rllibs_own
    from rllib_metarl.evaluation.protocol import evaluate_checkpoint

    register_with_plugins(request.plugins)
    env_config = read_json("--env-config", request.env_config).data
    variants = None if request.variants is None else _variants(request.variants)
    if not is_rllibs_own(path):
        with progress(console) as tell:
            return evaluate_checkpoint(
                path,
                request.episodes,
                request.seed,
                env_config,
                quick=request.quick,
                variants=variants,
                progress=tell,
            )
    if env_config or variants:
        raise UserError(
            "--env-config and --variants are for this project's algorithms; for one of RLlib's "
            "own, train and evaluate it on an env registered with those arguments."
        )
    with ray_session(list(request.plugins)):
        return evaluate_rllib(path, request.episodes, request.seed)


def _film(path: Path, video: Path, result: dict[str, Any], console: Console) -> None:
    from rllib_metarl.algorithms.belief.stored import load_module
    from rllib_metarl.cli.film import film
    from rllib_metarl.evaluation.protocol import acts_through_connectors

    if "env_config" not in result:
        raise UserError("--video is for this project's algorithms, not for RLlib's own")
    if acts_through_connectors(path):
        raise UserError("--video: this agent acts through connectors, which a film has not")
    with progress(console) as tell:
        frames = film(
            *(video, load_module(path), result["env"], result["env_config"]),
            *(result["held_out_seed"], lambda taken: tell("filming", min(taken / 1000, 0.99))),
        )
    console.print(f"film: {video}, {frames} frames", markup=False, soft_wrap=True)


def _variants(text: str) -> dict[str, dict[str, Any]]:
    variants = read_json("--variants", text).data
    for name, arguments in variants.items():
        if not isinstance(arguments, dict):
            raise UserError(
                f"--variants: {name} is {arguments!r}; give env arguments, e.g. "
                '{"slippery": {"friction": 0.1}}'
            )
    return dict(variants)


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
    named = [found for found in below if found.name.startswith("checkpoint_")]
    if not named:
        raise UserError(
            f"{path}: no checkpoint here; the last line of `rllib train` names one, a folder "
            "called checkpoint_000012 or alike"
        )
    newest = sorted(named, key=lambda found: found.stat().st_mtime, reverse=True)
    # A run that was killed may have left half a checkpoint; earlier versions finished none.
    return next(filter(checkpoints.is_whole, newest), newest[0])


def _is_checkpoint(path: Path) -> bool:
    return any((path / name).is_file() for name in ("rllib_checkpoint.json", POLICY))
