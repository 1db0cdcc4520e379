"""The settings of a sweep, and whether they go together: all that is known before Ray starts."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, field
from typing import Any

from rllib_metarl.cli.experiment.schema import Experiment
from rllib_metarl.cli.experiment.space import GRID, MAX_TRIALS, SEED, ErrorAt, Parameter, Space
from rllib_metarl.report.metrics import ENV_STEPS
from rllib_metarl.spelling import suggestion

ITERATIONS = "training_iteration"
TIMES = (ENV_STEPS, ITERATIONS, "time_total_s")
"""What schedulers count a trial's progress in."""

ADAPTIVE = ("optuna", "bayesopt")
POPULATION = ("pbt", "pb2")
MAX_SEEDS = 1_000
_NUMBER, _FLAG = (int, float), (bool,)
SCHEDULERS: dict[str, dict[str, tuple[type, ...]]] = {
    "fifo": {},
    "asha": {
        "time_attr": (str,),
        "max_t": _NUMBER,
        "grace_period": _NUMBER,
        "reduction_factor": _NUMBER,
        "brackets": (int,),
    },
    "hyperband": {"time_attr": (str,), "max_t": _NUMBER, "reduction_factor": _NUMBER},
    "median": {"time_attr": (str,), "grace_period": _NUMBER, "min_samples_required": (int,)},
    "pbt": {
        "time_attr": (str,),
        "perturbation_interval": _NUMBER,
        "burn_in_period": _NUMBER,
        "quantile_fraction": _NUMBER,
        "resample_probability": _NUMBER,
        "perturbation_factors": (list,),
        "synch": _FLAG,
    },
    "pb2": {
        "time_attr": (str,),
        "perturbation_interval": _NUMBER,
        "quantile_fraction": _NUMBER,
        "synch": _FLAG,
    },
}
"""What `scheduler_config` may say for each scheduler."""

_PACKAGES = {"optuna": "optuna", "bayesopt": "bayes_opt"}
# What a trial cannot change when it takes over another one's checkpoint.
_FIXED_FOR_LIFE = re.compile(
    r"^(env|env_config|seed|_?model_config|num_env_runners|num_learners|held_out_\w+|"
    r"evaluate_every_steps|num_[cg]pus_\w+|rollout_fragment_length)$"
)


@dataclass(frozen=True)
class Sweep:
    """A checked sweep.

    Attributes:
        space: what is searched.
        samples: `num_samples`.
        search, scheduler: their names in an experiment file.
        settings: the scheduler's settings, complete.
        metric, mode: what trials are compared by; None where nothing compares them.
        max_concurrent: how many trials may run at once, or None.
        search_seed: seed of the search itself.
    """

    space: Space
    samples: int = 1
    search: str = "random"
    scheduler: str = "fifo"
    settings: dict[str, Any] = field(default_factory=dict)
    metric: str | None = None
    mode: str = "max"
    max_concurrent: int | None = None
    search_seed: int = 0

    @property
    def trials(self) -> int:
        """How many trials it has."""
        return self.space.count(self.samples)

    @property
    def adaptive(self) -> bool:
        """Whether later configurations depend on the results of earlier ones."""
        return self.search in ADAPTIVE

    @property
    def in_population(self) -> bool:
        """Whether trials take over each other's weights."""
        return self.scheduler in POPULATION


def is_sweep(spec: Experiment, space: Space) -> bool:
    """Whether an experiment compares trials, rather than training once."""
    asked = spec.search_alg or spec.scheduler or spec.seeds
    return bool(asked or space.parameters or spec.num_samples > 1)


def seeds_of(
    spec: Experiment, config: dict[str, Any], space: Space, error_at: ErrorAt
) -> tuple[int, ...]:
    """The seeds that `seeds` asks for: a list, or so many from `config.seed` (0) on.

    Raises:
        UserError: it is neither a number nor a list of different ones, or the seed is searched.
    """
    wanted_seeds = spec.seeds
    if wanted_seeds is None:
        return ()
    if SEED in space.named:
        raise error_at(("seeds",), "the seed is searched twice: by 'seeds' and by 'config.seed'")
    if isinstance(wanted_seeds, list):
        if len(set(wanted_seeds)) < len(wanted_seeds) or not wanted_seeds:
            raise error_at(("seeds",), f"'seeds': expected different numbers, got {wanted_seeds}")
        return tuple(wanted_seeds)
    if wanted_seeds > MAX_SEEDS:
        raise error_at(("seeds",), f"'seeds': at most {MAX_SEEDS:,}, got {wanted_seeds:,}")
    first = config.get(SEED) or 0
    return tuple(range(first, first + wanted_seeds))


