"""Trains and evaluates tuned examples over seeds, and tells what came out, page by page.

    python benchmarks/learning.py run gridworld --jobs 2     # all that the page shows, resumable
    python benchmarks/learning.py report gridworld           # table, summary, picture from raw JSON
    python benchmarks/learning.py check                      # every page is what its raw JSON says

Every run is the two commands that the results pages show: `rllib train file` and
`rllib evaluate --quick`.
The pages are in `pages.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import raw
from pages import PAGES, Agent, Page

from rllib_metarl.evaluation.statistics import interval, interval_of, iqm

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"


def main(argv: list[str] | None = None) -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train and evaluate what has no evaluation yet")
    run.add_argument("page", choices=PAGES)
    run.add_argument("--agents", nargs="+", help="only these rows of the page")
    run.add_argument("--seeds", type=int, default=5)
    run.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    run.add_argument("--storage", type=Path, default=Path("~/ray_results").expanduser())
    tell = commands.add_parser("report", help="table and picture from the raw JSON")
    tell.add_argument("page", choices=PAGES)
    check = commands.add_parser("check", help="whether the pages are what their raw JSON says")
    check.add_argument("pages", nargs="*", metavar="page", help="these only")
    arguments = parser.parse_args(argv)
    if arguments.command == "check":
        sys.exit(check_pages(arguments.pages or list(PAGES)))
    page = PAGES[arguments.page]
    if arguments.command == "report":
        report(arguments.page, page)
        return
    agents = arguments.agents or list(page.agents)
    jobs = [(name, seed) for seed in range(arguments.seeds) for name in agents]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda job: run_one(arguments.page, *job, arguments), jobs))


def run_one(page: str, name: str, seed: int, arguments: argparse.Namespace) -> None:
    """Trains and evaluates one seed unless its evaluation is there already."""
    agent, folder, run = PAGES[page].agents[name], RESULTS / page, f"{name}-{seed}"
    if "evaluate" in raw.read(folder).get(run, {}):
        return
    trained = rllib(
        "train",
        "file",
        f"tuned_examples/{agent.example}",
        *overrides(agent),
        f"--seed={seed}",
        f"--storage-path={arguments.storage / page / run}",
    )
    elsewhere = [f"--env-config={json.dumps(agent.evaluated_on)}"] if agent.evaluated_on else []
    checkpoint = trained["checkpoint"]
    evaluated = rllib(
        "evaluate",
        checkpoint,
        "--quick",
        "--seed=0",  # as the rows that are there already
        f"--episodes={PAGES[page].episodes}",
        *elsewhere,
    )
    curve = learning_curve(Path(checkpoint).parent / "result.json")
    results = {"train": without_paths(trained), "evaluate": without_paths(evaluated)}
    raw.add(folder, run, **results, curve=curve)


def overrides(agent: Agent) -> list[str]:
    """What the command line changes in the agent's tuned example."""
    changes = [f"--config={json.dumps(agent.config)}"] if agent.config else []
    if agent.steps:
        stop = {"num_env_steps_sampled_lifetime": agent.steps}
        changes.append(f"--stop={json.dumps(stop)}")
    return changes


