"""The report's figures for papers: the same charts, drawn with Matplotlib as PNG, SVG and PDF."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rllib_metarl.errors import UserError
from rllib_metarl.report.charts import STEPS, Chart, Line
from rllib_metarl.report.groups import Task
from rllib_metarl.report.page import parts_of
from rllib_metarl.report.plotly_figures import COLOURS, GREY, colour
from rllib_metarl.report.recorded import Recorded, meta_episodes
from rllib_metarl.report.timeline import timeline

FORMATS = ("png", "svg", "pdf")
STYLES = {"dashed": "--", "dotted": ":"}
DASHES = ("-", "--", ":", "-.")
_LABELS_ROOM = 60  # characters of all labels of an axis together


def write_figures(tasks: Sequence[Task], folder: Path) -> list[Path]:
    """All charts of some tasks as files, one folder a task where there are several.

    Returns:
        the files.

    Raises:
        UserError: a file cannot be written.
    """
    written = []
    for task in tasks:
        place = folder / _file_name(task.title) if len(tasks) > 1 else folder
        for part in parts_of(task):
            for chart in part.charts:
                written += save(draw(chart), place / chart.key)
        for number, (title, episode) in enumerate(_episodes(task), 1):
            stem = place / f"meta_episode_{number}"
            written += save(draw_timeline(timeline(episode), title), stem)
    return written


def draw(chart: Chart) -> Any:
    """A chart as a Matplotlib figure; nothing is shown on a screen."""
    figure = blank_figure((6.4, 5.8 if _crowded(chart) else 4.0))
    axes = figure.subplots()
    draw_on(axes, chart)
    axes.set_title(chart.title, fontsize=11, loc="left")
    names = [name for name in axes.get_legend_handles_labels()[1] if name]
    if names:
        rows = 1 if max(map(len, names)) > 28 else 2
        figure.legend(loc="outside lower left", frameon=False, fontsize=8, ncols=rows)
    return figure


def _crowded(chart: Chart) -> bool:
    """Whether its labels have no room side by side."""
    return sum(map(len, chart.x_labels or ())) > _LABELS_ROOM


def draw_timeline(charts: Sequence[Chart], title: str, width: float = 7.2, dpi: int = 100) -> Any:
    """Charts over the steps of one meta-episode, one above the other; the width is in inches."""
    figure = blank_figure((width, 1.6 * len(charts) + 1.0), dpi)
    rows = figure.subplots(len(charts), 1, sharex=True, squeeze=False)[:, 0]
    for axes, chart in zip(rows, charts, strict=True):
        draw_on(axes, chart)
        axes.set_xlabel(chart.x_label if axes is rows[-1] else "")
        above = {"loc": "lower left", "bbox_to_anchor": (0.0, 0.98), "borderaxespad": 0.0}
        axes.legend(**above, frameon=False, fontsize=8, ncols=3, columnspacing=1.0)
    figure.suptitle(title, fontsize=11, x=0.02, ha="left")
    figure.align_ylabels()
    return figure


def draw_on(axes: Any, chart: Chart) -> None:
    """A chart's lines, levels and labels on Matplotlib axes."""
    from matplotlib.ticker import EngFormatter

    bars = [line for line in chart.lines if line.style == "bars"]
    named: set[str] = set()
    for line in chart.lines:
        name = "_nolegend_" if line.name in named else line.name
        named.add(line.name)
        if line in bars:
            _draw_bars(axes, line, name, bars.index(line), len(bars))
        else:
            _draw_line(axes, line, name)
    for level in chart.levels:
        axes.axhline(level.value, color=GREY, linewidth=1, linestyle="--")
        axes.annotate(
            level.name,
            (1.0, level.value),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 2),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color="0.35",
        )
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label, xlim=chart.x_range, ylim=chart.limits())
    if chart.x_labels:
        turned: dict[str, Any] = {"rotation": 60, "ha": "right"} if _crowded(chart) else {}
        axes.set_xticks(range(len(chart.x_labels)), chart.x_labels, **turned)
    if chart.x_label == STEPS:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.yaxis.label.set_size(9)
    axes.xaxis.label.set_size(9)
    axes.tick_params(labelsize=8)


def save(figure: Any, stem: Path) -> list[Path]:
    """The figure in all `FORMATS`; `stem` is the path without an ending."""
    files = [stem.with_name(f"{stem.name}.{ending}") for ending in FORMATS]
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for file in files:
            figure.savefig(file, dpi=200, metadata=_METADATA[file.suffix])
    except OSError as error:
        raise UserError(f"--figures {stem.parent}: cannot be written: {error.strerror}") from None
    return files


# No date: the same runs give the same files.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}


def blank_figure(size: tuple[float, float], dpi: int = 100) -> Any:
    """A figure of its own, apart from pyplot's global state and from any screen."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, dpi=dpi, layout="constrained", facecolor="white")


def _draw_line(axes: Any, line: Line, name: str) -> None:
    hue = colour(line.colour)
    if line.low is not None and line.high is not None:
        axes.fill_between(line.x, line.low, line.high, color=hue, alpha=0.18, linewidth=0)
    if line.style == "markers":
        axes.plot(line.x, line.y, linestyle="", marker="v", markersize=5, color=hue, label=name)
        return
    dash = DASHES[max(line.colour, 0) // len(COLOURS) % len(DASHES)]
    axes.plot(
        line.x,
        line.y,
        color=hue,
        linewidth=1.5,
        linestyle=STYLES.get(line.style, dash),
        drawstyle="steps-post" if line.style == "steps" else "default",
        marker="o" if line.markers else None,
        markersize=3,
        label=name,
    )


def _draw_bars(axes: Any, line: Line, name: str, number: int, count: int) -> None:
    width = 0.8 / count
    places = np.asarray(line.x, float) + (number - (count - 1) / 2) * width
    whiskers = None
    if line.low is not None and line.high is not None:
        y = np.asarray(line.y)
        whiskers = np.array([y - np.asarray(line.low), np.asarray(line.high) - y])
    axes.bar(places, line.y, width, yerr=whiskers, color=colour(line.colour), label=name)


def _episodes(task: Task) -> list[tuple[str, Recorded]]:
    """The recorded meta-episodes of the task's first run that has any, with titles."""
    for group in task.groups:
        for run in group.evaluated:
            found = meta_episodes(run.evaluation or {})
            if found:
                title = f"{group.label}: a held-out meta-episode, return"
                return [(f"{title} {episode.total:.1f}", episode) for episode in found]
    return []


def _file_name(title: str) -> str:
    return re.sub(r"[^\w.=-]+", "_", title).strip("_")
