"""``rllib train``: options to experiments, experiments to runs."""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rllib_metarl import checkpoints
from rllib_metarl.cli.experiment.source import KeyPath, put, read_json, read_set
from rllib_metarl.cli.output import check_writable, write_json
from rllib_metarl.cli.running.signals import Stopped, ending_on_signals, exit_code, ignore_repeated
from rllib_metarl.errors import UserError

if TYPE_CHECKING:
    from rllib_metarl.cli.experiment.prepare import Prepared
    from rllib_metarl.cli.running.runner import Outcome

MENDABLE, FAILED = 2, 1


@dataclass(frozen=True)
class Options:
    """What was given on the command line besides the experiment itself."""

    stop: str | None = None
    config: str | None = None
    sets: tuple[str, ...] = ()
    env: str | None = None
    num_samples: int | None = None
    storage_path: str | None = None
    restore: str | None = None
    checkpoint_freq: int | None = None
    checkpoint_at_end: bool | None = None
    keep_checkpoints_num: int | None = None
    seed: int | None = None
    plugins: tuple[str, ...] = ()
    resume: bool = False
    resume_if_any: bool = False
    trust_checkpoint: bool = False
    check: bool = False
    scale: str | None = None
    ray_address: str | None = None
    ray_num_cpus: int | None = None
    json: Path | None = None
    verbose: int = 0

    def apply(self, spec: dict[str, Any]) -> dict[KeyPath, str]:
        """Overrule one experiment; returns the option behind each changed key path."""
        origin: dict[KeyPath, str] = {}
        self._apply_plain(spec, origin)
        self._apply_checkpoints(spec, origin)
        self._apply_config(spec, origin)
        if self.stop is not None:
            spec["stop"] = read_json("--stop", self.stop).data
            origin[("stop",)] = "--stop"
        return origin

    def _apply_plain(self, spec: dict[str, Any], origin: dict[KeyPath, str]) -> None:
        for key in ("env", "num_samples", "storage_path", "restore"):
            value = getattr(self, key)
            if value is not None:
                spec[key] = value
                origin[(key,)] = "--" + key.replace("_", "-")
        if self.plugins and isinstance(spec.get("plugins", []), list):
            spec["plugins"] = [*spec.get("plugins", []), *self.plugins]

    def _apply_checkpoints(self, spec: dict[str, Any], origin: dict[KeyPath, str]) -> None:
        settings = {
            "checkpoint_frequency": (self.checkpoint_freq, "--checkpoint-freq"),
            "checkpoint_at_end": (self.checkpoint_at_end, "--checkpoint-at-end"),
            "num_to_keep": (self.keep_checkpoints_num, "--keep-checkpoints-num"),
        }
        for key, (value, option) in settings.items():
            if value is not None and isinstance(spec.setdefault("checkpoint_config", {}), dict):
                spec["checkpoint_config"][key] = value
                origin[("checkpoint_config", key)] = option

    def _apply_config(self, spec: dict[str, Any], origin: dict[KeyPath, str]) -> None:
        changed = read_json("--config", self.config).data
        option = dict.fromkeys(changed, "--config")
        if self.seed is not None:
            changed["seed"], option["seed"] = self.seed, "--seed"
        if isinstance(spec.setdefault("config", {}), dict):
            spec["config"].update(changed)
            origin.update({("config", key): name for key, name in option.items()})
            for keys, value in map(read_set, self.sets):
                put(spec["config"], keys, value)
                origin[("config", *keys)] = f"--set {'.'.join(keys)}"


def train_file(path: Path, options: Options, argv: list[str]) -> int:
    """``rllib train file``: run the experiments of a file; returns the exit code."""

    from rllib_metarl.cli.experiment.catalogue import experiment_file
    from rllib_metarl.cli.experiment.source import read_yaml
    from rllib_metarl.cli.running.sweep_trust import check_code

    path = experiment_file(path)

    def load() -> list[Prepared]:
        from rllib_metarl.cli.experiment.prepare import from_file

        return from_file(path, options.apply, not options.check, options.scale)

    from rllib_metarl.cli.experiment.extends import resolved

    _check_readable(options)
    # An unreadable file is reported at once, before heavy imports.
    source = resolved(read_yaml(path), options.scale)
    with checkpoints.trusting(options.trust_checkpoint):
        check_code(path, source.data, options.plugins)
    return _train(load, options, argv)


