"""Charts of held-out evaluations: what the belief is worth, beside the exact filter's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rllib_metarl.report.charts import Chart, Line
from rllib_metarl.report.groups import Group, Task
from rllib_metarl.report.learning_charts import return_levels
from rllib_metarl.report.metrics import number_of

EXACT = "exact filter"
PER_RUN = "One line a seed."


def adaptation_charts(task: Task) -> list[Chart]:
    """How fast the agents adapt: by session, inner episode, steps since a switch and context."""
    charts = [_by_gradient_step(task), _since_switch(task)]
    charts += [_by_session(task), _by_inner_episode(task)]
    return _shown([*charts, _by_context(task), _by_variant(task)])


def uncertainty_charts(task: Task) -> list[Chart]:
    """Calibration, entropy, termination and what is known of the unknown."""
    charts = [reliability(task), predicted_rewards(task), _entropy(task), termination(task)]
    return _shown([*charts, _out_of_distribution(task), _risk_coverage(task)])


def reliability(task: Task) -> Chart:
    """Reliability curve of the decoded context."""
    lines = _reliability_lines(list(_rows(task, "calibration", "reliability")))
    exact = list(_rows(task, "calibration", "reliability_exact"))[:1]
    lines += [_exact(_column(rows, "confidence"), _column(rows, "accuracy")) for *_, rows in exact]
    return Chart(
        "reliability",
        "Calibration: reliability of the belief",
        "confidence in the context (probability)",
        "how often it is right (share of steps)",
        tuple(lines),
        f"On the diagonal the belief is as sure as it may be; below it is overconfident. {PER_RUN}",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.02),
    )


def predicted_rewards(task: Task) -> Chart:
    """Reliability curve of what the agent itself predicts, without a probe."""
    tables = _rows(task, "calibration", "prediction")
    found = [
        (group, n, table["reliability"]) for group, n, table in tables if "reliability" in table
    ]
    return Chart(
        "reliability_of_rewards",
        "Calibration: reliability of predicted rewards",
        "predicted (probability of a reward > 0)",
        "how often it came (share of steps)",
        tuple(_reliability_lines(found)),
        f"What the agent's own decoder says of the coming reward. {PER_RUN}",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.02),
    )


def _reliability_lines(found: list[tuple[Group, int, Any]]) -> list[Line]:
    lines = _points(found, "confidence", "accuracy")
    diagonal = Line("perfect calibration", [0.0, 1.0], [0.0, 1.0], style="dotted")
    return [*lines, diagonal] if lines else []


def termination(task: Task) -> Chart:
    """Scores of the termination head, and of the exact filter where it has them."""
    measures = {"precision": "precision", "recall": "recall", "f1": "F1", "auroc": "AUROC"}
    lines = _bars(task, lambda evaluation: evaluation.get("termination") or {}, measures)
    if lines:
        lines += _exact_bars(task, lambda e: _of_exact(e.get("termination") or {}), measures)
    return Chart(
        "termination",
        "Switches detected by the termination head",
        "measure (name)",
        "score (1)",
        tuple(lines),
        "Bars: mean over seeds, whiskers from the lowest seed to the highest. A switch can only be "
        "detected once a reward shows it: the exact filter's AUROC is the upper bound.",
        x_labels=tuple(measures.values()),
        y_range=(0.0, 1.05),
    )


def _of_exact(scores: Mapping[str, Any]) -> dict[str, Any]:
    """``auroc_exact`` and alike by the agent's names."""
    ending = "_exact"
    return {k.removesuffix(ending): v for k, v in scores.items() if k.endswith(ending)}


def _by_gradient_step(task: Task) -> Chart:
    found = list(_rows(task, "protocol", "adaptation"))
    return Chart(
        "return_by_gradient_step",
        "Return after gradient steps on held-out tasks",
        "gradient steps on a task (number)",
        "return of a meta-episode (reward)",
        tuple(_points(found, "gradient_steps", "return_mean", "return_standard_error")),
        "New meta-episodes with each policy, drawn actions. Band: one standard error over tasks. "
        f"{PER_RUN}",
        return_levels(task) if found else (),
    )


def _by_session(task: Task) -> Chart:
    found = list(_rows(task, "protocol", "return_by_session"))
    return Chart(
        "return_by_session",
        "Return of each session",
        "session of the meta-episode (number)",
        "return in that session (reward)",
        tuple(_points(found, "session", "mean", "standard_error")),
        f"Band: one standard error over meta-episodes. Sessions differ in length. {PER_RUN}",
    )