def checked_sweep(spec: Experiment, space: Space, config: Any, error_at: ErrorAt) -> Sweep:
    """The sweep that an experiment asks for.

    Args:
        spec: the experiment's own keys.
        space: what it searches, with its seeds.
        config: the AlgorithmConfig of one of its points.
        error_at: builds the error.

    Raises:
        UserError: settings that do not go together; the message says the fix.
    """
    search, scheduler = spec.search_alg or "random", spec.scheduler or "fifo"
    _check_search(search, space, spec, error_at)
    _check_metric(spec, search, scheduler, error_at)
    _check_settings(spec.scheduler_config, scheduler, error_at)
    settings = _completed(spec, scheduler, error_at)
    _check_times(settings, scheduler, error_at)
    if spec.metric:
        _check_first_report(spec, settings, config, error_at)
    if scheduler in POPULATION:
        _check_population(spec, scheduler, space, config, error_at)
    if scheduler == "hyperband" and spec.max_concurrent_trials:
        raise error_at(
            ("max_concurrent_trials",),
            "hyperband pauses trials until its bracket is full, which max_concurrent_trials would "
            "never let happen; leave it out, the CPUs limit what runs at once",
        )
    sweep = Sweep(
        space,
        spec.num_samples,
        search,
        scheduler,
        settings,
        spec.metric,
        spec.mode,
        spec.max_concurrent_trials,
        spec.search_seed,
    )
    if sweep.trials > MAX_TRIALS:
        raise error_at(
            ("num_samples",),
            f"this makes {sweep.trials:,} trials, at most {MAX_TRIALS:,} are possible; shorten a "
            "grid_search, or use choice, num_samples and search_alg: optuna",
        )
    return sweep


def _check_search(search: str, space: Space, spec: Experiment, error_at: ErrorAt) -> None:
    place = ("search_alg",)
    package = _PACKAGES.get(search)
    if package and importlib.util.find_spec(package) is None:
        raise error_at(
            place, f"search_alg: {search} is not installed; pip install 'rllib-metarl[sweeps]'"
        )
    if search not in ADAPTIVE:
        return
    if not space.parameters:
        raise error_at(
            place,
            f"search_alg: {search} has nothing to search; give a config key a range, for example "
            "`lr: {loguniform: [1e-4, 1e-2]}`",
        )
    if spec.scheduler in POPULATION:
        raise error_at(
            place,
            f"scheduler: {spec.scheduler} searches by itself, while trials run; leave search_alg "
            "out, or take scheduler: asha",
        )
    for one in space.parameters:
        place = ("config", *one.path)
        if one.kind == GRID:
            raise error_at(
                place,
                f"'{one.name}': grid_search tries every value, {search} chooses by itself; write "
                "choice, or search_alg: random",
            )
        if search == "bayesopt" and (one.kind not in ("uniform", "loguniform") or one.when):
            what = "a condition" if one.when else one.kind
            raise error_at(
                place,
                f"'{one.name}': bayesopt searches uniform and loguniform only, not {what}; use "
                "search_alg: optuna",
            )


def _check_metric(spec: Experiment, search: str, scheduler: str, error_at: ErrorAt) -> None:
    asks = f"search_alg: {search}" if search in ADAPTIVE else f"scheduler: {scheduler}"
    if spec.metric is None and (search in ADAPTIVE or scheduler != "fifo"):
        key = "search_alg" if search in ADAPTIVE else "scheduler"
        raise error_at(
            (key,),
            f"{asks} compares trials by a metric; set `metric`, for example "
            "`metric: evaluation/return_mean`",
        )


