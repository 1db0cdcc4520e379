"""What a person sees of ``rllib evaluate``: the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

Row = tuple[str, str, Any, Any]
"""Group, name, the agent's number, the ideal's (None where there is none)."""

_OWN = ("normalised_score", "references", "env_config", "absent", "meta_episodes")
_SECTIONS = ("protocol", "belief", "calibration", "uncertainty", "termination")


def show(result: dict[str, Any], console: Console) -> None:
    """Print an evaluation: what was played, a short table, and which rows are absent and why."""
    for name, value in result.items():
        if not isinstance(value, float) and name not in (*_OWN, *_SECTIONS):
            _print(console, f"{name}: {_text(value)}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "", "agent", "ideal"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    last = ""
    for group, name, value, ideal in rows(result):
        shown = _text(value) if isinstance(value, str) else _number(value)
        table.add_row(group if group != last else "", name, shown, _number(ideal, ""))
        last = group
    console.print(table)
    for row, why in (result.get("absent") or {}).items():
        _print(console, f"no {row}: {why}")


def rows(result: dict[str, Any]) -> list[Row]:
    """The rows of the table; a number that is not there has no row."""
    parts = {name: result.get(name) or {} for name in _SECTIONS}
    found = [
        *_returns(result, parts["protocol"]),
        *_adaptation(parts["protocol"], (result.get("references") or {}).get("oracle")),
        *_beliefs(parts["belief"]),
        *_calibration(parts["calibration"]),
        *_uncertainty(parts["uncertainty"]),
        *_termination(parts["termination"], parts["protocol"]),
    ]
    return [row for row in found if row[2] is not None or row[1] == "normalised_score"]


def _returns(result: dict[str, Any], protocol: dict[str, Any]) -> Iterator[Row]:
    references = result.get("references") or {}
    mean, error = result["return_mean"], protocol.get("return_standard_error")
    shown = f"{mean:,.3f}" + ("" if error is None else f" ± {error:.3f}")
    yield "return", "return_mean", shown, references.get("bayes")
    for name, value in result.items():
        known = name in ("return_mean", "normalised_score") or name.startswith("return_after_")
        if isinstance(value, float) and not known:
            yield "return", name, value, None
    ideal = 1.0 if result.get("normalised_score") is not None else None
    yield "return", "normalised_score", result.get("normalised_score"), ideal
    yield "return", "stochastic_return_mean", protocol.get("stochastic_return_mean"), None
    yield "return", "recovery_steps", protocol.get("recovery_steps"), None
    for name in ("random", "blind", "oracle"):
        yield "return", f"reference {name}", references.get(name), None


def _adaptation(protocol: dict[str, Any], oracle: float | None) -> Iterator[Row]:
    """The return after each number of gradient steps, and what a task had cost by then."""
    for row in protocol.get("adaptation") or []:
        shown = f"{row['return_mean']:,.3f} ± {row['return_standard_error']:.3f}"
        steps = f"{row['gradient_steps']} gradient steps, {row['env_steps']:,.0f} env steps"
        yield "return after", steps, shown, oracle


def _beliefs(belief: dict[str, Any]) -> Iterator[Row]:
    probe, exact = belief.get("probe") or {}, belief.get("exact") or {}
    for name in ("log_loss", "accuracy", "nll", "rmse", "r2"):
        yield "belief", name, probe.get(name), exact.get(name)
    for name in ("nats_from_exact", "kl_exact_to_decoded"):
        yield "belief", name, belief.get(name), 0.0 if name in belief else None


def _calibration(calibration: dict[str, Any]) -> Iterator[Row]:
    for name in ("ece", "coverage_50", "coverage_90", "crps"):
        yield "calibration", name, calibration.get(name), calibration.get(f"{name}_exact")
    prediction = calibration.get("prediction") or {}
    for name in ("ece", "log_loss"):
        yield (
            "calibration",
            f"prediction {name}",
            prediction.get(name),
            prediction.get(f"{name}_exact"),
        )


def _uncertainty(uncertainty: dict[str, Any]) -> Iterator[Row]:
    area = uncertainty.get("area_under_risk")
    yield "uncertainty", "area_under_risk", area, uncertainty.get("area_under_risk_exact")
    for variant, scores in (uncertainty.get("out_of_distribution") or {}).items():
        name = next(n for n in ("all_together", *scores) if n in scores)
        ideal = scores.get("all_together_exact", scores.get("surprise_exact"))
        yield "uncertainty", f"AUROC {variant}", scores[name], ideal


def _termination(termination: dict[str, Any], protocol: dict[str, Any]) -> Iterator[Row]:
    yield "switches", "base rate", termination.get("switch_rate"), None
    for name in ("auroc", "precision", "recall"):
        yield "switches", name, termination.get(name), termination.get(f"{name}_exact")
    delay = protocol.get("detection_delay")
    yield "switches", "detection_delay", delay, protocol.get("detection_delay_exact")


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)


def _text(value: Any) -> str:
    return "-" if value is None else str(value)


def _number(value: Any, nothing: str = "-") -> str:
    if value is None:
        return nothing
    return f"{value:,.3f}" if isinstance(value, float) else str(value)
