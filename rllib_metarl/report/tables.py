"""Tables of the report: one row a group, one row a measure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rllib_metarl.evaluation.statistics import interval, iqm, probability_of_improvement
from rllib_metarl.report.groups import Group, Task
from rllib_metarl.report.metrics import number_of
from rllib_metarl.report.runs import Run

SECTIONS = ("protocol", "belief", "calibration", "uncertainty", "termination")
LEFT_OUT = ("threshold",)
# Unit of a measure, by how its name ends.
UNITS = {
    "nats_from_exact_standard_error": "nats",
    "log_loss": "nats",
    "entropy": "nats",
    "nll": "nats",
    "nats_from_exact": "nats",
    "kl_exact_to_decoded": "nats",
    "return_mean": "reward",
    "return_std": "reward",
    "standard_error": "reward",
    "regret_to_bayes": "reward",
    "reward_before_switch": "reward",
    "crps": "unit of the context",
    "rmse": "unit of the context",
    "recovery_steps": "env steps",
    "detection_delay": "env steps",
}


@dataclass(frozen=True)
class Table:
    """A table of text; the first cell of each row is its name."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    caption: str = ""


def comparison(task: Task) -> Table:
    """One row a group: what each came to; an ablation where groups differ in one setting."""
    measured = [final_results(group) for group in task.groups]
    columns = ["agent", "seeds", "env steps", "return (reward), IQM [95 %]", "lowest seed"]
    columns += ["normalised score (1), IQM [95 %]", "lowest seed", "wall time (min)", "measured"]
    rows = [
        _row(group, returns, scores, how)
        for group, (returns, scores, how) in zip(task.groups, measured, strict=True)
    ]
    extra = [(name, _column(task, pick)) for name, pick in _EXTRA.items()]
    for name, cells in extra:
        if any(cells):
            columns.append(name)
            rows = [[*row, cell or "–"] for row, cell in zip(rows, cells, strict=True)]
    caption = (
        "IQM: interquartile mean over seeds, with its 95 % interval. A setting behind a "
        "name is the one in which that group differs from most of its algorithm."
    )
    return Table("Results", columns, rows, caption)


def improvement(task: Task) -> Table | None:
    """How likely a seed of the row's group returns more than one of the column's."""
    returns = {group.label: final_results(group)[0] for group in task.groups}
    several = {label: values for label, values in returns.items() if len(values) > 1}
    if len(several) < 2:
        return None
    rows = [
        [own, *(_better(several[own], several[other], own == other) for other in several)]
        for own in several
    ]
    caption = "Ties count half (Agarwal et al. 2021). Groups with one seed are left out."
    return Table("P(row returns more than column)", ["agent", *several], rows, caption)


def _better(ours: list[float], theirs: list[float], same: bool) -> str:
    return "–" if same else f"{probability_of_improvement(ours, theirs):.2f}"


def measures(task: Task) -> Table | None:
    """One row for each number of the evaluations, one column a group: means over seeds."""
    groups = [group for group in task.groups if group.evaluated]
    if not groups:
        return None
    flat = [[dict(_numbers(run.evaluation or {})) for run in group.evaluated] for group in groups]
    names = dict.fromkeys(name for runs in flat for run in runs for name in run)
    rows = []
    for name in names:
        values = [[run[name] for run in runs if name in run] for runs in flat]
        cells = [f"{np.mean(v):.4g}" if v else "–" for v in values]
        rows.append([f"{name.replace('_', ' ')} ({_unit(name)})", *cells])
    if not rows:
        return None
    columns = ["measure (unit)", *(group.label for group in groups)]
    caption = "Means over the seeds that were evaluated. Names with `exact` are the exact filter's."
    return Table("Every number of the evaluations", columns, rows, caption)


def absent(task: Task) -> list[tuple[str, str]]:
    """What the evaluations leave out, and why."""
    found: dict[str, str] = {}
    for group in task.groups:
        for run in group.evaluated:
            for name, why in ((run.evaluation or {}).get("absent") or {}).items():
                found.setdefault(f"{group.label}: {name}", str(why))
    return list(found.items())


def _row(group: Group, returns: list[float], scores: list[float], how: str) -> list[str]:
    steps = max(run.env_steps for run in group.runs)
    minutes = float(np.median([run.wall_s for run in group.runs])) / 60
    return [
        group.label,
        str(len(group.runs)),
        f"{steps:,}",
        _middle(returns, ".2f"),
        f"{min(returns):.2f}" if returns else "–",
        _middle(scores, ".3f"),
        f"{min(scores):.3f}" if scores else "–",
        f"{minutes:.1f}",
        how,
    ]


def _middle(values: list[float], form: str) -> str:
    if not values:
        return "–"
    low, high = interval(values)
    middle = f"{iqm(values):{form}}"
    return f"{middle} [{low:{form}}, {high:{form}}]" if len(values) > 1 else middle


def final_results(group: Group) -> tuple[list[float], list[float], str]:
    """Returns and scores of a group's seeds, and how they were measured, the same for each seed."""
    if len(group.evaluated) == len(group.runs) and all(map(_same_env, group.runs)):
        episodes = (group.runs[0].evaluation or {}).get("episodes")
        how = f"rllib evaluate, {episodes} meta-episodes"
        return _of(group, "return_mean"), _of(group, "normalised_score"), how
    for prefix, how in (("eval/", "last held-out evaluation"), ("train/", "while exploring")):
        returns = [run.last(prefix + "return_mean") for run in group.runs]
        if all(value is not None for value in returns):
            scores = [run.last(prefix + "normalised_score") for run in group.runs]
            return _known(returns), _known(scores), how
    return [], [], "not measured"


def _same_env(run: Run) -> bool:
    """Whether a run was evaluated on the env that it was trained on."""
    return (run.evaluation or {}).get("env_config", run.env_config) == run.env_config


def _of(group: Group, key: str) -> list[float]:
    return _known([(run.evaluation or {}).get(key) for run in group.evaluated])


def _known(values: list[Any]) -> list[float]:
    return [number for number in map(number_of, values) if number is not None]


def _path(*keys: str) -> Callable[[Mapping[str, Any]], Any]:
    def pick(evaluation: Mapping[str, Any]) -> Any:
        value: Any = evaluation
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    return pick


_EXTRA: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "log-loss of the context (nats)": _path("belief", "probe", "log_loss"),
    "exact filter's (nats)": _path("belief", "exact", "log_loss"),
    "ECE (1)": _path("calibration", "ece"),
    "termination AUROC (1)": _path("termination", "auroc"),
    "recovery (env steps)": _path("protocol", "recovery_steps"),
}


def _column(task: Task, pick: Callable[[Mapping[str, Any]], Any]) -> list[str]:
    cells = []
    for group in task.groups:
        values = _known([pick(run.evaluation or {}) for run in group.evaluated])
        cells.append(f"{np.mean(values):.3g}" if values else "")
    return cells


def _numbers(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for section in SECTIONS:
        part = evaluation.get(section)
        if isinstance(part, Mapping):
            yield from _leaves(section, part)


def _leaves(prefix: str, part: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in part.items():
        name = f"{prefix}: {key}"
        if isinstance(value, Mapping):
            yield from _leaves(name, value)
        elif isinstance(value, (int, float)) and key not in LEFT_OUT:
            number = number_of(value)
            if number is not None:
                yield name, number


def _unit(name: str) -> str:
    last = name.rpartition(": ")[2]
    for ending, unit in UNITS.items():
        if last.endswith((ending, ending + "_exact")):
            return unit
    return "1"