def _since_switch(task: Task) -> Chart:
    found = list(_rows(task, "protocol", "reward_since_switch"))
    return Chart(
        "reward_since_switch",
        "Recovery after a switch",
        "time since the last switch (env steps)",
        "mean reward of a step (reward)",
        tuple(_points(found, "steps", "mean", "standard_error")),
        f"Step 0 is the first under the new context. Band: one standard error. {PER_RUN}",
    )


def _by_inner_episode(task: Task) -> Chart:
    found = list(_rows(task, "protocol", "inner_episode_returns"))
    lines = [
        _line(group, number, list(range(1, len(values) + 1)), values)
        for group, number, values in found
    ]
    return Chart(
        "inner_episode_return",
        "Return of each inner episode",
        "inner episode of the meta-episode (number)",
        "return of that inner episode (reward)",
        tuple(lines),
        f"Rises as what was found is made use of. {PER_RUN}",
    )


def _by_context(task: Task) -> Chart:
    """By the number that the context is, or by each of its entries where they were binned."""
    lines = []
    for group, number, rows in _rows(task, "protocol", "return_by_context"):
        for entry, part in _by_entry(rows).items():
            (line,) = _points([(group, number, part)], "value", "mean", "standard_error")
            lines.append(replace(line, name=f"{group.label}{entry}"))
    return Chart(
        "return_by_context",
        "Return by context",
        "context parameter (as the env gives it)",
        "return of a meta-episode (reward)",
        tuple(lines),
        f"Band: one standard error over meta-episodes. {PER_RUN}",
    )


