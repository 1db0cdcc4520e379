"""What a person sees of ``rllib ladder``: progress, a line for each rung, and the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from rllib_metarl.cli.output import occasional_lines
from rllib_metarl.evaluation.ladder.verdicts import RUNG_LABELS, verdicts
from rllib_metarl.sampling.held_out import normalised_score

Tell = Callable[[int, float], None]


@contextmanager
def progress(label: str, steps: int, console: Console) -> Iterator[Tell]:
    """A bar on a terminal; elsewhere a line now and then. Told env steps and training return."""
    if not console.is_terminal:
        yield _lines(label, steps, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.percentage:3.0f}%"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(f"{label:15}", total=steps, text="starting")

        def draw(done: int, returns: float) -> None:
            bars.update(bar, completed=done, text=f"training return {returns:.2f}")

        yield draw


def _lines(label: str, steps: int, console: Console) -> Tell:
    tell = occasional_lines(console)

    def tell_steps(done: int, returns: float) -> None:
        share = min(done / steps, 1.0)
        tell(f"{label} {share:4.0%} {done:,} env steps, training return {returns:.2f}")

    return tell_steps


def say(label: str, outcome: Any, console: Console) -> None:
    """What came of a rung, in one line."""
    line = outcome.absent or f"{outcome.mean:.2f} ± {outcome.error:.2f} ({outcome.seconds:.0f} s)"
    console.print(f"{label}: {line}", markup=False, soft_wrap=True)


def summary(
    env: str,
    plan: Any,
    offer: Any,
    references: dict[str, float] | None,
    outcomes: dict[str, Any],
) -> dict[str, Any]:
    """All that was found out, as JSON holds it."""
    says = verdicts(outcomes, references)
    return {
        "env": env,
        "env_config": plan.env_config,
        "horizon": offer.horizon,
        "steps": plan.steps,
        "episodes": plan.episodes,
        "seed": plan.seed,
        "references": references,
        "random": {"return_mean": offer.random.mean, "standard_error": offer.random.error},
        "rungs": {
            rung: _row(outcome, references) | {"says": says[rung]}
            for rung, outcome in outcomes.items()
        },
    }


def _row(outcome: Any, references: dict[str, float] | None) -> dict[str, Any]:
    """The numbers of one rung; None where it was left out."""
    left_out = bool(outcome.absent)
    return {
        "return_mean": None if left_out else outcome.mean,
        "standard_error": None if left_out else outcome.error,
        "normalised_score": None if left_out else normalised_score(outcome.mean, references),
        "env_steps": outcome.env_steps,
        "seconds": round(outcome.seconds, 1),
    }


def show(report: dict[str, Any], console: Console) -> None:
    """The table; each rung with what it says."""
    scored = any(row["normalised_score"] is not None for row in report["rungs"].values())
    table = Table(
        title=f"{report['env']}: greedy return on {report['episodes']} held-out meta-episodes",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    names = ["rung", "return", *(["score"] if scored else []), "steps", "s", "what it says"]
    for name in names:
        left = name in ("rung", "what it says")
        table.add_column(name, justify="left" if left else "right", no_wrap=name != names[-1])
    filled = [""] * (3 if scored else 2)
    table.add_row("random actions", _return(report["random"]), *filled, "where one starts from")
    for rung, row in report["rungs"].items():
        table.add_row(RUNG_LABELS.get(rung, rung), *_cells(row, scored), row["says"])
    console.print(table)
    exact = ", ".join(f"{k} {v:.2f}" for k, v in (report["references"] or {}).items())
    if exact:
        console.print(f"exact references: {exact}", soft_wrap=True)


def _cells(row: dict[str, Any], scored: bool) -> list[str]:
    if row["return_mean"] is None:
        return [""] * (4 if scored else 3)
    score = row["normalised_score"]
    scores = ["" if score is None else f"{score:.2f}"] if scored else []
    return [_return(row), *scores, _short(row["env_steps"]), f"{row['seconds']:.0f}"]


def _return(row: dict[str, Any]) -> str:
    return f"{row['return_mean']:.2f} ± {row['standard_error']:.2f}"


def _short(steps: int) -> str:
    """A number of steps in few letters: 202k, 1.0M."""
    if steps >= 999_500:
        return f"{steps / 1e6:.1f}M"
    return f"{steps / 1e3:.0f}k" if steps >= 10_000 else f"{steps:,}"
