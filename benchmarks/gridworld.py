"""Trains and evaluates the GridWorld tuned examples over seeds, and tells what came out.

    python benchmarks/gridworld.py run --jobs 2        # all that the page shows, resumable
    python benchmarks/gridworld.py report              # table, curves and picture from the raw JSON

Every run is the two commands that the results page shows: `rllib train file` and `rllib evaluate`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "gridworld"
END_TO_END = {"policy_gradient_to_encoder": True}


class Agent(NamedTuple):
    """A tuned example, what is changed in it, and how it is shown."""

    label: str
    colour: str
    example: str
    config: dict[str, Any]


AGENTS = {
    "dynamite": Agent("DynaMITE-RL", "#0072B2", "dynamite/gridworld.yaml", {}),
    "varibad": Agent("VariBAD", "#D55E00", "varibad/gridworld.yaml", {}),
    "oracle": Agent("oracle (sees m)", "#009E73", "oracle/gridworld.yaml", {}),
    "endtoend": Agent("DynaMITE-RL, end to end", "#CC79A7", "dynamite/gridworld.yaml", END_TO_END),
}

PUBLISHED = ["dynamite", "varibad", "oracle"]


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--seeds", type=int, default=5)
    run.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    run.add_argument("--episodes", type=int, default=512)
    run.add_argument("--agents", nargs="+", choices=AGENTS, default=PUBLISHED)
    run.add_argument("--storage", type=Path, default=Path("~/ray_results/gridworld").expanduser())
    commands.add_parser("report")
    arguments = parser.parse_args()
    if arguments.command == "run":
        jobs = [(agent, seed) for seed in range(arguments.seeds) for agent in arguments.agents]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(lambda job: run_one(*job, arguments), jobs))
    else:
        report()


def run_one(agent: str, seed: int, arguments: argparse.Namespace) -> None:
    """Trains and evaluates one seed unless its evaluation is there already."""
    summary = RESULTS / "train" / f"{agent}-{seed}.json"
    evaluation = RESULTS / "evaluate" / f"{agent}-{seed}.json"
    if evaluation.exists():
        return
    for folder in (summary.parent, evaluation.parent, RESULTS / "curves"):
        folder.mkdir(parents=True, exist_ok=True)
    storage = arguments.storage / f"{agent}-{seed}"
    example = f"tuned_examples/{agent}/gridworld.yaml"
    rllib(
        "train", "file", example, f"--seed={seed}", f"--storage-path={storage}", f"--json={summary}"
    )
    checkpoint = json.loads(summary.read_text())["checkpoint"]
    rllib("evaluate", checkpoint, f"--episodes={arguments.episodes}", f"--json={evaluation}")
    curve = learning_curve(Path(checkpoint).parent / "result.json")
    (RESULTS / "curves" / f"{agent}-{seed}.json").write_text(json.dumps(curve))
    for file in (summary, evaluation):
        forget_paths(file)


def rllib(*arguments: str) -> None:
    """Runs the project's command line."""
    command = [sys.executable, "-m", "rllib_metarl.cli.main", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def forget_paths(file: Path) -> None:
    """Keeps of the paths only what does not depend on the machine."""
    content = json.loads(file.read_text())
    content["checkpoint"] = "/".join(Path(content["checkpoint"]).parts[-3:])
    content.pop("directory", None)
    file.write_text(json.dumps(content, indent=2) + "\n")


def learning_curve(result_file: Path) -> dict[str, list[float]]:
    """Held-out evaluations of a run, by env steps."""
    curve: dict[int, tuple[float, float]] = {}
    for line in result_file.read_text().splitlines():
        evaluation = json.loads(line).get("evaluation") or {}
        if "at_env_steps" in evaluation:
            values = (evaluation["return_mean"], evaluation["normalised_score"])
            curve[int(evaluation["at_env_steps"])] = values
    steps = sorted(curve)
    return {
        "env_steps": steps,
        "return_mean": [curve[step][0] for step in steps],
        "normalised_score": [curve[step][1] for step in steps],
    }


def report() -> None:
    """Writes summary.json, table.md and learning_curves.png beside the raw JSON."""
    rows = {agent: summarise(agent) for agent in AGENTS if any_results(agent)}
    summary = {"machine": machine(), "date": date.today().isoformat(), "agents": rows}
    (RESULTS / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    (RESULTS / "table.md").write_text(table(rows))
    picture(list(rows))
    print(table(rows))


def any_results(agent: str) -> bool:
    """Whether any seed of an agent has been evaluated."""
    return any((RESULTS / "evaluate").glob(f"{agent}-*.json"))


def load(kind: str, agent: str) -> list[dict[str, Any]]:
    """The raw JSON of all seeds of an agent, in the order of the seeds."""
    return [json.loads(f.read_text()) for f in sorted((RESULTS / kind).glob(f"{agent}-*.json"))]


def summarise(agent: str) -> dict[str, Any]:
    """Median, IQM with interval and raw values over seeds."""
    evaluations, trainings = load("evaluate", agent), load("train", agent)
    scores = np.array([e["normalised_score"] for e in evaluations])
    returns = np.array([e["return_mean"] for e in evaluations])
    return {
        "seeds": len(scores),
        "score_median": float(np.median(scores)),
        "score_iqm": iqm(scores),
        "score_interval": interval(scores),
        "scores": scores.tolist(),
        "return_iqm": iqm(returns),
        "return_interval": interval(returns),
        "env_steps": trainings[0]["env_steps"],
        "wall_s_median": float(np.median([t["wall_s"] for t in trainings])),
        "references": evaluations[0]["references"],
    }


def iqm(values: np.ndarray) -> float:
    """Interquartile mean: the mean of the middle half."""
    return float(stats.trim_mean(values, 0.25))


def interval(values: np.ndarray) -> list[float]:
    """95 % percentile-bootstrap interval of the IQM over seeds."""
    if len(values) < 2:
        return [float(values[0])] * 2
    generator = np.random.default_rng(0)
    drawn = generator.choice(values, (10_000, len(values)))
    return np.percentile(stats.trim_mean(drawn, 0.25, axis=1), [2.5, 97.5]).tolist()


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The Markdown table of the results page."""
    lines = [
        "| agent | seeds | env steps | return, IQM [95 %] | normalised score: median | IQM [95 %] "
        "| lowest seed | wall s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for agent, row in rows.items():
        low, high = row["return_interval"]
        score_low, score_high = row["score_interval"]
        lines.append(
            f"| {AGENTS[agent].label} | {row['seeds']} | {row['env_steps']:,.0f} "
            f"| {row['return_iqm']:.2f} [{low:.2f}, {high:.2f}] | **{row['score_median']:.3f}** "
            f"| {row['score_iqm']:.3f} [{score_low:.3f}, {score_high:.3f}] "
            f"| {min(row['scores']):.3f} | {row['wall_s_median']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def picture(agents: list[str]) -> None:
    """IQM of the held-out return over training, all seeds behind it, references as lines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.2), constrained_layout=True)
    for agent in agents:
        curves = load("curves", agent)
        steps = np.array(curves[0]["env_steps"]) / 1e6
        returns = np.array([curve["return_mean"] for curve in curves])
        middle = stats.trim_mean(returns, 0.25, axis=0)
        axes.plot(steps, returns.T, color=AGENTS[agent].colour, alpha=0.25, linewidth=0.8)
        axes.plot(steps, middle, color=AGENTS[agent].colour, linewidth=2, label=AGENTS[agent].label)
    references = load("evaluate", agents[0])[0]["references"]
    for name, label in (("oracle", "oracle"), ("bayes", "Bayes-optimal"), ("blind", "blind")):
        axes.axhline(references[name], color="0.45", linewidth=1, linestyle="--")
        axes.annotate(
            f"{label} {references[name]:.2f}",
            (steps[-1], references[name]),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color="0.3",
        )
    axes.set(xlabel="environment steps (millions)", ylabel="return on held-out meta-episodes")
    axes.set_title("GridWorld DLCMDP: IQM over seeds (thin lines: seeds)", fontsize=10)
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "learning_curves.png", dpi=150)


def machine() -> str:
    """What the numbers were measured on."""
    cores = os.cpu_count()
    return f"{cores} cores, {platform.machine()}, Python {platform.python_version()}, CPU only"


if __name__ == "__main__":
    main()
