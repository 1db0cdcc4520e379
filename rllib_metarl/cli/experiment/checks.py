"""Checks of an experiment's config, stop keys and storage, all before Ray starts."""

from __future__ import annotations

import copy
import math
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rllib_metarl.algorithms.base.settings import (
    Entry,
    Number,
    Schedule,
    Setting,
    all_settings,
    or_null,
    problem,
)
from rllib_metarl.cli.experiment import catalogue
from rllib_metarl.cli.experiment.source import KeyPath
from rllib_metarl.cli.experiment.space import Parameter, Space, contains_search, misspelt
from rllib_metarl.cli.experiment.values import convert, convert_like, fits, setter_annotations
from rllib_metarl.errors import UserError, shortened
from rllib_metarl.reading import expanded
from rllib_metarl.report.metrics import is_reported, never_negative, reported_keys
from rllib_metarl.spelling import nearest, suggestion

ErrorAt = Callable[[KeyPath, str], UserError]
"""Builds the error for a key path below the experiment's name."""

_SPECIAL = {
    "callbacks": "callbacks_class",
    "framework": "framework_str",
    "input": "input_",
    "lambda": "lambda_",
}
# Setters that RLlib reaches through a method or a property rather than an attribute.
_EXTRA = {"train_batch_size_per_learner", "multiagent"}
# These may be schedules, whatever their setters declare.
_SCHEDULED = re.compile(r"(^|_)(lr|entropy_coeff|min_std)$")
_SHARES = re.compile(r"^num_[cg]pus_(per|for)_")  # Ray shares a CPU or GPU out in fractions
MAX_CHECKED_VARIANTS = 64
_PROCESSES = ("num_env_runners", "num_learners", "evaluation_num_env_runners")
_MOST_PROCESSES = 100_000