def _by_entry(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows whose value is a number, or has a single one among Nones, by the entry it is."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        value = row.get("value")
        given = [value] if not isinstance(value, list) else value
        known = [(k, v) for k, v in enumerate(given) if v is not None]
        if len(known) == 1:
            (k, number), *_ = known
            entry = f", entry {k + 1}" if isinstance(value, list) else ""
            parts.setdefault(entry, []).append({**row, "value": number})
    return parts


def _by_variant(task: Task) -> Chart:
    names: dict[str, None] = {}
    for _, _, rows in _rows(task, "protocol", "return_by_variant"):
        names.update(dict.fromkeys(str(row.get("variant")) for row in rows))

    def means(evaluation: dict[str, Any]) -> dict[str, Any]:
        rows = (evaluation.get("protocol") or {}).get("return_by_variant") or []
        return {str(row.get("variant")): row.get("mean") for row in rows}

    return Chart(
        "return_by_variant",
        "Return in worlds never trained on",
        "kind of world (name)",
        "return of a meta-episode (reward)",
        tuple(_bars(task, means, {name: name for name in names})),
        "Bars: mean over seeds, whiskers from the lowest seed to the highest.",
        x_labels=tuple(name.replace("_", " ") for name in names),
    )


def _entropy(task: Task) -> Chart:
    found = list(_rows(task, "uncertainty", "entropy_by_step"))
    lines = [_line(group, number, _count(values), values) for group, number, values in found]
    exact = list(_rows(task, "uncertainty", "entropy_by_step_exact"))[:1]
    lines += [_exact(_count(values), values) for *_, values in exact]
    return Chart(
        "entropy_by_step",
        "Uncertainty against evidence seen",
        "time in the meta-episode (env steps)",
        "entropy of the decoded context (nats)",
        tuple(lines),
        f"Mean over held-out meta-episodes. {PER_RUN}",
    )


def _out_of_distribution(task: Task) -> Chart:
    names: dict[str, None] = {}
    for group in task.groups:
        for run in group.evaluated:
            names.update(dict.fromkeys(_unfamiliar(run.evaluation or {})))
    labels = {name: name.replace("_", " ") for name in names}
    lines = _bars(task, _unfamiliar, labels)
    if lines:
        lines += _exact_bars(task, _unfamiliar_exact, labels)
    return Chart(
        "out_of_distribution",
        "Does it know what it does not know?",
        "unfamiliar kind: score (name)",
        "AUROC against held-out ones (1)",
        tuple(lines),
        "How well each score tells meta-episodes of a kind that no training showed from held-out "
        "ones: 0.5 is chance, 1 perfect. Bars: mean over seeds, whiskers lowest to highest.",
        x_labels=tuple(labels.values()),
        y_range=(0.0, 1.05),
    )


def _scores_of_unfamiliar(evaluation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    table = (evaluation.get("uncertainty") or {}).get("out_of_distribution") or {}
    for variant, row in table.items():
        if isinstance(row, Mapping):
            yield variant, dict(row)


def _unfamiliar(evaluation: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{variant}: {score}": value
        for variant, row in _scores_of_unfamiliar(evaluation)
        for score, value in row.items()
        if not score.endswith("_exact")
    }


def _unfamiliar_exact(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The exact filter's, by the names of the agent's: its entropy beside that of the belief."""
    found = {}
    for variant, row in _scores_of_unfamiliar(evaluation):
        for score, value in _of_exact(row).items():
            name = score if score in row else f"belief_{score}"
            found[f"{variant}: {name}"] = value
    return found


def _risk_coverage(task: Task) -> Chart:
    lines = _points(list(_rows(task, "uncertainty", "risk_coverage")), "coverage", "risk")
    exact = list(_rows(task, "uncertainty", "risk_coverage_exact"))[:1]
    lines += [_exact(_column(rows, "coverage"), _column(rows, "risk")) for *_, rows in exact]
    return Chart(
        "risk_coverage",
        "Risk when it may abstain",
        "steps it does not abstain from (share)",
        "wrong among those (share)",
        tuple(lines),
        f"The least certain steps are given up first. {PER_RUN}",
        x_range=(0.0, 1.0),
    )


def _shown(charts: Sequence[Chart]) -> list[Chart]:
    return [chart for chart in charts if chart.lines]


def _rows(task: Task, section: str, name: str) -> Iterator[tuple[Group, int, Any]]:
    """One part of every evaluation that has it, with its group and the group's number."""
    for number, group in enumerate(task.groups):
        for run in group.evaluated:
            found = ((run.evaluation or {}).get(section) or {}).get(name)
            if found:
                yield group, number, found


def _points(
    found: Sequence[tuple[Group, int, Any]], x: str, y: str, error: str | None = None
) -> list[Line]:
    """Lines from tables with one object a point."""
    lines = []
    for group, number, rows in found:
        values = _column(rows, y)
        errors = _column(rows, error) if error else None
        low = high = None
        if errors is not None and len(values) > 1 and np.isfinite(errors).all():
            low = [v - e for v, e in zip(values, errors, strict=True)]
            high = [v + e for v, e in zip(values, errors, strict=True)]
        lines.append(_line(group, number, _column(rows, x), values, low, high))
    return lines


def _bars(
    task: Task,
    pick: Callable[[dict[str, Any]], Mapping[str, Any]],
    measures: Mapping[str, str],
) -> list[Line]:
    """One series of bars a group: mean over seeds, from the lowest to the highest."""
    lines = []
    for number, group in enumerate(task.groups):
        picked = [pick(run.evaluation or {}) for run in group.evaluated]
        table = np.array([[_number(row.get(key)) for key in measures] for row in picked])
        if not table.size or not np.isfinite(table).any():
            continue
        columns = [column[np.isfinite(column)] for column in table.T]
        places = [i for i, column in enumerate(columns) if len(column)]
        means, lows, highs = (
            [float(f(columns[i])) for i in places] for f in (np.mean, np.min, np.max)
        )
        low, high = (lows, highs) if len(picked) > 1 else (None, None)
        lines.append(Line(group.label, places, means, low, high, colour=number, style="bars"))
    return lines


def _exact_bars(
    task: Task, pick: Callable[[dict[str, Any]], Mapping[str, Any]], measures: Mapping[str, str]
) -> list[Line]:
    """The exact filter's bars, from the first evaluation that has any."""
    for group in task.groups:
        for run in group.evaluated:
            picked = pick(run.evaluation or {})
            known = [(i, picked[key]) for i, key in enumerate(measures) if key in picked]
            if known:
                places, values = zip(*known, strict=True)
                return [Line(EXACT, places, [_number(value) for value in values], style="bars")]
    return []


def _line(
    group: Group,
    number: int,
    x: Sequence[Any],
    y: Sequence[float],
    low: Sequence[float] | None = None,
    high: Sequence[float] | None = None,
) -> Line:
    return Line(group.label, x, y, low, high, colour=number, markers=len(x) < 30)


def _exact(x: Sequence[Any], y: Sequence[float]) -> Line:
    return Line(EXACT, x, y, style="dashed")


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [_number(row.get(name)) for row in rows]


def _count(values: Sequence[float]) -> list[int]:
    return list(range(len(values)))


def _number(value: Any) -> float:
    number = number_of(value)
    return float("nan") if number is None else number
