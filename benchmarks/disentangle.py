"""Holds the latents of a page's trained agents against what the env drew: MIG, SAP, DCI, R².

    python benchmarks/disentangle.py gridworld-family --storage ~/ray_results

Reads the checkpoints that `learning.py run PAGE` left in the storage, plays 4,096 held-out
meta-episodes greedily, and adds `disentanglement` to the runs of the page's raw JSON, from which
`disentanglement.md` is written. What has it already is not played again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import raw
from learning import RESULTS
from pages import PAGES, Page

from rllib_metarl import Checkpoint
from rllib_metarl.evaluation.belief.disentanglement import disentanglement_of
from rllib_metarl.sampling.held_out import HeldOut

EPISODES = 4096


def main(argv: list[str] | None = None) -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", choices=[name for name, page in PAGES.items() if page.factors])
    parser.add_argument("--storage", type=Path, default=Path("~/ray_results").expanduser())
    parser.add_argument("--results", type=Path, default=RESULTS, help="the pages' folders")
    parser.add_argument("--episodes", type=int, default=EPISODES)
    arguments = parser.parse_args(argv)
    page, folder = PAGES[arguments.page], arguments.results / arguments.page
    for name, run in raw.read(folder).items():
        checkpoint = arguments.storage / arguments.page / name / run["train"]["checkpoint"]
        if "disentanglement" not in run and checkpoint.exists():
            # As JSON has it: keys are text.
            measured = json.loads(json.dumps(scores(checkpoint, page, arguments.episodes)))
            raw.add(folder, name, disentanglement=measured)
            print(name, flush=True)
    text = table(page, folder)
    (folder / "disentanglement.md").write_text(text)
    print(text)


def scores(checkpoint: Path, page: Page, episodes: int = EPISODES) -> dict[str, Any]:
    """What one checkpoint's latents tell, at each of the page's times."""
    opened = Checkpoint.open(checkpoint)
    config = opened.config
    seed = config.get("held_out_seed", 0)
    held_out = HeldOut(config["env"], config.get("env_config"), episodes, seed)
    try:
        return disentanglement_of(opened.module(), held_out, page.factors, page.told_at)
    finally:
        held_out.close()


def table(page: Page, folder: Path) -> str:
    """Means over seeds, a row for each agent and time; R² for each latent and factor."""
    names = list(page.factors)
    lines = [
        "| agent | seeds | step | MIG | SAP | DCI: disentanglement, completeness, informativeness "
        f"| latent | {' | '.join(f'R² of {name}' for name in names)} |",
        "|---" * (7 + len(names)) + "|",
    ]
    for key, agent in page.agents.items():
        runs = raw.of_agent(folder, key, "disentanglement")
        seeds = [run["disentanglement"] for run in runs]
        for step in page.told_at if seeds else ():
            lines += _rows(agent.label, step, [seed[str(step)] for seed in seeds], names)
    return "\n".join(lines) + "\n"


def _rows(label: str, step: int, seeds: list[dict[str, Any]], names: list[str]) -> list[str]:
    """One row for each latent of an agent at one time."""
    mean = {key: float(np.mean([seed[key] for seed in seeds])) for key in ("mig", "sap")}
    parts = ("disentanglement", "completeness", "informativeness")
    dci = ", ".join(f"{np.mean([seed['dci'][part] for seed in seeds]):.2f}" for part in parts)
    rows = []
    for latent in seeds[0]["readout"]:
        means = (np.mean([seed["readout"][latent][name] for seed in seeds]) for name in names)
        cells = " | ".join(f"{value:.2f}" for value in means)
        head = f"| {label} | {len(seeds)} | {step} | {mean['mig']:.2f} | {mean['sap']:.2f} | {dci} "
        rows.append(f"{head}| {latent} | {cells} |")
    return rows


if __name__ == "__main__":
    main()