def rllib(*arguments: str) -> dict[str, Any]:
    """Runs the project's command line; what it writes for `--json`."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "told.json")
        command = [sys.executable, "-m", "rllib_metarl.cli.main", *arguments, f"--json={out}"]
        subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        result: dict[str, Any] = json.loads(out.read_text())
    return result


def without_paths(result: dict[str, Any]) -> dict[str, Any]:
    """Keeps of the paths only what does not depend on the machine."""
    checkpoint = "/".join(Path(result["checkpoint"]).parts[-3:])
    return {key: result[key] for key in result if key != "directory"} | {"checkpoint": checkpoint}


def learning_curve(result_file: Path) -> dict[str, list[float]]:
    """Held-out evaluations of a run, by env steps."""
    curve: dict[int, tuple[float, float]] = {}
    for line in result_file.read_text().splitlines():
        evaluation = json.loads(line).get("evaluation") or {}
        if "at_env_steps" in evaluation:
            values = (evaluation["return_mean"], evaluation.get("normalised_score"))
            curve[int(evaluation["at_env_steps"])] = values
    steps = sorted(curve)
    return {
        "env_steps": steps,
        "return_mean": [curve[step][0] for step in steps],
        "normalised_score": [curve[step][1] for step in steps],
    }


def report(name: str, page: Page) -> None:
    """Writes summary.json, table.md and learning_curves.png beside the raw JSON."""
    folder, rows = RESULTS / name, rows_of(name, page)
    classical = page.classical() if page.classical else {}
    summary = {
        "machine": machine(),
        "date": date.today().isoformat(),
        "agents": rows,
        "classical": classical,
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    text = table(page, rows) + classical_table(classical)
    (folder / "table.md").write_text(text)
    # Who was trained on other tasks than the rest was evaluated on those while training.
    alike = [name for name in rows if not page.agents[name].evaluated_on]
    picture(folder, page, alike or list(rows))
    print(text)


def rows_of(name: str, page: Page) -> dict[str, dict[str, Any]]:
    """The summaries of the agents that have been evaluated."""
    runs = {key: raw.of_agent(RESULTS / name, key) for key in page.agents}
    rows = {key: summarise(of, page.measures) for key, of in runs.items() if of}
    if {"blind", "oracle"} <= rows.keys() and not rows["oracle"]["scores"]:
        add_shares_of_the_way(rows)
    return rows


def check_pages(names: list[str]) -> int:
    """Prints what differs between the raw JSON, summary.json, table.md and README.md; 1 if any."""
    wrong = [f"{name}: {what}" for name in names for what in differences(name, PAGES[name])]
    print("\n".join(wrong) or f"{len(names)} pages are what their raw JSON says")
    return int(bool(wrong))


def differences(name: str, page: Page) -> list[str]:
    """Which files of a page do not follow from its raw JSON; policies that do not learn are taken
    from the summary, for playing them takes minutes."""
    folder, rows = RESULTS / name, rows_of(name, page)
    if not rows and not folder.exists():
        return []  # nothing has been run yet
    summary = json.loads((folder / "summary.json").read_text())
    text = table(page, rows) + classical_table(summary["classical"])
    found = []
    if not alike(summary["agents"], json.loads(json.dumps(rows))):
        found.append("summary.json differs")
    if (folder / "table.md").read_text() != text:
        found.append("table.md differs")
    readme = folder / "README.md"
    if readme.exists() and page.in_readme:
        lines = [line for line in text.splitlines() if line and line not in readme.read_text()]
        found += [f"README.md has no line {line}" for line in lines]
    return found


def alike(a: Any, b: Any) -> bool:
    """Whether two JSON values are the same but for the last digits of their numbers."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol=1e-6, equal_nan=True))
    return bool(a == b)


def summarise(runs: list[dict[str, Any]], measures: tuple[str, ...]) -> dict[str, Any]:
    """Median, IQM with interval and raw values over seeds."""
    evaluations, trainings = [[run[kind] for run in runs] for kind in ("evaluate", "train")]
    scores = np.array([e["normalised_score"] for e in evaluations], dtype=float)
    measured = {key: np.array([e[key] for e in evaluations]) for key in measures}
    returns = np.array([e["return_mean"] for e in evaluations])
    scored = bool(np.isfinite(scores).all())
    return {
        "seeds": len(returns),
        "returns": returns.tolist(),
        "return_iqm": iqm(returns),
        "return_interval": interval(returns),
        "score_median": float(np.median(scores)) if scored else None,
        "score_iqm": iqm(scores) if scored else None,
        "score_interval": interval(scores) if scored else None,
        "scores": scores.tolist() if scored else None,
        "measures": {
            key: {"values": values.tolist(), "iqm": iqm(values), "interval": interval(values)}
            for key, values in measured.items()
        },
        "env_steps": trainings[0]["env_steps"],
        "wall_s_median": float(np.median([t["wall_s"] for t in trainings])),
        "references": evaluations[0]["references"],
    }


def add_shares_of_the_way(rows: dict[str, dict[str, Any]]) -> None:
    """Where no exact values are known: how far from the blind agent to the oracle each one gets."""

    def share(ours: Any, blind: Any, oracle: Any) -> float:
        low, high = iqm(blind), iqm(oracle)
        return float((iqm(ours) - low) / (high - low))

    ends = rows["blind"]["returns"], rows["oracle"]["returns"]
    for name, row in rows.items():
        row["way_iqm"] = share(row["returns"], *ends)
        row["way_interval"] = [row["way_iqm"]] * 2
        if name not in ("blind", "oracle"):
            row["way_interval"] = interval_of(share, row["returns"], *ends).tolist()


