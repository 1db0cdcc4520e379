"""The report as one HTML file that needs nothing else: figures, viewer, tables, commands."""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from rllib_metarl.origin import version
from rllib_metarl.report.belief_charts import adaptation_charts, uncertainty_charts
from rllib_metarl.report.charts import Chart
from rllib_metarl.report.groups import Group, Task
from rllib_metarl.report.learning_charts import (
    REFERENCES,
    belief_term_charts,
    learning_charts,
)
from rllib_metarl.report.plotly_figures import figure
from rllib_metarl.report.reproduce import (
    evaluate_command,
    own_settings,
    shown_path,
    train_command,
)
from rllib_metarl.report.tables import Table, absent, comparison, improvement, measures
from rllib_metarl.report.viewer import Viewer, make_viewer

TEMPLATES = ("rllib_metarl.report", "templates")


@dataclass(frozen=True)
class Part:
    """A heading, with `key` as its anchor, and charts; where there are none, `empty` says why."""

    key: str
    heading: str
    charts: list[Chart]
    empty: str = ""


@dataclass(frozen=True)
class Section:
    """All that the page shows of one task; `name` is unique on the page."""

    name: str
    task: Task
    parts: list[Part]
    tables: list[Table]
    absent: list[tuple[str, str]]
    viewer: Viewer | None
    not_evaluated: list[str] = field(default_factory=list)


def parts_of(task: Task) -> list[Part]:
    """All charts of a task, in the order in which they are read."""
    return [
        Part("learning", "Learning", learning_charts(task), "No returns were reported."),
        Part(
            "training",
            "The belief during training",
            belief_term_charts(task),
            "None of these agents learns a belief by an ELBO.",
        ),
        Part("adaptation", "Adaptation", adaptation_charts(task)),
        Part("worth", "What the belief is worth", uncertainty_charts(task)),
    ]


def make_page(tasks: Sequence[Task], title: str) -> str:
    """The page as HTML.

    Args:
        tasks: what was trained, see `groups.tasks_of`.
        title: the page's heading.
    """
    sections = [_section(f"task-{number}", task) for number, task in enumerate(tasks, 1)]
    return render(
        "page.html",
        title=title,
        sections=sections,
        figures=embedded(_figures(sections)),
        viewers=embedded(_viewers(sections)),
        settings=_settings,
        origins=_origins(tasks),
        runs=sum(len(group.runs) for task in tasks for group in task.groups),
        references=REFERENCES,
        train_command=train_command,
        evaluate_command=evaluate_command,
        shown_path=shown_path,
    )


def render(template: str, **content: Any) -> str:
    """A page of `templates/` as HTML, with its style, its script and plotly in it.

    Args:
        template: the name of one that extends ``base.html``.
        content: what it shows; at least ``title``, ``figures`` and ``viewers``, see `embedded`.
    """
    environment = Environment(
        loader=PackageLoader(*TEMPLATES),
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(
        plotly=_plotly(),
        maker=version(),
        style=resource("page.css"),
        script=resource("page.js"),
        **content,
    )


def _section(name: str, task: Task) -> Section:
    tables = [comparison(task), improvement(task), measures(task)]
    return Section(
        name,
        task,
        parts_of(task),
        [table for table in tables if table is not None],
        absent(task),
        make_viewer(task),
        [evaluate_command(run) for g in task.groups for run in g.runs if run.evaluation is None],
    )


def _figures(sections: list[Section]) -> dict[str, Any]:
    """Element id -> figure, for all charts that stand still."""
    return {
        f"{section.name}-{chart.key}": drawn(figure(chart))
        for section in sections
        for part in section.parts
        for chart in part.charts
    }


def _viewers(sections: list[Section]) -> dict[str, Any]:
    """Section -> what its viewer steps through."""
    return {
        section.name: {
            "texts": section.viewer.texts,
            "switches": section.viewer.switches,
            "views": {
                f"{section.name}-view-{view.key}": {
                    "figures": [drawn(made) for made in view.figures],
                    "scenes": as_words(view.scenes),
                }
                for view in section.viewer.views
            },
        }
        for section in sections
        if section.viewer is not None
    }


def _origins(tasks: Sequence[Task]) -> dict[str, int]:
    """What runs were made by -> how many."""
    runs = [run for task in tasks for group in task.groups for run in group.runs]
    unknown = "version and machine were not recorded"
    return dict(Counter("; ".join(run.origin) or unknown for run in runs))


def _settings(group: Group) -> str:
    """The settings of a group as YAML."""
    return yaml.safe_dump(own_settings(group.runs[0]), default_flow_style=None, sort_keys=True)


def drawn(made: Any) -> dict[str, Any]:
    """A Plotly figure as JSON, whose texts are shown as they are."""
    plain: dict[str, Any] = as_words(json.loads(made.to_json()))
    return plain


def as_words(content: Any) -> Any:
    """Plain data in whose texts Plotly finds no markup but breaks of lines.

    What a run's files call their settings and classes would else be links and styles of the page.
    """
    if isinstance(content, dict):
        return {key: as_words(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [as_words(value) for value in content]
    if isinstance(content, str) and "<" in content:
        return content.replace("<", "&lt;").replace("&lt;br>", "<br>")
    return content


def embedded(content: Any) -> Markup:
    """JSON that may stand in a script element."""
    text = json.dumps(_finite(content), separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def _finite(content: Any) -> Any:
    """None in place of what JSON has no number for: limits of what is beyond all drawing."""
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _plotly() -> Markup:
    """Plotly's build for plane figures, MIT licence: gzip as base64. The whole one is 4.8 MB.

    From npm's ``plotly.js-cartesian-dist-min``, of the version in `get_plotlyjs_version`.
    """
    packed = files(TEMPLATES[0]).joinpath(TEMPLATES[1], "plotly-cartesian.min.js.gz").read_bytes()
    return Markup(base64.b64encode(packed).decode())


def resource(name: str) -> Markup:
    """The text of one of the page's own files, not to be escaped."""
    return Markup(files(TEMPLATES[0]).joinpath(TEMPLATES[1], name).read_text(encoding="utf-8"))
