"""What prior conditioning learns and what it is worth: short trainings, measured at their end.

    python benchmarks/conditioning.py run law --seeds 0 1          # p(m^i | m^{i-1}) against T_m
    python benchmarks/conditioning.py run cycle --seeds 0 1 2      # full, without, memory cut
    python benchmarks/conditioning.py run beliefs --seeds 0 1 2    # the same by random play alone
    python benchmarks/conditioning.py refit CHECKPOINT             # the prior alone, in four worlds
    python benchmarks/conditioning.py report

Each run trains in this process, without Ray, and adds what `session_prior.py` measures of it to
`docs/results/conditioning/runs.json`; what is there is not run again. The report is `table.md`.
`beliefs` has a smaller grid, and a policy that acts at random and does not learn. `refit` keeps a
trained agent as it is, lets it act in worlds with other laws and fits a new prior to what it sees.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import raw
import session_prior
import torch
import yaml
from ray.rllib.core import DEFAULT_MODULE_ID

from rllib_metarl import Checkpoint, DynaMITEConfig
from rllib_metarl.recording import record
from rllib_metarl.sampling.held_out import HeldOut, normalised_score

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "conditioning"
EXAMPLES = ROOT / "tuned_examples" / "dynamite"
HELD_OUT = {"episodes": 384, "seed": 2718}
"""Tasks of no training curve."""
REWARDS = {"session_prior": "rewards", "held_belief": "mixture"}
LAWS: dict[str, Any] = {
    "default": [[0.2, 0.8], [0.8, 0.2]],
    "sticky": [[0.8, 0.2], [0.2, 0.8]],
    "uniform": [[0.5, 0.5], [0.5, 0.5]],
    "asymmetric": [[0.1, 0.9], [0.6, 0.4]],
}
WAYS: dict[str, dict[str, Any]] = {
    "full": REWARDS,
    "first-belief": {},
    "none": {"prior_conditioning": False},
    "cut": REWARDS | {"cut_memory": True},
    "cut-none": REWARDS | {"cut_memory": True, "prior_conditioning": False},
}
SMALL = {"size": 3, "cells": [[0, 0], [2, 0], [2, 2], [0, 2]], "horizon": 30, "p_switch": 0.1}
AT_RANDOM = {
    "vae_warmup_steps": 10**9,
    "vae_warmup_updates": 6,
    "rollout_fragment_length": 30,
    "train_batch_size_per_learner": 3840,
    "vae_max_pairs": 4000,
}
REFIT: dict[str, Any] = {"steps": 500, "episodes": 768, "rows": 32, "lr": 0.003}
Job = tuple[str, str, dict[str, Any], dict[str, Any]]  # run, example, env arguments, settings


def jobs(study: str) -> list[Job]:
    """The runs of a study, each with a name, its example and what is changed in it."""
    if study == "law":
        laws = [(f"law-{k}", "gridworld", {"transition": law}, REWARDS) for k, law in LAWS.items()]
        return [*laws, ("law-default-first-belief", "gridworld", {}, {})]
    if study == "beliefs":
        return [
            (f"beliefs-{world}-{k}", "gridworld-cycle", SMALL | {"announce": told}, way | AT_RANDOM)
            for world, told in (("announced", True), ("hidden", False))
            for k, way in WAYS.items()
            if k != "first-belief"
        ]
    hidden = [(f"cycle-{k}", "gridworld-cycle", {}, way) for k, way in WAYS.items()]
    told = [
        (f"announced-{k}", "gridworld-cycle", {"announce": True}, WAYS[k])
        for k in ("full", "none", "cut", "cut-none")
    ]
    return hidden + told


def main(argv: list[str] | None = None) -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train and measure what has not been measured yet")
    run.add_argument("study", choices=("law", "cycle", "beliefs"))
    run.add_argument("--seeds", type=int, nargs="+", default=[0])
    run.add_argument("--only", nargs="+", help="these runs of the study only")
    run.add_argument("--steps", type=int, help="env steps in place of the example's")
    again = commands.add_parser("refit", help="fit the prior alone to a trained agent's sessions")
    again.add_argument("checkpoint", type=Path)
    again.add_argument("--name", default="refit", help="begins the runs' names")
    again.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the fit")
    tell = commands.add_parser("report", help="table.md from the raw JSON")
    tell.add_argument("--ages", nargs="*", default=[], metavar="RUN", help="its belief by age")
    for command in (run, again, tell):
        command.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args(argv)
    if arguments.command == "run":
        for seed in arguments.seeds:
            for job in jobs(arguments.study):
                if not arguments.only or job[0] in arguments.only:
                    run_one(job, seed, arguments.steps, arguments.results)
    elif arguments.command == "refit":
        for seed in arguments.seeds:
            for law in LAWS:
                run = f"{arguments.name}-{law}-{seed}"
                refit(arguments.checkpoint, law, seed, run, arguments.results)
    else:
        text = table(arguments.results)
        (arguments.results / "table.md").write_text(text)
        print(
            text,
            fits_table(arguments.results),
            *(age_table(arguments.results, run) for run in arguments.ages),
            sep="\n",
        )


def run_one(job: Job, seed: int, steps: int | None, results: Path) -> None:
    """Trains and measures one seed unless that has been done."""
    name, example, env_config, settings = job
    run = f"{name}-{seed}"
    if "measured" in raw.read(results).get(run, {}):
        return
    config, asked = config_of(example, env_config, settings, seed, steps)
    started = time.perf_counter()
    learner, curve = train(config, asked)
    at_random = config.vae_warmup_steps > asked
    told = measured(config, learner.module[DEFAULT_MODULE_ID], at_random)
    budget = {"env_steps": curve[-1][0], "wall_s": round(time.perf_counter() - started)}
    raw.add(results, run, train=budget | {"seed": seed, "settings": settings}, measured=told)
    raw.add(
        results, run, curve={"env_steps": [c[0] for c in curve], "return": [c[1] for c in curve]}
    )
    print(run, session_prior.summary(told), sep="\n", flush=True)


def config_of(
    example: str, env_config: dict[str, Any], settings: dict[str, Any], seed: int, steps: int | None
) -> tuple[Any, int]:
    """The config of a tuned example with changes, its schedules as long as the run, and its env
    steps."""
    [told] = yaml.safe_load((EXAMPLES / f"{example}.yaml").read_text()).values()
    ours, whole = dict(told["config"]), int(told["stop"]["num_env_steps_sampled_lifetime"])
    ours.pop("seed", None)
    asked = steps or whole
    for key in ("lr", "vae_lr", "entropy_coeff"):
        if isinstance(ours.get(key), list):
            points = enumerate(ours[key])
            ours[key] = [[max(i, int(at * asked / whole)), value] for i, (at, value) in points]
    ours["env_config"] = (ours.get("env_config") or {}) | env_config
    config = DynaMITEConfig().environment(told["env"]).update_from_dict(ours | settings)
    config.debugging(seed=seed)
    config.validate()
    return config, asked


def train(config: Any, steps: int) -> tuple[Any, list[tuple[int, float]]]:
    """Trains in this process; the learner, and the mean return of each iteration's episodes."""
    torch.manual_seed(config.seed)
    runner = config.env_runner_cls(config=config, worker_index=1, num_workers=1)
    spaces = (runner.env.single_observation_space, runner.env.single_action_space)
    learner = config.build_learner(env=None, spaces={DEFAULT_MODULE_ID: spaces})
    learner.build()
    done, curve = 0, []
    while done < steps:
        agent = learner.module[DEFAULT_MODULE_ID]
        runner.module.set_state(agent.get_state(inference_only=True))
        episodes = runner.sample(num_timesteps=config.train_batch_size_per_learner, explore=True)
        done += sum(map(len, episodes))
        learner.update(
            episodes=episodes,
            timesteps={"num_env_steps_sampled_lifetime": done},
            num_epochs=config.num_epochs,
            minibatch_size=config.minibatch_size,
        )
        curve.append((done, round(float(np.mean([e.get_return() for e in episodes])), 2)))
        if len(curve) % 20 == 0:
            print(*curve[-1], flush=True)
    runner.stop()
    return learner, curve