class ConfigChecker:
    """Knows every config key of one algorithm and the type each wants."""

    def __init__(self, algorithm: type) -> None:
        self.default = algorithm.get_default_config()  # type: ignore[attr-defined]
        self._attributes = vars(self.default)
        self._annotations = setter_annotations(type(self.default))
        # The setter's `on_train_result` is stored as `callbacks_on_train_result`, and so on.
        self._annotations |= {
            f"callbacks_{name}": annotation
            for name, annotation in self._annotations.items()
            if name.startswith("on_")
        }
        self._own = type(self.default).__module__.startswith("rllib_metarl.")
        self._entries = entries_of(type(self.default))

    def names(self) -> list[str]:
        """The keys a person may write, without private and dead ones."""
        refused = {key for key, one in self._entries.items() if not isinstance(one, Setting)}
        live = {key for key in self._attributes if not key.startswith("_") and not self._dead(key)}
        live -= refused if self._own else set()
        back = {new: old for old, new in _SPECIAL.items()}
        return sorted({back.get(key, key) for key in live} | _EXTRA | {"model_config"})

    def check(self, config: dict[str, Any], algorithm: str, error_at: ErrorAt) -> dict[str, Any]:
        """``config`` with every value converted to what its key wants; searches stay as written.

        Raises:
            UserError: an unknown key, or a value of the wrong type.
        """
        return {
            key: self._value(key, value, ("config", key), algorithm, error_at)
            for key, value in config.items()
        }

    def _value(self, key: str, value: Any, path: KeyPath, algorithm: str, error_at: ErrorAt) -> Any:
        if not isinstance(key, str):
            raise error_at(path, f"config key {key!r} is not a string; put it in quotation marks")
        target = _SPECIAL.get(key, key)
        if target not in self._attributes and target not in _EXTRA:
            raise error_at(
                path, f"unknown config key '{key}' for {algorithm}{suggestion(key, self.names())}"
            )
        if self._dead(target):
            raise error_at(path, f"config key '{key}' no longer exists in RLlib; remove it")
        return value if contains_search(value) else self.converted(key, value, path, error_at)

    def searched(self, space: Space, config: dict[str, Any], error_at: ErrorAt) -> Space:
        """``space`` with its values converted to what their keys want.

        Raises:
            UserError: a value that the search may give does not fit its key.
        """
        parameters = [
            self._parameter(one, error_at) if len(one.path) == 1 else one
            for one in space.parameters
        ]
        nested = {one.path[0]: one for one in parameters if len(one.path) > 1}
        space = Space(tuple(parameters), space.seeds)
        for point in space.probes(MAX_CHECKED_VARIANTS) if nested else ():
            filled = space.config(config, point)
            for key, one in nested.items():
                self.converted(key, filled[key], ("config", *one.path), error_at)
        return space

    def _parameter(self, one: Parameter, error_at: ErrorAt) -> Parameter:
        key, path = one.path[0], ("config", *one.path)
        otherwise = self.converted(key, one.otherwise, path, error_at) if one.when else None
        values = tuple(self.converted(key, value, path, error_at) for value in one.values)
        if not one.values:
            for value in one.extremes():
                self.converted(key, value, path, error_at)
            if not one.integer:  # ends may be whole numbers where what lies between is not
                try:
                    self.converted(key, one.low + 0.37 * (one.high - one.low), path, error_at)
                except UserError:
                    raise error_at(
                        path, f"'{key}': takes whole numbers only; search it by randint"
                    ) from None
        return replace(one, values=values, otherwise=otherwise)

    def default_value(self, path: KeyPath) -> Any:
        """What a config key is where nothing is written; KeyError for what is not such a key."""
        if len(path) != 1:
            raise KeyError(path)
        return self._attributes[_SPECIAL.get(path[0], path[0])]

    def converted(self, key: str, value: Any, path: KeyPath, error_at: ErrorAt) -> Any:
        """One value as its key wants it."""
        target = _SPECIAL.get(key, key)
        if _holds_nan(value):
            raise error_at(path, f"'{key}': {value!r} is not a number")
        if target == "_model_config":
            self._check_model(value, path, error_at)
            return value
        default = self._attributes.get(target)
        if self._beyond_annotation(target, value, default):
            self._check_range(target, value, path, error_at)
            return value
        try:
            if target in self._annotations:
                value = convert(value, self._annotations[target])
            else:
                value = convert_like(value, default)
        except ValueError as error:
            raise error_at(path, f"'{key}': {error}{misspelt(value)}") from None
        self._check_range(target, value, path, error_at)
        return value

    def _check_range(self, target: str, value: Any, path: KeyPath, error_at: ErrorAt) -> None:
        name = target if target in self._entries else f"_{target}"
        entry = self._entries.get(name)
        wrong = entry and problem(entry, name, value, self._attributes.get(name))
        if wrong:
            raise error_at(path, wrong)

    @staticmethod
    def _beyond_annotation(target: str, value: Any, default: Any) -> bool:
        """RLlib declares some types too narrowly: what it really takes besides."""
        if _SCHEDULED.search(target) and is_schedule(value):
            return True
        if _SHARES.search(target) and isinstance(value, float) and value >= 0.0:
            return True
        return isinstance(value, str) and isinstance(default, str)

    def _check_model(self, value: Any, path: KeyPath, error_at: ErrorAt) -> None:
        if not isinstance(value, dict):
            raise error_at(path, f"'model_config': expected a dict, got {value!r}")
        if self._own:
            raise error_at(
                path,
                "this algorithm takes its networks as config keys, not by model_config: "
                "policy_hidden, policy_activation, encoder_hidden, encoder_embedding, latent_size",
            )
        from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

        known = list(DefaultModelConfig.__dataclass_fields__)
        for key in value:
            if key not in known:
                raise error_at(
                    (*path, key), f"unknown model_config key '{key}'{suggestion(key, known)}"
                )

    def _dead(self, key: str) -> bool:
        """RLlib keeps removed keys as attributes with the value -1 and without a setter."""
        return (
            self._attributes.get(key) == -1
            and type(self._attributes[key]) is int
            and key not in self._annotations
        )


