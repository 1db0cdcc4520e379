"""Charts of a training: returns, scores and the terms of the ELBO over env steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from rllib_metarl.evaluation import statistics
from rllib_metarl.report.charts import STEPS, Chart, Level, Line
from rllib_metarl.report.curves import Band, best_so_far, iqm_band, mean_band
from rllib_metarl.report.groups import Group, Task
from rllib_metarl.report.metric_table import METRICS
from rllib_metarl.report.runs import Curve
from rllib_metarl.report.tables import final_results
from rllib_metarl.sampling import held_out

REFERENCES = {"oracle": "oracle", "bayes": "Bayes-optimal", "blind": "blind", "random": "random"}
BELIEF_TERMS = ("vae/", "top/", "termination/", "belief/")
NOT_TERMS = ("vae/learning_rate", "vae/buffer_episodes", "vae/grad_norm")
RETURN = "return (reward)"
PROFILE_POINTS = 80
SPREAD = "Line: mean over seeds. Band: one standard deviation."
BELOW_BLIND = (
    " Early in training a curve can fall below blind: while the belief does not tell the context "
    "yet (its reward loss has not fallen), the most probable actions can be to wait at a goal that "
    "does not pay. It passes as the reward loss falls. “Return while exploring” draws its actions."
)
MIDDLE = "Line: interquartile mean over seeds. Band: its 95 % bootstrap interval."


def learning_charts(task: Task) -> list[Chart]:
    """Returns and scores of all groups of a task; charts that would be empty are left out."""
    charts = [
        held_out_return(task),
        held_out_return_iqm(task),
        best_evaluation(task),
        normalised_score(task),
        training_return(task),
        performance_profile(task),
    ]
    return [chart for chart in charts if chart.lines]


def held_out_return(task: Task) -> Chart:
    """Held-out return, mean and spread over seeds."""
    lines = _lines(task, "eval/return_mean", mean_band)
    blind = task.references.get("blind", -np.inf)
    below = any(len(line.y) > 1 and min(line.y) < blind for line in lines)
    return Chart(
        "held_out_return",
        "Held-out return during training",
        STEPS,
        RETURN,
        lines,
        f"Greedy policy on the same held-out tasks each time. {SPREAD}{BELOW_BLIND * below}",
        return_levels(task),
    )


def held_out_return_iqm(task: Task) -> Chart:
    """The same, interquartile mean and interval; only where a group has several seeds."""
    several = any(len(group.runs) > 1 for group in task.groups)
    return Chart(
        "held_out_return_iqm",
        "Held-out return: IQM and 95 % interval",
        STEPS,
        RETURN,
        _lines(task, "eval/return_mean", iqm_band) if several else (),
        MIDDLE,
        return_levels(task),
    )


def best_evaluation(task: Task) -> Chart:
    """The best held-out return so far."""
    return Chart(
        "best_evaluation",
        "Best Policy Evaluation Reward Over Training",
        STEPS,
        "best return so far (reward)",
        _lines(task, "eval/return_mean", mean_band, best_so_far),
        f"The best held-out evaluation up to each step. {SPREAD} A maximum over noisy evaluations "
        "lies a little above the truth.",
        return_levels(task),
    )


def normalised_score(task: Task) -> Chart:
    """Normalised score with blind at 0 and Bayes-optimal at 1."""
    return Chart(
        "normalised_score",
        "Normalised score during training",
        STEPS,
        "normalised score (1)",
        _lines(task, "eval/normalised_score", iqm_band),
        f"(return - blind) / (Bayes - blind), held-out tasks. {MIDDLE}",
        score_levels(task),
    )


def training_return(task: Task) -> Chart:
    """Return of the exploring policy."""
    return Chart(
        "training_return",
        "Return while exploring",
        STEPS,
        RETURN,
        _lines(task, "train/return_mean", mean_band),
        f"Meta-episodes of the training batches. {SPREAD}",
        return_levels(task),
    )


def performance_profile(task: Task) -> Chart:
    """Share of seeds above each normalised score; only of groups with several seeds."""
    scores = {n: final_results(group)[1] for n, group in enumerate(task.groups)}
    several = {number: values for number, values in scores.items() if len(values) > 1}
    pooled = [score for values in several.values() for score in values] or [0.0]
    grid = np.linspace(min(pooled), max(pooled), PROFILE_POINTS)

    def above(values: ArrayLike) -> list[float]:
        return statistics.performance_profile(values, grid).tolist()

    lines = []
    for number, values in several.items():
        low, high = statistics.interval_of(above, values).tolist()
        label = task.groups[number].label
        lines.append(Line(label, grid.tolist(), above(values), low, high, colour=number))
    return Chart(
        "performance_profile",
        "Performance profile over seeds",
        "normalised score (1)",
        "seeds with a higher score (share)",
        tuple(lines),
        "The further right a curve falls, the better. Band: 95 % bootstrap interval.",
        y_range=(-0.02, 1.02),
    )


def belief_term_charts(task: Task) -> list[Chart]:
    """One chart for each term of the ELBO, of the termination head and of the belief."""
    charts = []
    for metric in METRICS:
        if not metric.tag.startswith(BELIEF_TERMS) or metric.tag in NOT_TERMS:
            continue
        lines = _lines(task, metric.tag, mean_band)
        if lines:
            key = metric.tag.replace("/", "_")
            label = f"{metric.tag} ({metric.unit})"
            caption = f"{metric.meaning} A good run: {metric.healthy}."
            charts.append(Chart(key, _title(metric.tag), STEPS, label, lines, caption))
    return charts


def return_levels(task: Task) -> tuple[Level, ...]:
    """The task's exact reference returns; the random policy's would only squeeze the rest."""
    return tuple(
        Level(f"{name} {task.references[key]:.2f}", task.references[key])
        for key, name in REFERENCES.items()
        if key in task.references and key != "random"
    )


def score_levels(task: Task) -> tuple[Level, ...]:
    """Those references as normalised scores."""
    known = dict(task.references)
    shown = [(n, known[key]) for key, n in REFERENCES.items() if key in known and key != "random"]
    scores = [(name, held_out.normalised_score(value, known)) for name, value in shown]
    return tuple(Level(f"{name} {score:.2f}", score) for name, score in scores if score is not None)


def _lines(
    task: Task,
    tag: str,
    band: Callable[[list[Curve]], Band],
    change: Callable[[Curve], Curve] = lambda curve: curve,
) -> tuple[Line, ...]:
    lines = []
    for number, group in enumerate(task.groups):
        curves = [change(run.curves[tag]) for run in group.runs if tag in run.curves]
        made = band(curves) if curves else None
        if made is not None and len(made.steps):  # none where seeds reported at other steps each
            lines.append(_line(group, number, made, len(curves)))
    return tuple(lines)


def _line(group: Group, number: int, band: Band, seeds: int) -> Line:
    spread = bool(np.isfinite(band.low).any())
    return Line(
        f"{group.label}, {seeds} seed{'s' if seeds > 1 else ''}",
        band.steps.tolist(),
        band.middle.tolist(),
        band.low.tolist() if spread else None,
        band.high.tolist() if spread else None,
        colour=number,
        markers=len(band.steps) < 30,
    )


_TITLES = {
    "vae/elbo": "Evidence lower bound",
    "vae/kl": "KL between consecutive beliefs",
    "vae/reward_loss": "Reward decoder: negative log-likelihood",
    "vae/reward_error": "Reward decoder: squared error",
    "vae/state_loss": "State decoder: negative log-likelihood",
    "vae/consistency": "Session consistency",
    "vae/session_prior_loss": "Session prior: negative log-likelihood",
    "termination/loss": "Termination head: cross-entropy",
    "termination/recall": "Termination head: recall",
    "termination/auroc": "Termination head: AUROC",
    "top/kl": "Top latent: KL between consecutive beliefs",
    "top/reward_loss": "Top latent: reward loss",
    "top/switch_loss": "Top latent: switch loss",
    "top/entropy": "Top latent: entropy of the belief",
    "belief/entropy": "Entropy of the belief",
}


def _title(tag: str) -> str:
    return _TITLES.get(tag, tag)