def refit(checkpoint: Path, law: str, seed: int, run: str, results: Path) -> None:
    """Fits a new prior to the sessions that a trained agent sees in a world with another law."""
    if run in raw.read(results):
        return
    world = {"transition": LAWS[law]}
    learner = learner_of(checkpoint, {"session_prior": "rewards"}, world, seed, "session_prior")
    agent, config = learner.agent, learner.config
    played = play(config, agent, REFIT["episodes"], seed)
    agent.session_prior.follow(torch.as_tensor(played.belief[:, :-1]).flatten(0, 1))

    def loss(batch: Any) -> Any:
        with torch.no_grad():
            belief = agent.encode(batch.inputs)
        return learner.session_prior_loss(batch, belief, batch.session)

    fit(agent, agent.session_prior.parameters(), loss, played, **REFIT)
    told = measured(config, agent)
    raw.add(results, run, train={"env_steps": 0, "refit": REFIT}, measured=told)
    print(run, session_prior.summary(told), sep="\n", flush=True)


def learner_of(
    checkpoint: Path, settings: dict[str, Any], env_config: dict[str, Any], seed: int, new: str = ""
) -> Any:
    """A learner with the weights of a checkpoint, but for a part that is `new`."""
    opened = Checkpoint.open(checkpoint)
    asked = {k: v for k, v in opened.config.items() if k not in ("env", "env_config")} | settings
    config = DynaMITEConfig().environment(opened.config["env"], env_config=env_config)
    config.update_from_dict(asked)
    torch.manual_seed(seed)
    learner = config.build_learner(env=gymnasium.make(config.env))
    learner.build()
    trained = opened.module().state_dict()
    kept = {k: v for k, v in trained.items() if not new or not k.startswith(new)}
    missing, left = learner.agent.load_state_dict(kept, strict=False)
    assert not left and all(new and name.startswith(new) for name in missing), (missing, left)
    return learner


