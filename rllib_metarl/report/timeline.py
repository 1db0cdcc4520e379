"""A meta-episode along its steps: belief, switches and reward, as charts one above the other."""

from __future__ import annotations

from rllib_metarl.report.charts import NEUTRAL, Chart, Line, Style
from rllib_metarl.report.recorded import Recorded

AGENT, TRUE, REWARD = 0, 2, 1
TIME = "time in the meta-episode (env steps)"
MOST_DIMENSIONS = 6


def timeline(episode: Recorded) -> list[Chart]:
    """Charts over the steps of one meta-episode, top to bottom."""
    return [_belief(episode), _switches(episode), _reward(episode)]


def _belief(episode: Recorded) -> Chart:
    if episode.decoded is None and episode.exact is None:
        return _latent(episode)
    name, lines = _probabilities(episode)
    return Chart(
        "belief",
        "Belief",
        TIME,
        f"{name} (probability)",
        tuple(lines),
        y_range=(-0.05, 1.05),
    )


def _probabilities(episode: Recorded) -> tuple[str, list[Line]]:
    """The probability of one of two classes, or of the true one among many."""
    names, true = episode.class_names, episode.true_class
    steps = list(range(episode.steps + 1))
    if len(names) == 2 or true is None:
        shown, name = [1 if len(names) == 2 else 0] * len(steps), names[-1]
        name = name if len(names) == 2 else names[0]
    else:
        shown, name = true, "the true context"
    lines = []
    if true is not None and len(names) == 2:
        lines.append(
            Line("true context", steps, [float(t) for t in true], None, None, TRUE, "steps")
        )
    if episode.exact is not None:
        exact = [row[k] for row, k in zip(episode.exact, shown, strict=True)]
        lines.append(Line("exact filter", steps, exact, style="dashed"))
    if episode.decoded is not None:
        decoded = [row[k] for row, k in zip(episode.decoded, shown, strict=True)]
        lines.append(Line("agent's belief", steps, decoded, colour=AGENT))
    return name, lines


def _latent(episode: Recorded) -> Chart:
    """The posterior itself, where no context is decoded from it."""
    mean, steps = episode.belief_mean or [[]], list(range(episode.steps + 1))
    lines = [
        Line(f"dimension {k + 1}", steps, [row[k] for row in mean], colour=k)
        for k in range(min(len(mean[0]), MOST_DIMENSIONS))
    ]
    return Chart("belief", "Belief", TIME, "posterior mean (1)", tuple(lines))


def _switches(episode: Recorded) -> Chart:
    steps = list(range(episode.steps + 1))
    lines = []
    known = {"exact filter": episode.termination_exact, "agent": episode.termination}
    for name, values in known.items():
        if values is not None:
            own = name == "agent"
            points = [float("nan") if value is None else value for value in values]
            style: Style = "solid" if own else "dashed"
            colour = AGENT if own else NEUTRAL
            label = f"switch according to the {name}"
            lines.append(Line(label, steps, points, None, None, colour, style))
    at = switches(episode)
    lines.append(Line("true switch", at, [1.0] * len(at), None, None, TRUE, "markers"))
    return Chart(
        "switches", "Switches", TIME, "switch (probability)", tuple(lines), y_range=(-0.05, 1.1)
    )


def switches(episode: Recorded) -> list[int]:
    """The steps at which the context was redrawn."""
    return [step for step, switched in enumerate(episode.switched or []) if switched]


def _reward(episode: Recorded) -> Chart:
    steps = list(range(episode.steps))
    line = Line("reward", steps, episode.rewards, None, None, REWARD, "steps")
    return Chart("reward", "Reward", TIME, "reward of step (reward)", (line,))
