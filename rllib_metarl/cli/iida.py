"""``rllib iida``: IIDA's first two steps, transitions and the context encoder fitted on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import TimeRemainingColumn
from rich.table import Table

from rllib_metarl.cli.experiment.source import read_json
from rllib_metarl.cli.output import check_writable, progress, write_json
from rllib_metarl.cli.running.ray_session import quiet
from rllib_metarl.errors import UserError
from rllib_metarl.spelling import suggestion

MOST_WIDTH, MOST_LAYERS = 16_384, 16
KIND_LABELS = {
    "with_context": "inferred context",
    "without_context": "no context",
    "true_context": "true context",
}


@dataclass(frozen=True)
class CollectRequest:
    """What the command line asks for."""

    env: str
    out: Path
    steps: int = 100_000
    num_envs: int = 64
    generator: str = "random"
    hold: float = 1.0
    env_config: str | None = None
    seed: int = 0
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True)
class FitRequest:
    """What the command line asks for; `settings` are those of `FitSettings`."""

    data: Path
    out: Path
    settings: dict[str, Any]
    config: str | None = None
    seed: int = 0


def collect(request: CollectRequest) -> int:
    """Collect transitions and write them; returns the exit code."""
    console = Console(highlight=False)
    check_writable(request.out, "--out")
    with quiet():
        env_config = _check_env(request)
        from rllib_metarl.algorithms.base.collect import CollectSettings
        from rllib_metarl.algorithms.base.collect import collect as run
        from rllib_metarl.learning.iida import write_transitions

        settings = CollectSettings(
            request.steps, request.num_envs, _generator(request.generator), request.hold
        )
        with progress(console, TimeRemainingColumn, "starting") as tell:

            def report_progress(steps: int) -> None:
                tell(f"{steps:,} env steps", min(steps / request.steps, 1.0))

            data = run(request.env, env_config, settings, request.seed, report_progress)
        write_transitions(request.out, data)
    about, lengths = data.about, data.lengths
    console.print(
        f"{about['env_steps']:,} env steps, {about['meta_episodes']:,} meta-episodes, "
        f"{data.tasks:,} tasks of {int(lengths.min())} to {int(lengths.max())} transitions"
    )
    console.print(f"transitions: {request.out}", markup=False, soft_wrap=True)
    return 0


def fit(request: FitRequest) -> int:
    """Fit an encoder, write it and its report, print its errors; returns the exit code."""
    console = Console(highlight=False)
    check_writable(request.out, "--out")
    with quiet():
        from rllib_metarl.learning.iida import read_transitions
        from rllib_metarl.learning.iida_file import write_encoder
        from rllib_metarl.learning.iida_fit import FitSettings
        from rllib_metarl.learning.iida_fit import fit as run

        shape, settings = _shape(request.config), FitSettings(**request.settings)
        data = read_transitions(request.data)
        with progress(console, TimeRemainingColumn, "starting") as tell:

            def report_progress(kind: str, epoch: int, epochs: int, error: float) -> None:
                line = f"{KIND_LABELS[kind]}: epoch {epoch} of {epochs}, held-out error {error:.4g}"
                tell(line, epoch / epochs)

            fitted = run(data, shape, settings, request.seed, report_progress)
        write_encoder(request.out, fitted)
    _show(fitted.report, console)
    report_file = request.out.with_suffix(".json")
    write_json(report_file, fitted.report)
    console.print(f"all of it: {report_file}", markup=False, soft_wrap=True)
    console.print(f"encoder: {request.out}", markup=False, soft_wrap=True)
    return 0


def _check_env(request: CollectRequest) -> dict[str, Any]:
    """Imports the plugins and returns the env's arguments, known to be arguments of it."""
    from rllib_metarl.cli.experiment.catalogue import check_environment, register_with_plugins
    from rllib_metarl.cli.experiment.checks import check_env_config

    register_with_plugins(request.plugins)
    check_environment(request.env)
    env_config = dict(read_json("--env-config", request.env_config).data)
    check_env_config(
        request.env, env_config, lambda place, message: UserError(f"--env-config: {message}")
    )
    return env_config


def _generator(name: str) -> str:
    """``random``, or the checkpoint that a folder holds."""
    from rllib_metarl.checkpoint import find

    return name if name == "random" else str(find(name))


def _shape(text: str | None) -> Any:
    """The networks' widths, by the names that a config has."""
    from rllib_metarl.learning.iida_fit import Shape

    default = Shape()
    known = list(vars(default))
    given = read_json("--config", text).data
    for name, value in given.items():
        if name not in known:
            raise UserError(f"--config: no width '{name}'{suggestion(name, known)}")
        several = isinstance(vars(default)[name], tuple)
        numbers = value if several and isinstance(value, list) else [value]
        whole = all(type(n) is int and 0 < n <= MOST_WIDTH for n in numbers[: MOST_LAYERS + 1])
        if not whole or several != isinstance(value, list) or not 0 < len(numbers) <= MOST_LAYERS:
            wanted = f"a list of 1 to {MOST_LAYERS} whole numbers" if several else "a whole number"
            raise UserError(
                f"--config: {name} is {value!r}; give {wanted} above 0, at most {MOST_WIDTH:,}"
            )
    widths: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return replace(default, **widths)


def _show(report: dict[str, Any], console: Console) -> None:
    """Print the errors of the models, and of the context by how much it has seen."""
    console.print(
        f"{report['tasks']:,} tasks fitted on, {report['held_out_tasks']:,} held out, of "
        f"{report['held_out_contexts']} {report['held_out_by']}s; squared errors on the latter:"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("forward model with", "in units of a usual change", "in the env's", "epochs"):
        table.add_column(column, justify="left" if column.startswith("forward") else "right")
    for kind, error in report["scaled_error"].items():
        plain, epochs = report["error"][kind], report["epochs"][kind]
        table.add_row(KIND_LABELS[kind], f"{error:.4g}", f"{plain:.4g}", str(epochs))
    console.print(table)
    errors = report["scaled_error_by_transitions"].items()
    shown = ", ".join(f"{count}: {error:.4g}" for count, error in errors)
    console.print(f"by the number of transitions in the context: {shown}", soft_wrap=True)
