"""From a file or from options to experiments that are known to be runnable.

Mistakes in an experiment are found here, before Ray starts, and reported as one UserError with
file, line and the nearest valid name.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rllib_metarl import checkpoints, plugins
from rllib_metarl.cli.experiment.extends import resolved
from rllib_metarl.cli.experiment.legacy import Translation
from rllib_metarl.cli.experiment.loggers import check_loggers
from rllib_metarl.cli.experiment.schema import Experiment, first_problem
from rllib_metarl.cli.experiment.source import KeyPath, Source, read_yaml
from rllib_metarl.cli.experiment.space import Space, parse
from rllib_metarl.cli.experiment.sweep import Sweep, checked_sweep, is_sweep, seeds_of
from rllib_metarl.errors import UserError
from rllib_metarl.reading import expanded
from rllib_metarl.report.sweep_data import is_sweep_directory
from rllib_metarl.spelling import suggestion

Override = Callable[[dict[str, Any]], dict[KeyPath, str]]
"""Changes one experiment as written, before it is checked: how options overrule the file.
Returns which option each changed key path comes from, for error messages."""


@dataclass(frozen=True)
class Prepared:
    """A checked experiment.

    Attributes:
        name: its directory below the storage path.
        spec: the experiment's own keys.
        algorithm: the Algorithm class.
        config: config values, environment included; search spaces stay as written.
        configs: the AlgorithmConfig of each grid point, and of the ends of each searched range.
        notes: what a person should know: translated keys, stop keys that cannot be checked.
        sweep: how trials are made and compared, or None for a single training.
        written: the experiment as it was written, options and new names in it.
        storage: where results go: a folder, or the address of a remote storage.
    """

    name: str
    spec: Experiment
    algorithm: type
    config: dict[str, Any]
    configs: list[Any]
    notes: list[str] = field(default_factory=list)
    sweep: Sweep | None = None
    written: dict[str, Any] = field(default_factory=dict)
    storage: str = ""

    @property
    def folder(self) -> Path | None:
        """Its directory; None where the storage is not on this machine."""
        return None if "://" in self.storage else Path(self.storage) / self.name

    @property
    def variants(self) -> int:
        """Number of trials."""
        return self.sweep.trials if self.sweep else 1


def prepare(
    source: Source, override: Override = lambda spec: {}, writing: bool = True
) -> list[Prepared]:
    """Check every experiment in ``source``.

    Args:
        source: what was written.
        override: how options overrule it.
        writing: make the storage paths too; else it is only seen whether that can be done.

    Raises:
        UserError: anything a person can get wrong.
    """
    shared, experiments = _split(source)
    _make_importable(source)
    prepared = [
        _prepare_one(name, written, shared, source, override)
        for name, written in experiments.items()
    ]
    for _, check_storage in prepared:  # once all is right: it may make the folder
        check_storage(writing)
    return [experiment for experiment, _ in prepared]


def from_file(
    path: Path, override: Override, writing: bool = True, scale: str | None = None
) -> list[Prepared]:
    """The experiments of a YAML file, at a scale of theirs; see `resolved` and `prepare`."""
    return prepare(resolved(read_yaml(path), scale), override, writing)


def _split(source: Source) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Modules to import for all experiments, and the experiments as written."""
    data = source.data
    if not isinstance(data, dict):
        raise source.error((), "expected experiments, `<name>: {run: ..., env: ...}`")
    if isinstance(data.get("run"), str):
        raise source.error(
            ("run",), "'run' is at the top level; put a name above it and indent the rest"
        )
    shared = data.get("plugins") if isinstance(data.get("plugins"), list) else []
    experiments = {key: value for key, value in data.items() if key != "plugins" or not shared}
    if not experiments:
        raise source.error((), "no experiment in this file, only plugins")
    for name, spec in experiments.items():
        if not _is_folder_name(name):
            raise source.error(
                (name,),
                f"'{str(name)[:100]}' cannot be an experiment's name: use a folder name without "
                "'/', with no '.' in front, of at most 200 printable characters",
            )
        if not isinstance(spec, dict):
            raise source.error((name,), f"experiment '{name}' has no keys; it needs at least `run`")
    return list(shared or []), experiments


