"""What a figure shows, apart from the library that draws it.

`plotly_figures` and `matplotlib_figures` draw the same charts, one for the page, one for papers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Style = Literal["solid", "dashed", "dotted", "steps", "markers", "bars"]
NEUTRAL = -1
"""Colour number of what belongs to no group: references and exact filters."""
STEPS = "training (env steps)"


@dataclass(frozen=True)
class Line:
    """A series of points `x`, `y`, with a band from `low` to `high` where it has one.

    colour: number of the group it belongs to, or `NEUTRAL`. Lines with one `name` share a legend
    entry and are shown and hidden together.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    colour: int = NEUTRAL
    style: Style = "solid"
    markers: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal line at a reference value."""

    name: str
    value: float


@dataclass(frozen=True)
class Chart:
    """One figure.

    key: its name in file names and ids. Labels of the axes end with the unit in parentheses.
    x_labels: words in place of numbers at x = 0, 1, ... caption: how to read it.
    """

    key: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    caption: str = ""
    levels: tuple[Level, ...] = ()
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    x_labels: tuple[str, ...] = ()

    def limits(self) -> tuple[float, float] | None:
        """The range of y: as set, or wide enough for the names above reference lines, or None."""
        if self.y_range is not None or not self.levels:
            return self.y_range
        series = [part for line in self.lines for part in (line.y, line.low, line.high) if part]
        values = [v for part in series for v in part if np.isfinite(v)]
        values += [level.value for level in self.levels]
        room = (max(values) - min(values)) or 1.0
        return min(values) - 0.04 * room, max(values) + 0.09 * room

    def summary(self) -> str:
        """Where each line ends, in words, for those who do not see the figure."""
        if self.x_labels:
            return ""
        ends: dict[str, list[float]] = {}
        for line in self.lines:
            finite = [value for value in line.y if np.isfinite(value)]
            if finite and line.style not in ("bars", "markers"):
                ends.setdefault(line.name, []).append(finite[-1])
        words = [f"{name} {np.mean(values):.3g}" for name, values in ends.items()]
        return f"At the right end: {'; '.join(words)}." if words else ""


def numbers(values: Any) -> list[float | None]:
    """Values as JSON numbers of six significant digits, None where there is none."""
    flat = np.asarray(values, dtype=float).ravel()
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in flat]
