"""``rllib ladder``: which agent gets how far on an env, and what that says about the env."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from rllib_metarl.cli.names import suggestion
from rllib_metarl.cli.output import check_writable, write_json
from rllib_metarl.cli.session import quiet, ray_session
from rllib_metarl.cli.source import read_json
from rllib_metarl.errors import UserError

_LINE_EVERY_S = 5.0


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    env: str
    env_config: str | None = None
    config: str | None = None
    steps: int = 1_000_000
    episodes: int = 256
    seed: int = 0
    keep_going: bool = False
    plugins: tuple[str, ...] = ()
    json: Path | None = None


def ladder(request: Request) -> int:
    """Climb, print the table and write it as JSON; returns the exit code."""
    console = Console(highlight=False)
    check_writable(request.json)
    outcomes: dict[str, Any] = {}
    offer = references = None
    stopped = False
    with quiet():
        plan = _plan(request)
        offer, references = _look(plan)
        try:
            with ray_session(list(request.plugins)):
                for rung, outcome in _climb(plan, offer, request.keep_going, console):
                    outcomes[rung] = outcome
        except KeyboardInterrupt:
            stopped = True
    report = summary(plan, offer, references, outcomes)
    show(report, console)
    if request.json is not None:
        write_json(request.json, report)
    if stopped:
        print("\nstopped", file=sys.stderr)
    return 130 if stopped else 0


def _plan(request: Request) -> Any:
    from rllib_metarl.cli.catalogue import check_environment, register_everything
    from rllib_metarl.cli.values import import_plugin
    from rllib_metarl.evaluation.rungs import Plan

    sys.path.append(str(Path.cwd()))
    register_everything()
    for plugin in request.plugins:
        import_plugin(plugin)
    check_environment(request.env)
    settings = read_json("--config", request.config).data
    _check_settings(settings)
    env_config = read_json("--env-config", request.env_config).data
    return Plan(request.env, env_config, request.steps, request.episodes, request.seed, settings)


def _check_settings(settings: dict[str, Any]) -> None:
    from rllib_metarl.evaluation.rungs import ALGORITHM_OF, empty_config, has_setting

    configs = [empty_config(rung) for rung in ALGORITHM_OF]
    for name in settings:
        if not any(has_setting(config, name) for config in configs):
            known = {key for config in configs for key in vars(config) if key[0] != "_"}
            raise UserError(f"--config: no rung has a setting '{name}'{suggestion(name, known)}")


def _look(plan: Any) -> tuple[Any, dict[str, float] | None]:
    """What the env offers, and its exact references."""
    from rllib_metarl.evaluation.rungs import probe
    from rllib_metarl.sampling.held_out import HeldOut

    try:
        offer = probe(plan)
        held_out = HeldOut(plan.env, plan.env_config, 1, plan.seed)
    except (TypeError, ValueError) as error:
        raise UserError(f"env {plan.env} cannot be made: {error}") from None
    try:
        return offer, held_out.references()
    finally:
        held_out.close()


def _climb(plan: Any, offer: Any, keep_going: bool, console: Console) -> Iterator[tuple[str, Any]]:
    """Rung by rung, as far as it makes sense."""
    from rllib_metarl.evaluation.ladder import LABELS, left_out, must_stop
    from rllib_metarl.evaluation.rungs import climb

    outcomes: dict[str, Any] = {}
    for rung, label in LABELS.items():
        if not keep_going and must_stop(outcomes):
            outcomes[rung] = left_out("not climbed: see the oracle; --keep-going climbs on")
        else:
            with _progress(label, plan.steps, console) as progress:
                outcomes[rung] = climb(rung, offer, plan, progress)
            console.print(_line(label, outcomes[rung]))
        yield rung, outcomes[rung]


@contextmanager
def _progress(label: str, steps: int, console: Console) -> Iterator[Callable[[int, float], None]]:
    """A bar on a terminal; elsewhere a line now and then."""
    if not console.is_terminal:
        yield _lines(label, steps)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:3.0f}% {task.fields[text]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(f"{label:16}", total=steps, text="starting")

        def draw(done: int, returns: float) -> None:
            text = f"{done:,} env steps, training return {returns:.2f}"
            progress.update(bar, completed=done, text=text)

        yield draw


def _lines(label: str, steps: int) -> Callable[[int, float], None]:
    last = time.monotonic()

    def tell(done: int, returns: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            share = min(done / steps, 1.0)
            print(f"{label} {share:4.0%} {done:,} env steps, training return {returns:.2f}")

    return tell


def _line(label: str, outcome: Any) -> str:
    if outcome.absent:
        return f"{label}: {outcome.absent}"
    return f"{label}: {outcome.mean:.2f} ± {outcome.error:.2f} ({outcome.seconds:.0f} s)"


def summary(
    plan: Any, offer: Any, references: dict[str, float] | None, outcomes: dict[str, Any]
) -> dict[str, Any]:
    """All that was found out, as JSON holds it."""
    from rllib_metarl.evaluation.ladder import verdicts
    from rllib_metarl.sampling.held_out import normalised_score

    says = verdicts(outcomes, references)
    rungs = {
        rung: {
            "return_mean": None if outcome.absent else outcome.mean,
            "standard_error": None if outcome.absent else outcome.error,
            "normalised_score": (
                None if outcome.absent else normalised_score(outcome.mean, references)
            ),
            "env_steps": outcome.env_steps,
            "seconds": round(outcome.seconds, 1),
            "says": says[rung],
        }
        for rung, outcome in outcomes.items()
    }
    return {
        "env": plan.env,
        "env_config": plan.env_config,
        "horizon": offer.horizon,
        "episodes": plan.episodes,
        "seed": plan.seed,
        "random_return": offer.random_return,
        "references": references,
        "rungs": rungs,
    }


def show(report: dict[str, Any], console: Console) -> None:
    """The table; each rung with what it says."""
    from rllib_metarl.evaluation.ladder import LABELS

    scored = any(row["normalised_score"] is not None for row in report["rungs"].values())
    table = Table(title=f"{report['env']}, {report['episodes']} held-out meta-episodes")
    for name in ("rung", "return", *(["score"] if scored else []), "s", "what it says"):
        table.add_column(name, justify="left" if name in ("rung", "what it says") else "right")
    random = f"{report['random_return']:.2f}"
    table.add_row("random actions", random, *([""] if scored else []), "", "where one starts from")
    for rung, row in report["rungs"].items():
        cells = [LABELS[rung], _cell(row)]
        if scored:
            score = row["normalised_score"]
            cells.append("" if score is None else f"{score:.2f}")
        table.add_row(*cells, f"{row['seconds']:.0f}" if row["env_steps"] else "", row["says"])
    console.print(table)
    exact = ", ".join(f"{k} {v:.2f}" for k, v in (report["references"] or {}).items())
    if exact:
        console.print(f"exact: {exact}")


def _cell(row: dict[str, Any]) -> str:
    if row["return_mean"] is None:
        return ""
    return f"{row['return_mean']:.2f} ± {row['standard_error']:.2f}"