def _check_settings(written: dict[str, Any], scheduler: str, error_at: ErrorAt) -> None:
    known = SCHEDULERS[scheduler]
    for key, value in written.items():
        place = ("scheduler_config", key)
        if key not in known:
            has = f"has {', '.join(known)}" if known else "has none; set `scheduler` first"
            raise error_at(
                place,
                f"unknown scheduler_config key '{key}'{suggestion(str(key), known)} ({scheduler} "
                f"{has})",
            )
        kinds = known[key]
        if not isinstance(value, kinds) or isinstance(value, bool) != (kinds == _FLAG):
            words: dict[Any, str] = {_NUMBER: "a number", _FLAG: "true or false"}
            wanted = words.get(kinds, kinds[0].__name__)
            raise error_at(place, f"'{key}': expected {wanted}, got {value!r}")
        if isinstance(value, (int, float)) and not abs(value) <= 1e18:
            raise error_at(place, f"'{key}': expected a number up to 1e18, got {value!r}")
    if written.get("time_attr", ENV_STEPS) not in TIMES:
        raise error_at(
            ("scheduler_config", "time_attr"),
            f"'time_attr': expected one of {', '.join(TIMES)}, got {written['time_attr']!r}",
        )


def _completed(spec: Experiment, scheduler: str, error_at: ErrorAt) -> dict[str, Any]:
    """The scheduler's settings with what follows from the experiment's stop criteria."""
    settings, known = dict(spec.scheduler_config), SCHEDULERS[scheduler]
    if not known:
        return settings
    counted = [key for key in TIMES if key in spec.stop]
    if scheduler == "hyperband":
        counted = [ITERATIONS]  # its brackets are powers of the reduction factor: small numbers
    time_attr = settings.setdefault("time_attr", counted[0] if counted else ITERATIONS)
    end = settings.get("max_t", spec.stop.get(time_attr))
    if end is None:
        raise error_at(
            ("scheduler",),
            f"scheduler: {scheduler} needs to know how long a trial is; "
            f"set `stop: {{{time_attr}: ...}}`"
            + (" or `scheduler_config: {max_t: ...}`" if "max_t" in known else ""),
        )
    if not isinstance(end, (int, float)) or isinstance(end, bool) or end <= 0:
        raise error_at(
            ("stop", time_attr), f"'{time_attr}': expected a number above 0, got {end!r}"
        )
    if "max_t" in known:
        settings["max_t"] = end
    if "grace_period" in known:
        settings.setdefault(
            "grace_period", max(1, end / 9 if time_attr != ITERATIONS else end // 9)
        )
    if "reduction_factor" in known:
        settings.setdefault("reduction_factor", 3)
    if "perturbation_interval" in known:
        settings.setdefault("perturbation_interval", max(1, end / 10))
    return settings


def _check_times(settings: dict[str, Any], scheduler: str, error_at: ErrorAt) -> None:
    def refuse(key: str, wanted: str) -> None:
        raise error_at(
            ("scheduler_config", key), f"'{key}': {wanted}, got {settings[key]!r} ({scheduler})"
        )

    end = settings.get("max_t", float("inf"))
    if "max_t" in settings and end <= 0:
        refuse("max_t", "must be above 0")
    if "grace_period" in settings and not 0 < settings["grace_period"] <= end:
        refuse("grace_period", f"must be above 0 and at most max_t ({end:g})")
    if "reduction_factor" in settings and settings["reduction_factor"] <= 1:
        refuse("reduction_factor", "must be above 1")
    for key in ("perturbation_interval", "brackets", "min_samples_required"):
        if key in settings and settings[key] <= 0:
            refuse(key, "must be above 0")
    if "burn_in_period" in settings and settings["burn_in_period"] < 0:
        refuse("burn_in_period", "must be 0 or more")
    if not 0 < settings.get("quantile_fraction", 0.25) <= 0.5:
        refuse("quantile_fraction", "must be above 0 and at most 0.5")
    if not 0 <= settings.get("resample_probability", 0.25) <= 1:
        refuse("resample_probability", "must be between 0 and 1")
    factors = settings.get("perturbation_factors", [1.2, 0.8])
    if len(factors) != 2 or not all(isinstance(x, (int, float)) and x > 0 for x in factors):
        refuse("perturbation_factors", "must be two numbers above 0, for example [1.2, 0.8]")
    if scheduler == "hyperband" and end > 10_000:
        refuse("max_t", "is counted in iterations and at most 10,000; use scheduler: asha")


def _check_first_report(
    spec: Experiment, settings: dict[str, Any], config: Any, error_at: ErrorAt
) -> None:
    """A metric must be there before trials are first compared by it, or they never are."""
    every = getattr(config, "evaluate_every_steps", None)
    if not every or not str(spec.metric).startswith("evaluation/"):
        return
    batch = getattr(config, "total_train_batch_size", 1) or 1
    in_steps = {ENV_STEPS: 1, ITERATIONS: batch}
    times = {("stop", key): spec.stop.get(key) for key in in_steps}
    time_attr = settings.get("time_attr")
    for key in ("grace_period", "perturbation_interval"):
        times["scheduler_config", key] = settings.get(key) if time_attr in in_steps else None
    if spec.scheduler == "hyperband":
        times["scheduler", "the first rung"] = 1
    for path, period in times.items():
        unit = in_steps[path[1] if path[0] == "stop" else time_attr or ENV_STEPS]
        if period is not None and period * unit < every:
            raise error_at(
                path if path[0] == "stop" or path[1] in spec.scheduler_config else ("metric",),
                f"'{spec.metric}' is first reported after {every:,} env steps, but {path[1]} is "
                f"{period:g}{f' iterations of {batch} steps' if unit != 1 else ''}; set "
                "evaluate_every_steps lower, or that higher",
            )


def _check_population(
    spec: Experiment, scheduler: str, space: Space, config: Any, error_at: ErrorAt
) -> None:
    """Whether trials can take over weights and change what is searched."""
    if spec.seeds is not None:
        raise error_at(
            ("seeds",),
            f"scheduler: {scheduler} changes configurations while they run, so seeds cannot repeat "
            "them; leave it out, num_samples is the size of the population",
        )
    size = space.count(spec.num_samples)
    if size < 2:
        raise error_at(
            ("num_samples",),
            f"scheduler: {scheduler} needs a population of 2 trials or more; set num_samples: 4",
        )
    if spec.max_concurrent_trials is not None and spec.max_concurrent_trials < size:
        raise error_at(
            ("max_concurrent_trials",),
            f"scheduler: {scheduler} takes turns among all {size} trials, by the CPUs there are; "
            "leave max_concurrent_trials out",
        )
    keep = spec.checkpoint_config.num_to_keep
    if keep is not None and keep < 4:
        raise error_at(
            ("checkpoint_config", "num_to_keep"),
            f"scheduler: {scheduler} continues trials from each other's checkpoints, which "
            f"num_to_keep: {keep} may delete too early; set 4 or more",
        )
    mutated = mutable(space)
    if not mutated:
        raise error_at(
            ("scheduler",),
            f"scheduler: {scheduler} has nothing to change while trials run; search a key by "
            "uniform, loguniform, randint or choice",
        )
    for one in mutated:
        _check_mutable(one, scheduler, config, error_at)


def mutable(space: Space) -> list[Parameter]:
    """What a population-based scheduler changes: all that is searched but the grid."""
    return [one for one in space.parameters if one.kind != GRID]


def _check_mutable(one: Parameter, scheduler: str, config: Any, error_at: ErrorAt) -> None:
    from rllib_metarl.algorithms.base.settings import network_settings

    place = ("config", *one.path)
    if len(one.path) > 1 or one.when:
        raise error_at(
            place,
            f"'{one.name}': scheduler: {scheduler} changes whole config keys, without conditions; "
            f"search '{one.path[0]}' itself, or use grid_search here",
        )
    if _FIXED_FOR_LIFE.match(one.name) or one.name in network_settings(config):
        raise error_at(
            place,
            f"'{one.name}' cannot change while a trial runs, since its weights and tasks come from "
            f"another trial's checkpoint; use grid_search, or a scheduler other than {scheduler}",
        )
    if scheduler == "pb2" and one.kind not in ("uniform", "randint"):
        raise error_at(
            place,
            f"'{one.name}': pb2 models values between two bounds, by uniform or randint, not "
            f"{one.kind}; use scheduler: pbt",
        )