def _is_folder_name(name: Any) -> bool:
    if not isinstance(name, str) or "/" in name or name.startswith(".") or not name.strip():
        return False
    return name.isprintable() and len(name.encode("utf-8", "replace")) <= 200


def _make_importable(source: Source) -> None:
    """Plugins may lie in the current folder or beside the experiment file, unless that has results.

    Files among results are not this experiment's code, even if it has a plugin's name.
    """
    plugins.look_in(Path.cwd())
    for label in dict.fromkeys((source.label, *source.elsewhere.values())):
        file = Path(label)
        if file.is_file() and not is_sweep_directory(file.parent):
            plugins.look_in(file.resolve().parent)
    if any(plugins.modules_named_in(source.data)):
        plugins.search_folders()  # some names are RLlib's to import


def _prepare_one(
    name: str, written: dict[str, Any], shared: list[str], source: Source, override: Override
) -> tuple[Prepared, Callable[[bool], None]]:
    translation = Translation()
    data = copy.deepcopy(written)
    options = override(data)
    data = translation.experiment(name, data)
    data["plugins"] = [*shared, *_listed(data.get("plugins", []), name, source)]

    def error_at(path: KeyPath, message: str) -> UserError:
        for length in range(len(path), 0, -1):
            written = translation.moved.get((name, *path[:length]), (name, *path[:length]))[1:]
            if written in options:
                return UserError(f"{options[written]}: {message}")
        full = (name, *path)
        if path[0:1] == ("plugins",) and path[-1] != "plugins" and path[-1] < len(shared):
            full = path  # those of all experiments come first
        while full and full not in translation.moved and full not in source.lines:
            full = full[:-1]
        return source.error(translation.moved.get(full, full), message)

    spec = _validated(data, name, source, error_at)
    prepared = _checked(name, spec, translation.notes, error_at)
    prepared = replace(prepared, written=data, storage=_storage(spec))
    return prepared, partial(_check_storage, prepared.storage, error_at)


def _check_storage(storage: str, error_at: Any, making: bool) -> None:
    from rllib_metarl.cli.experiment import checks

    checks.check_storage(storage, error_at, making)


def _listed(plugins: Any, name: str, source: Source) -> list[Any]:
    if not isinstance(plugins, list):
        raise source.error((name, "plugins"), "'plugins' must be a list of module names")
    return plugins


def _validated(data: dict[str, Any], name: str, source: Source, error_at: Any) -> Experiment:
    if "resources_per_trial" in data:
        raise error_at(
            ("resources_per_trial",),
            "RLlib computes a trial's resources from its config; set num_env_runners, "
            "num_cpus_per_env_runner, num_learners or num_gpus_per_learner there",
        )
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        path, message = first_problem(error, name)
        raise error_at(path[1:], message) from None


def _checked(name: str, spec: Experiment, notes: list[str], error_at: Any) -> Prepared:
    from rllib_metarl.cli.experiment import checks
    from rllib_metarl.cli.experiment.env_check import check_envs

    _check_restore(spec, error_at)
    _import_plugins(spec, error_at)
    algorithm = _algorithm(spec, error_at)
    check_loggers(spec.loggers, error_at)
    checks.check_export(spec.export_formats, algorithm, error_at)
    checker = checks.ConfigChecker(algorithm)
    error_at = _env_where_it_is_written(spec, error_at)
    config = checker.check(_with_environment(spec, error_at), spec.run, error_at)
    space = checker.searched(parse(config, error_at, checker.default_value), config, error_at)
    space = Space(space.parameters, seeds_of(spec, config, space, error_at))
    variants = [space.config(config, p) for p in space.probes(checks.MAX_CHECKED_VARIANTS)]
    _check_environments(variants, error_at)
    built = checks.build_configs(checker, variants, error_at)
    others = [space.config(config, point) for point in space.each_env()]
    notes = notes + check_envs(others, built, error_at)
    origin = algorithm.__module__.partition(".")[0]
    if spec.restore and origin == "rllib_metarl":
        checks.check_restore(spec.restore, built[0], error_at)
    elif not spec.restore:
        checks.check_files(built, config, error_at)
    _check_trust(spec, error_at)
    notes = notes + checks.check_stop(spec.stop, origin, built[0], error_at)
    notes += [note for one in built for note in getattr(one, "notes", list)()]
    notes += checks.check_metric(spec.metric, origin, built[0], error_at)
    _check_score(spec, origin, error_at)
    sweep = checked_sweep(spec, space, built[0], error_at)
    sweep_or_none = sweep if is_sweep(spec, space) else None
    return Prepared(name, spec, algorithm, config, built, notes, sweep_or_none)


