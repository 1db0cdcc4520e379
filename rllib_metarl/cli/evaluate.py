"""``rllib evaluate``: a checkpoint on held-out tasks, its return and what its belief is worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from rllib_metarl import checkpoints
from rllib_metarl.checkpoint import Checkpoint, find
from rllib_metarl.cli.experiment.source import read_json
from rllib_metarl.cli.output import check_writable, loading, progress, write_json
from rllib_metarl.cli.running.ray_session import quiet, ray_session
from rllib_metarl.cli.showing.evaluation import show
from rllib_metarl.cli.showing.film import check_video
from rllib_metarl.errors import UserError
from rllib_metarl.trained import about, is_name

DEFAULT_FILE = "evaluation.json"
EPISODES = 512
FRESH_SEED = 20_240_215
"""Of the held-out tasks where no seed is named: other ones than the training curve's, by which
settings are chosen (their seed is `held_out_seed`, 0 by default)."""


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    checkpoint: Path
    episodes: int | None = None
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
    path = find(request.checkpoint)
    console = Console(highlight=False)
    check_writable(request.json)
    check_video(request.video)
    loading()
    with quiet(), checkpoints.trusting(request.trust_checkpoint):
        from rllib_metarl.cli.experiment.catalogue import register_with_plugins

        register_with_plugins(request.plugins)
        checkpoint = Checkpoint.open(path)
        result = _evaluate(checkpoint, request, console)
        if request.video is not None:
            _film(checkpoint, request.video, result, console)
    show(result, console)
    file = request.json
    if file is None and not (request.quick or is_name(request.checkpoint)):
        file = path.parent / DEFAULT_FILE  # where `rllib report` looks
    if file is not None:
        write_json(file, result, replace=request.json is None)
        console.print(f"all of it: {file}", markup=False, soft_wrap=True)
    return 0


def _tasks(request: Request, folder: Path) -> tuple[int, int]:
    """How many tasks, and their seed: of an agent that comes trained, those of its results page."""
    usual = (EPISODES, FRESH_SEED)
    if is_name(request.checkpoint):
        told = about(folder)
        usual = (told["episodes"], told["held_out_seed"])
    given = (request.episodes, request.seed)
    episodes, seed = (u if g is None else g for u, g in zip(usual, given, strict=True))
    return episodes, seed


def _evaluate(checkpoint: Checkpoint, request: Request, console: Console) -> dict[str, Any]:
    from rllib_metarl.cli.showing.rllib_checkpoint import evaluate_rllib
    from rllib_metarl.evaluation.protocol import evaluate_checkpoint

    env_config = read_json("--env-config", request.env_config).data
    variants = None if request.variants is None else _variants(request.variants)
    episodes, seed = _tasks(request, checkpoint.path)
    if not checkpoint.is_rllibs:
        with progress(console) as tell:
            return evaluate_checkpoint(
                checkpoint,
                episodes,
                seed,
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
        return evaluate_rllib(checkpoint, episodes, request.seed)


def _film(checkpoint: Checkpoint, video: Path, result: dict[str, Any], console: Console) -> None:
    from rllib_metarl.cli.showing.film import film

    if checkpoint.is_rllibs:
        raise UserError("--video is for this project's algorithms, not for RLlib's own")
    if checkpoint.settings.acts_through_connectors():
        raise UserError("--video: this agent acts through connectors, which films do not support")
    with progress(console) as tell:
        frames = film(
            *(video, checkpoint.agent(), result["env"], result["env_config"]),
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