def train_named(name: str | None, run: str | None, options: Options, argv: list[str]) -> int:
    """``rllib train --run``: run one experiment given by options; returns the exit code."""
    if not run:
        raise UserError(
            "nothing to train: `rllib train dynamite/gridworld` (`rllib list` names more), "
            "`rllib train FILE.yaml`, or `rllib train --run NAME --env ID`"
        )
    _check_readable(options)
    name = name or default_name(run, options.env)

    def load() -> list[Prepared]:
        from rllib_metarl.cli.experiment.prepare import prepare
        from rllib_metarl.cli.experiment.source import Source

        return prepare(Source("command line", {name: {"run": run}}), options.apply)

    return _train(load, options, argv)


def default_name(run: str, env: str | None) -> str:
    """``<run>-<env>``, as the name of a folder: ``DynaMITE-DLCMDP-GridWorld-v0``."""
    return re.sub(r"[^\w.-]+", "-", f"{run}-{env}" if env else run)[:100]


def _check_readable(options: Options) -> None:
    """Reports unreadable files at once, before heavy imports."""
    read_json("--config", options.config)
    read_json("--stop", options.stop)
    for written in options.sets:
        read_set(written)


def _train(load: Callable[[], list[Prepared]], options: Options, argv: list[str]) -> int:
    try:
        with ending_on_signals():
            outcomes = _outcomes(load, options)
            return 0 if outcomes is None else _report(outcomes, options, argv)
    except Stopped as stopped:
        return exit_code(stopped.number)


def _outcomes(load: Callable[[], list[Prepared]], options: Options) -> list[Outcome] | None:
    """What each experiment came to; None where they were only to be checked."""
    from rllib_metarl.cli.running.cluster import check_address
    from rllib_metarl.cli.running.ray_session import available_cpus, quiet, ray_session

    began = time.time()
    check_writable(options.json)
    check_address(options.ray_address or "")
    starting = "" if options.check else " and starting Ray"
    print(f"loading RLlib{starting}", flush=True)  # which takes seconds
    outcomes: list[Outcome] = []
    with quiet(options.verbose), contextlib.ExitStack() as held:
        held.enter_context(checkpoints.trusting(options.trust_checkpoint))
        experiments = load()
        _print_notes(experiments)
        if options.check:
            _checked(experiments)
            return None
        if options.ray_address is None:
            _check_concurrency(experiments, options.ray_num_cpus or available_cpus())
        todo = _with_resume(experiments, options)
        for experiment in experiments:
            held.enter_context(_locked(experiment))
        for experiment in (experiment for experiment, resume in todo if resume):
            _make_ready(experiment)
        plugins = list(dict.fromkeys(p for e in experiments for p in e.spec.plugins))
        with ray_session(plugins, options.verbose, options.ray_address, options.ray_num_cpus):
            import ray

            from rllib_metarl.cli.running.resources import alive_nodes, check_resources
            from rllib_metarl.cli.running.runner import run

            for experiment in experiments:
                check_resources(experiment.configs, alive_nodes(), experiment.name)
            _check_concurrency(experiments, ray.cluster_resources().get("CPU", 0.0))
            for experiment, resume in todo:
                outcomes.append(run(experiment, resume, began, _note))
                if outcomes[-1].signal:
                    ignore_repeated()
                    break
    return outcomes


def _locked(experiment: Prepared) -> contextlib.AbstractContextManager[None]:
    """Keeps other drivers out of an experiment's folder."""
    from rllib_metarl.cli.running.lock import locked

    folder = experiment.folder
    return contextlib.nullcontext() if folder is None else locked(folder)