def _storage(spec: Experiment) -> str:
    """Where results go: the experiment's storage path, or ``~/ray_results``."""
    path = spec.storage_path or "~/ray_results"
    return path if "://" in path else str(expanded(path).absolute())


def _check_restore(spec: Experiment, error_at: Any) -> None:
    if spec.restore and not checkpoints.is_folder(expanded(spec.restore)):
        raise error_at(("restore",), f"restore: no checkpoint directory at '{spec.restore[:300]}'")


def _check_trust(spec: Experiment, error_at: Any) -> None:
    """Tune restores the whole algorithm, of which much is pickled."""
    if spec.restore:
        try:
            checkpoints.require_trust(expanded(spec.restore))
        except UserError as error:
            raise error_at(("restore",), str(error)) from None


def _import_plugins(spec: Experiment, error_at: Any) -> None:
    from rllib_metarl.cli.experiment.catalogue import register_everything
    from rllib_metarl.cli.experiment.values import import_plugin

    register_everything()
    for index, plugin in enumerate(spec.plugins):
        try:
            import_plugin(plugin)
        except UserError as error:
            raise error_at(("plugins", index), str(error)) from None


def _algorithm(spec: Experiment, error_at: Any) -> type:
    from rllib_metarl.cli.experiment.catalogue import algorithm_class

    try:
        return algorithm_class(spec.run)
    except UserError as error:
        raise error_at(("run",), str(error)) from None


def _env_where_it_is_written(spec: Experiment, error_at: Any) -> Any:
    """``error_at``, for an environment given beside the config rather than in it."""
    if spec.env is None:
        return error_at
    return lambda path, text: error_at(path[1:] if path[:2] == ("config", "env") else path, text)


def _with_environment(spec: Experiment, error_at: Any) -> dict[str, Any]:
    """The config with the environment in it and the new API stack switched on."""
    config = spec.config
    if spec.env is not None and "env" in config:
        raise error_at(("config", "env"), "the environment is given twice: 'env' and 'config.env'")
    env: Any = spec.env if spec.env is not None else config.get("env")
    if env is None and config.get("input_", config.get("input")) is None:
        raise error_at((), "no environment: set `env`, for example `env: DLCMDP/GridWorld-v0`")
    new_stack = {
        "enable_rl_module_and_learner": True,
        "enable_env_runner_and_connector_v2": True,
    }
    return {**new_stack, **config, **({"env": env} if env is not None else {})}


def _check_environments(variants: list[dict[str, Any]], error_at: Any) -> None:
    from rllib_metarl.cli.experiment import catalogue, checks

    for variant in variants:
        env = variant.get("env")
        if env is None:
            continue
        try:
            catalogue.check_environment(env)
        except UserError as error:
            raise error_at(("config", "env"), str(error)) from None
        for key in ("env_config", "held_out_env_config"):
            checks.check_env_config(env, variant.get(key), error_at, key)


def _check_score(spec: Experiment, origin: str, error_at: Any) -> None:
    from rllib_metarl.report.metrics import reported_keys

    key = spec.checkpoint_config.checkpoint_score_attribute
    known = [*reported_keys(origin != "ray"), "training_iteration"]
    if key and key not in known and origin in {"ray", "rllib_metarl"}:
        raise error_at(
            ("checkpoint_config", "checkpoint_score_attribute"),
            f"'{key}' is never reported{suggestion(key, known)}",
        )