def play(config: Any, agent: Any, episodes: int, seed: int) -> Any:
    """Meta-episodes to learn from, of none of the tasks that are measured."""
    held_out = HeldOut(config.env, config.env_config, episodes, HELD_OUT["seed"] + 1 + seed)
    try:
        return record(held_out.play(agent, explore=True), agent.latents)
    finally:
        held_out.close()


def fit(
    agent: Any,
    parameters: Any,
    loss: Any,
    played: Any,
    *,
    steps: int,
    rows: int,
    lr: float,
    **_: Any,
) -> None:
    """Adam on a loss of `rows` recorded meta-episodes, its rate falling to 0."""
    data, parameters = session_prior.trajectories(agent, played), list(parameters)
    optimiser = torch.optim.Adam(parameters, lr)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = lr * (1 - step / steps)
        chosen = torch.randint(len(played), (rows,))
        value = loss(data.map(lambda column, chosen=chosen: column[chosen]))
        optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        optimiser.step()


def measured(config: Any, module: Any, explore: bool = False) -> dict[str, Any]:
    """What `session_prior.py` tells of a trained module, and its score on held-out tasks."""
    held_out = HeldOut(config.env, config.env_config, **HELD_OUT)
    try:
        told = session_prior.told_of(module, held_out, explore)
        score = normalised_score(told["return_mean"], held_out.references())
    finally:
        held_out.close()
    plain: dict[str, Any] = json.loads(json.dumps(told | {"normalised_score": score}))
    return plain


def table(results: Path, name: str = "") -> str:
    """The numbers of the runs whose names begin so, one row each: few seeds stand one by one."""
    lines = [
        "| run | env steps | score | prior of a sure old belief, by the sessions that it explains "
        "| T_m | worst error | by the goals' odds | worst error "
        "| switches told at the filter's precision (filter) | own log-loss (filter) "
        "| at a session's first step |",
        "|---" * 11 + "|",
    ]
    for run, told in raw.read(results).items():
        if "measured" in told and run.startswith(name):
            lines.append(_row(run, told["train"], told["measured"]))
    return "\n".join(lines) + "\n"


def fits_table(results: Path, name: str = "refit") -> str:
    """Every law's fits: what the prior gives the goal that paid before, by both readings."""
    lines = [
        "| law | old goal | T_m: it pays again | by the sessions that it explains | largest error "
        "| by the goals' odds | largest error |",
        "|---" * 7 + "|",
    ]
    runs = raw.read(results)
    for law in LAWS:
        fits = [told["measured"] for run, told in runs.items() if run.startswith(f"{name}-{law}-")]
        for goal in range(len(LAWS[law])) if fits else ():
            rows = [told["prior"]["rows"][goal] for told in fits]
            cells = [law, str(goal), f"{LAWS[law][goal][goal]:.2f}"]
            for key, error in (("explained", "error_explained"), ("prior", "error")):
                cells.append(_numbers([row[key][goal] for row in rows]))
                cells.append(f"{max(row[error] for row in rows):.2f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def age_table(results: Path, run: str) -> str:
    """What a run's own decoder says by the steps since a goal was visited."""
    lines = [
        "| steps since a goal was visited | share | log-loss | exact filter | the larger P "
        "| exact filter |",
        "|---" * 6 + "|",
    ]
    keys = ("share", "log_loss", "log_loss_exact", "largest", "largest_exact")
    for row in raw.read(results)[run]["measured"]["belief"]["by_age"]:
        age = "none visited yet" if row["age"] is None else f"{row['age']}"
        age += " or more" * (row["age"] == session_prior.AGES)
        lines.append(f"| {age} | " + " | ".join(f"{row[key]:.2f}" for key in keys) + " |")
    return "\n".join(lines) + "\n"


def _row(run: str, train: dict[str, Any], told: dict[str, Any]) -> str:
    prior = told.get("prior", {"rows": []})
    explained, law, odds = (
        "; ".join(_numbers(row[key] or []) for row in prior["rows"])
        for key in ("explained", "law", "prior")
    )
    worst = [prior.get(key) for key in ("worst_error_explained", "worst_error")]
    explained_off, odds_off = ("" if x is None else f"{x:.2f}" for x in worst)
    switches, belief = told["switches"], told["belief"]
    recall = switches["recall_at_exact_precision"]
    score = told["normalised_score"]
    cells = [
        *(run, f"{train['env_steps']:,}", "" if score is None else f"{score:.2f}"),
        *(explained, law, explained_off, odds, odds_off),
        "" if recall is None else f"{recall:.2f} ({switches['exact_recall']:.2f})",
        *(f"{x['log_loss']:.2f} ({x['log_loss_exact']:.2f})" for x in (belief, told["first_step"])),
    ]
    return f"| {' | '.join(cells)} |"


def _numbers(values: list[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


if __name__ == "__main__":
    main()
