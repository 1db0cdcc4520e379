"""The commands that make a run, and its evaluation, again."""

from __future__ import annotations

import json
import shlex
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from rllib_metarl.reading import expanded, parse_yaml
from rllib_metarl.report.metrics import ENV_STEPS
from rllib_metarl.report.runs import EVALUATION, Run

# `rllib train` adds these itself; seed and env have options of their own.
IMPLIED = ("enable_rl_module_and_learner", "enable_env_runner_and_connector_v2", "seed", "env")


def train_command(run: Run) -> str:
    """The shortest `rllib train` with the run's settings: a tuned example's, or all of them."""
    config = own_settings(run)
    seed = [] if run.seed is None else ["--seed", str(run.seed)]
    known = [found for found in map(_fitted(run, config), _examples()) if found is not None]
    if known:
        words = min(known, key=lambda found: len(shlex.join(found)))
        return shlex.join(["rllib", "train", "file", *words, *seed])
    settings = ["--config", _json(config)] if config else []
    words = ["--run", run.algorithm, "--env", run.env, *settings, *_stop(run)]
    return shlex.join(["rllib", "train", *words, *seed])


def evaluate_command(run: Run) -> str:
    """The `rllib evaluate` whose result this report finds."""
    folder = shown_path(run.directory)
    return shlex.join(["rllib", "evaluate", folder, "--json", f"{folder}/{EVALUATION}"])


def own_settings(run: Run) -> dict[str, Any]:
    """The run's settings without what `rllib train` adds or takes from its other options."""
    return {key: value for key, value in run.config.items() if key not in IMPLIED}


def shown_path(path: Path) -> str:
    """A path as short as it can be written: from here, from home, or in full."""
    path = expanded(path).absolute()
    for base, prefix in ((Path.cwd(), ""), (Path.home(), "~/")):
        if path.is_relative_to(base):
            return prefix + path.relative_to(base).as_posix()
    return path.as_posix()


def _stop(run: Run) -> list[str]:
    return ["--stop", _json({ENV_STEPS: run.env_steps})]


@cache
def _examples() -> list[tuple[list[str], dict[str, Any]]]:
    """All tuned examples that train once, at each scale: words of the command, and content."""
    found = []
    folders = [f for f in files("rllib_metarl.tuned_examples").iterdir() if f.name != "sweeps"]
    for folder in sorted(folders, key=lambda f: f.name):
        for file in folder.iterdir() if folder.is_dir() else ():
            if file.name.endswith(".yaml"):
                content, _ = parse_yaml(file.read_text(encoding="utf-8"))
                if len(content) == 1:
                    (experiment,) = content.values()
                    name = f"tuned_examples/{folder.name}/{file.name}"
                    found.append(([name], experiment))
                    for scale, over in (experiment.get("scales") or {}).items():
                        found.append(([name, "--scale", scale], _scaled(experiment, over)))
    return found


def _scaled(experiment: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """What of a tuned example a run is compared with, at a scale of it."""
    parts = {key: {**experiment.get(key, {}), **over.get(key, {})} for key in ("config", "stop")}
    return experiment | parts


def _fitted(run: Run, config: dict[str, Any]) -> Any:
    """A function: example -> the words behind `rllib train file` that make it this run, or None."""

    def fit(example: tuple[list[str], dict[str, Any]]) -> list[str] | None:
        name, experiment = example
        theirs = {k: v for k, v in (experiment.get("config") or {}).items() if k not in IMPLIED}
        same = experiment.get("run") == run.algorithm and experiment.get("env") == run.env
        if not same or set(theirs) - set(config):  # an option cannot take a setting away
            return None
        changed = {k: v for k, v in config.items() if k not in theirs or theirs[k] != v}
        words = [*name, "--config", _json(changed)] if changed else name
        return words if _stops_there(run, experiment) else words + _stop(run)

    return fit


def _stops_there(run: Run, experiment: dict[str, Any]) -> bool:
    """Whether the run ended where the example's own criterion ends it, within one iteration."""
    steps = (experiment.get("stop") or {}).get(ENV_STEPS)
    if steps is None or not run.iterations:
        return False
    return 0 <= run.env_steps - steps <= run.env_steps / run.iterations


def _json(value: Any) -> str:
    return json.dumps(value, default=str)