def entries_of(config_class: type) -> dict[str, Entry]:
    """What is declared of an algorithm's config keys.

    Of RLlib's own algorithms' it is the numbers that mean the same in all of them; null, where a
    key's annotation takes it, is right.
    """
    own = all_settings(config_class)
    if own:
        return own
    from rllib_metarl.algorithms.base.rllib_settings import COMMON
    from rllib_metarl.algorithms.belief.ppo_settings import PPO

    return {
        name: Setting(or_null(entry.takes), entry.meaning)
        for name, entry in (COMMON | PPO).items()
        if isinstance(entry, Setting) and isinstance(entry.takes, (Number, Schedule))
    }


def check_env_config(
    env: Any, env_config: Any, error_at: ErrorAt, name: str = "env_config"
) -> None:
    """Make sure that the environment takes the keyword arguments in ``env_config``.

    Raises:
        UserError: it does not; the message names the nearest one.
    """
    if not isinstance(env, str) or not isinstance(env_config, dict):
        return
    known = catalogue.environment_parameters(env)
    for key in env_config if known is not None else ():
        if known is not None and key not in known:
            raise error_at(
                ("config", name, key),
                f"environment '{env}' takes no '{key}'{suggestion(key, known)}"
                f" (it takes: {', '.join(known) or 'nothing'})",
            )


def check_stop(stop: dict[str, Any], origin: str, config: Any, error_at: ErrorAt) -> list[str]:
    """Notes about stop keys that cannot be checked.

    Args:
        stop: result key -> value at which a trial ends.
        origin: the package that the algorithm comes from.
        config: the AlgorithmConfig.
        error_at: builds the error.

    Raises:
        UserError: a key is never reported, so the run would never stop.
    """
    places = {("stop", key): key for key in stop}
    found = [
        _check_result_key("stop key", k, p, origin, config, error_at) for p, k in places.items()
    ]
    for key, value in stop.items():
        if never_negative(key) and (isinstance(value, bool) or value <= 0):
            raise error_at(
                ("stop", key),
                f"stop: {key}: {value} is met before anything is trained: use a number above 0",
            )
    return [note for note in found if note]


def check_export(formats: list[str], algorithm: type, error_at: ErrorAt) -> None:
    """Make sure that an algorithm can export what is asked for.

    Raises:
        UserError: it cannot, as none of RLlib's new API stack can.
    """
    if not formats:
        return
    from ray.rllib.algorithms.algorithm import Algorithm
    from ray.tune.experiment.trial import ExportFormat

    if getattr(algorithm, "_export_model", None) is Algorithm._export_model:
        raise error_at(
            ("export_formats",),
            f"export_formats: {algorithm.__name__} exports nothing: RLlib does so for its old API "
            "stack alone. Leave it out; to take an agent away see docs/use-an-agent.md",
        )
    try:
        ExportFormat.validate(list(formats))
    except Exception as error:
        raise error_at(("export_formats",), f"export_formats: {_short(error)}") from None


def check_metric(metric: str | None, origin: str, config: Any, error_at: ErrorAt) -> list[str]:
    """The same for the metric that a sweep compares its trials by."""
    if metric is None:
        return []
    note = _check_result_key("metric", metric, ("metric",), origin, config, error_at)
    return [note] if note else []


def _check_result_key(
    what: str, key: str, place: KeyPath, origin: str, config: Any, error_at: ErrorAt
) -> str | None:
    """A note where a result key cannot be checked; raises where it is never reported."""
    own = origin != "ray"
    foreign = origin not in {"ray", "rllib_metarl"}
    try:
        missing = _missing(key, config, foreign)
    except UserError as error:
        raise error_at(("config", "env_config"), str(error)) from None
    if missing is not None:
        raise error_at(place, f"{what} '{key}' is never reported here: {missing}")
    if is_reported(key, own):
        return None
    if foreign or _has_custom_metrics(config):
        return f"{what} '{key}' is not a known metric; something of yours must report it"
    known = reported_keys(own)
    best = nearest(key, known)
    hint = f"; did you mean '{best}'?" if best else "; docs/metrics.md lists the metrics"
    raise error_at(place, f"{what} '{key}' is never reported{hint}")