def table(page: Page, rows: dict[str, dict[str, Any]]) -> str:
    """The Markdown table of the results page."""
    measures = [f" {name.replace('_', ' ')}, IQM [95 %] |" for name in page.measures]
    scores = score_head(next(iter(rows.values())))
    head = "| agent | seeds | env steps | return, IQM [95 %] | lowest seed |"
    head += scores + "".join(measures) + " wall s |"
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for agent, row in rows.items():
        middle = with_interval(row["return_iqm"], row["return_interval"], 2)
        lines.append(
            f"| {page.agents[agent].label} | {row['seeds']} | {row['env_steps']:,.0f} "
            f"| {middle} | {min(row['returns']):.2f} |"
            f"{score_cells(row)}{measured_cells(row)} {row['wall_s_median']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def with_interval(value: float, ends: list[float], most: int) -> str:
    """A number with its interval, with the digits that it carries: half the interval's width has
    two digits, one where it begins with 5 or more; `most` behind the point. One seed has none."""
    low, high = ends
    half = (high - low) / 2
    if not half > 0:
        return f"{value:.{min(most, 2)}f}"
    first = int(np.floor(np.log10(half)))
    digits = min(most, max(0, (half / 10.0**first < 5) - first))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def score_head(row: dict[str, Any]) -> str:
    """The heads of `score_cells`."""
    if row["scores"]:
        return " normalised score: median | IQM [95 %] | lowest seed |"
    return " of the way from blind to oracle [95 %] |" if "way_iqm" in row else ""


def score_cells(row: dict[str, Any]) -> str:
    """The cells that say how good a row's returns are, as far as there is something to go by."""
    if row["scores"]:
        middle = with_interval(row["score_iqm"], row["score_interval"], 3)
        return f" **{row['score_median']:.3f}** | {middle} | {min(row['scores']):.3f} |"
    if "way_iqm" in row:
        middle, _, ends = with_interval(row["way_iqm"], row["way_interval"], 2).partition(" ")
        return f" **{middle}** {ends}".rstrip() + " |"
    return ""


def measured_cells(row: dict[str, Any]) -> str:
    """The cells of a row's further measures."""
    measures = row["measures"].values()
    return "".join(f" {with_interval(m['iqm'], m['interval'], 3)} |" for m in measures)


def classical_table(classical: dict[str, dict[str, float]]) -> str:
    """The Markdown table of policies that do not learn, played on tasks of the same kind."""
    if not classical:
        return ""
    regret = any("regret_mean" in row for row in classical.values())
    head = "| policy | return | standard error |" + (" regret |" if regret else "")
    lines = ["", head, "|---" * (3 + regret) + "|"]
    for name, row in classical.items():
        cells = f"| {name} | {row['return_mean']:.2f} | {row['standard_error']:.2f} |"
        lines.append(cells + (f" {row['regret_mean']:.3f} |" if regret else ""))
    return "\n".join(lines) + "\n"


def picture(folder: Path, page: Page, agents: list[str]) -> None:
    """IQM of the held-out return over training, all seeds behind it, references as lines.

    Of agents that adapt by gradient it is the return after each gradient step that is drawn.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.2), constrained_layout=True)
    maps: list[Any] = [plt.get_cmap(name) for name in ("tab10", "Dark2")]
    colours = [colour for shades in maps for colour in shades.colors]
    for agent, colour in zip(agents, colours, strict=False):
        curves = [curve_of(run, page) for run in raw.of_agent(folder, agent)]
        length = min(len(steps) for steps, _ in curves)
        steps = np.array(curves[0][0][:length])
        returns = np.array([values[:length] for _, values in curves])
        middle = iqm(returns, axis=0)
        axes.plot(steps, returns.T, color=colour, alpha=0.2, linewidth=0.7)
        seeds = f"{len(curves)} seed" + "s" * (len(curves) > 1)
        label = f"{page.agents[agent].label}, {seeds}"
        axes.plot(steps, middle, color=colour, linewidth=2, label=label)
    known = [raw.of_agent(folder, agent)[0]["evaluate"]["references"] or {} for agent in agents]
    references = known[0]
    for name in ("oracle", "bayes", "blind"):
        # A line for all of the picture must hold for every agent's env.
        if name in references and all(other.get(name) == references[name] for other in known):
            draw_reference(axes, page.reference_labels.get(name, name), references[name])
    along = "gradient steps on a task" if page.adapts else "environment steps (millions)"
    axes.set(xlabel=along, ylabel="return on held-out meta-episodes")
    if page.adapts:
        axes.set(xticks=range(len(page.measures)), ylim=page.shown)
    axes.set_title(f"{page.title}\nIQM over seeds (thin lines: seeds)", fontsize=10, loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / ("adaptation.png" if page.adapts else "learning_curves.png"), dpi=150)


def curve_of(run: dict[str, Any], page: Page) -> tuple[list[float], list[float]]:
    """Millions of env steps, or gradient steps, and the held-out return at each."""
    if page.adapts:
        after = [run["evaluate"][measure] for measure in page.measures]
        return list(range(len(after))), after
    return [steps / 1e6 for steps in run["curve"]["env_steps"]], run["curve"]["return_mean"]


def draw_reference(axes: Any, name: str, value: float) -> None:
    """A dashed line with its name above the right end."""
    axes.axhline(value, color="0.45", linewidth=1, linestyle="--")
    axes.annotate(
        f"{name} {value:.2f}",
        (1.0, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color="0.3",
    )


def machine() -> str:
    """What the numbers were measured on."""
    cores = os.cpu_count()
    return f"{cores} cores, {platform.machine()}, Python {platform.python_version()}, CPU only"


if __name__ == "__main__":
    main()