def _with_resume(experiments: list[Prepared], options: Options) -> list[tuple[Prepared, bool]]:
    """Each experiment, and whether it continues an earlier run."""
    if not options.resume and not options.resume_if_any:
        return [(experiment, False) for experiment in experiments]
    from rllib_metarl.cli.running.runner import can_resume

    chosen = [(experiment, can_resume(experiment)) for experiment in experiments]
    if not options.resume_if_any and not any(resume for _, resume in chosen):
        raise UserError(
            f"--resume: no earlier run in {experiments[0].folder}; leave --resume out to "
            "start one, or give the --storage-path of the run"
        )
    return chosen


def _make_ready(experiment: Prepared) -> None:
    """Puts an earlier run's records in order; says which new settings do not count."""
    from rllib_metarl.cli.running.runner import changed_keys, make_ready

    assert experiment.folder is not None  # or `can_resume` would have said so
    make_ready(experiment.folder, _note)
    changed = changed_keys(experiment)
    if changed:
        _note(
            f"{experiment.name} goes on with the config it was started with; changed since "
            f"and not used: {', '.join(changed)}"
        )


def _checked(experiments: list[Prepared]) -> None:
    for experiment in experiments:
        trials = f"{experiment.variants:,} trial{'s' if experiment.variants > 1 else ''}"
        print(f"{experiment.name}: right, {experiment.spec.run}, {trials}")


def _check_concurrency(experiments: list[Prepared], cpus: float) -> None:
    from rllib_metarl.cli.experiment.checks import check_concurrency

    for experiment in experiments:
        wanted = experiment.spec.max_concurrent_trials
        check_concurrency(experiment.configs, wanted, cpus, experiment.name)


def _print_notes(experiments: list[Prepared]) -> None:
    for experiment in experiments:
        for note in dict.fromkeys(experiment.notes):
            _note(note)
        if not experiment.spec.stop and not experiment.spec.time_budget_s:
            _note(f"{experiment.name} has no stop criterion; it runs until Ctrl-C")


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr, flush=True)


def _report(outcomes: list[Outcome], options: Options, argv: list[str]) -> int:
    summaries = [outcome.summary for outcome in outcomes]
    if options.json is not None:
        several = {"experiments": summaries}
        write_json(options.json, summaries[0] if len(summaries) == 1 else several)
    failures = [failure for outcome in outcomes for failure in outcome.failures]
    ended_by = next((outcome.signal for outcome in outcomes if outcome.signal), None)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr, flush=True)
    for summary in summaries:
        print(_closing(summary))
    for line in (line for outcome in outcomes for line in outcome.best):
        print(line)
    if (failures or ended_by) and any(summary["env_steps"] for summary in summaries):
        print(f"resume with: {resume_command(argv)}")
    checkpoints = [s["checkpoint"] for s in summaries if s.get("checkpoint")]
    print(f"checkpoint: {checkpoints[-1]}" if checkpoints else "checkpoint: none was written")
    if any(outcome.storage_failed for outcome in outcomes):
        return MENDABLE
    return exit_code(ended_by) if ended_by else FAILED if failures else 0


def _closing(summary: dict[str, Any]) -> str:
    parts = [f"{summary['experiment']}: {summary['env_steps']:,} env steps"]
    parts.append(f"{summary['wall_s']:.0f} s")
    if summary.get("env_steps_per_s"):
        parts.append(f"{summary['env_steps_per_s']:,.0f} env steps/s")
    if summary.get("return_mean") is not None:
        parts.append(f"return {summary['return_mean']:.2f}")
    if summary.get("normalised_score") is not None:
        parts.append(f"normalised score {summary['normalised_score']:.3f}")
    return ", ".join(parts)


def resume_command(argv: list[str]) -> str:
    """The command that continues the one with these arguments."""
    resumes = {"--resume", "--resume-if-any"} & set(argv)
    return shlex.join(["rllib", *argv, *([] if resumes else ["--resume"])])