def _missing(key: str, config: Any, foreign: bool) -> str | None:
    """What must be set for ``key`` to be reported, or None if nothing is missing."""
    why = _undeclared(key, config, foreign)
    if why is not None or not key.startswith("evaluation/"):
        return why
    held_out = getattr(config, "evaluate_every_steps", None)
    if held_out is None or key.startswith("evaluation/env_runners/"):
        return None if config.evaluation_interval else "set `evaluation_interval: 10` or similar"
    if not held_out:
        return "set `evaluate_every_steps: 100000` or similar"
    if key == "evaluation/normalised_score" and not _has_references(config):
        return f"environment '{config.env}' has no reference returns; use evaluation/return_mean"
    return None


def _undeclared(key: str, config: Any, foreign: bool) -> str | None:
    """Why algorithm and learner do not report a key that they, or others here, declare.

    Those of a plugin (`foreign`) need not have declared it.
    """
    from rllib_metarl.algorithms import ALGORITHMS
    from rllib_metarl.algorithms.base.config import MetaConfig

    if not isinstance(config, MetaConfig):
        return None
    declared = config.declared_metrics()
    if key in declared:
        condition = declared[key]
        return None if condition is None or condition.holds(config) else f"set {condition.words}"
    if foreign:
        return None
    others = [name for name, e in ALGORITHMS.items() if key in e.config()().declared_metrics()]
    return f"run {' or '.join(others)}" if others else None


def _has_references(config: Any) -> bool:
    from rllib_metarl.sampling.held_out import HeldOut, normalised_score

    try:
        held_out = HeldOut(config.env, config.held_out_arguments(), 1)
    except UserError:
        raise
    except Exception as error:
        # Making it runs an environment's code, which can raise anything.
        raise UserError(f"env {config.env} cannot be made: {_short(error)}") from None
    try:
        return normalised_score(0.0, held_out.references()) is not None
    finally:
        held_out.close()


def check_restore(checkpoint: str, config: Any, error_at: ErrorAt) -> None:
    """Make sure that a checkpoint is of the algorithm and the networks that it is restored into.

    Raises:
        UserError: it is not, or it cannot be read.
    """
    from rllib_metarl.algorithms.base.settings import network_settings
    from rllib_metarl.checkpoint import Checkpoint

    try:
        opened = Checkpoint.open(expanded(checkpoint))
    except UserError as error:
        raise error_at(("restore",), str(error)) from None
    name, stored, wanted = opened.name, opened.config, config.algo_class.__name__
    if name != wanted:
        raise error_at(
            ("restore",),
            f"'{checkpoint}' is a checkpoint of {name}, this experiment runs {wanted}; "
            f"set run: {name}, or restore another",
        )
    for key, value in network_settings(config).items():
        if key in stored and stored[key] != value:
            raise error_at(
                ("restore",),
                f"'{checkpoint}' was trained with {key}: {stored[key]}, this experiment has "
                f"{value}; set {key} as it was, or restore another",
            )
    try:
        opened.module()  # its weights are all there, and finite
    except UserError as error:
        raise error_at(("restore",), str(error)) from None


def check_files(configs: list[Any], written: dict[str, Any], error_at: ErrorAt) -> None:
    """Make sure that the files which an algorithm reads at its start are there.

    Raises:
        UserError: one is not, or it holds something else.
    """
    for config in configs:
        try:
            getattr(config, "check_files", lambda: None)()
        except UserError as error:
            raise error_at(_blamed(str(error), written), str(error)) from None


def check_storage(storage_path: str, error_at: ErrorAt, making: bool = True) -> None:
    """Make sure that results can be written, by writing a file that has no name.

    Args:
        storage_path: where results go.
        error_at: builds the error.
        making: make the directory too; else what is there of it is looked at.

    Raises:
        UserError: they cannot.
    """
    if "://" in storage_path:
        return
    folder = Path(storage_path)
    try:
        # Access bits say too little: root passes them everywhere, and /proc takes no directory.
        if making:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder if making else _nearest_there(folder)):
            pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise error_at(
            ("storage_path",),
            f"storage path '{storage_path}' cannot be written: {why}; "
            "choose another with --storage-path",
        ) from None


def _nearest_there(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there.

    Raises:
        OSError: what is there is no folder, or no folder can have such a name.
    """
    while True:
        try:
            folder.stat()
            return folder
        except FileNotFoundError:
            folder = folder.parent


def build_configs(
    checker: ConfigChecker, variants: Sequence[dict[str, Any]], error_at: ErrorAt
) -> list[Any]:
    """The AlgorithmConfig of each variant, validated by the algorithm itself.

    Raises:
        UserError: with the algorithm's own words, at the line of the key they speak of.
    """
    built = []
    for variant in variants:
        algorithm_config = checker.default.copy(copy_frozen=False)
        try:
            algorithm_config.update_from_dict(copy.deepcopy(variant))
            _check_counts(algorithm_config)
            algorithm_config.validate()
            requested_resources(algorithm_config)
        except Exception as error:
            # Constraints are raised as ValueError, KeyError, NotImplementedError and others;
            # all of them speak about the config, which is the only thing at work here.
            raise error_at(_blamed(str(error), variant), _short(error)) from None
        built.append(algorithm_config)
    return built


def _check_counts(config: Any) -> None:
    """Numbers that are out of reach, before anything is made so many times."""
    for name in _PROCESSES:
        value = getattr(config, name, 0)
        if isinstance(value, (int, float)) and not 0 <= value <= _MOST_PROCESSES:
            raise UserError(f"{name} is {value}: use a number from 0 to {_MOST_PROCESSES:,}.")
    if config.seed is not None and not 0 <= config.seed < 2**31:
        raise UserError(f"seed is {config.seed}: use a number from 0 to {2**31 - 1:,}.")


def requested_resources(config: Any) -> dict[str, float]:
    """What Tune must find free to start one trial: ``{"CPU": 3.0, ...}``."""
    request = config.algo_class.default_resource_request(config)
    needed = {name: float(amount) for name, amount in request.required_resources.items() if amount}
    for name, amount in needed.items():
        if amount < 0:
            raise ValueError(f"a trial cannot ask for {amount:g} {name}")
    return needed


def check_concurrency(configs: list[Any], wanted: int | None, cpus: float, name: str) -> None:
    """Make sure that as many trials can run at once as `max_concurrent_trials` says.

    Args:
        configs: the AlgorithmConfig of each variant.
        wanted: `max_concurrent_trials`, or None.
        cpus: CPUs that Ray has, or will have.
        name: the experiment.

    Raises:
        UserError: there are too few CPUs.
    """
    if wanted is None:
        return
    each = max(requested_resources(config).get("CPU", 0.0) for config in configs)
    if wanted > 1 and wanted * each > cpus:
        raise UserError(
            f"{name}: max_concurrent_trials: {wanted} needs {wanted * each:g} CPUs, {each:g} for "
            f"each trial, and there are {cpus:g}; lower it, or say --ray-num-cpus"
        )


def _holds_nan(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_nan, value))
    if isinstance(value, dict):
        return any(map(_holds_nan, value.values()))
    return isinstance(value, float) and math.isnan(value)


def is_schedule(value: Any) -> bool:
    """Whether a value is RLlib's ``[[0, v0], [steps, v1], ...]``."""
    return fits(value, list[list[float]]) and all(len(pair) == 2 for pair in value) and bool(value)


def _has_custom_metrics(config: Any) -> bool:
    from ray.rllib.callbacks.callbacks import RLlibCallback

    return (
        config.callbacks_class is not RLlibCallback
        or config.custom_evaluation_function is not None
        or any(v is not None for k, v in vars(config).items() if k.startswith("callbacks_on_"))
    )


def _blamed(message: str, config: dict[str, Any]) -> KeyPath:
    named = [key for key in config if key.strip("_") in message]
    return ("config", max(named, key=len)) if named else ("config",)


def _short(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    return shortened(" ".join(str(error).split()) or type(error).__name__, 400)
