"""Tune's trial schedulers for a sweep: which trials go on, stop early, or take over another's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.schedulers import (
    FIFOScheduler,
    TrialScheduler,
)

from rllib_metarl.cli.experiment.space import CHOICE, Parameter
from rllib_metarl.cli.experiment.sweep import Sweep, mutable
from rllib_metarl.cli.running.brackets import Brackets
from rllib_metarl.cli.running.sweep_memory import (
    Asha,
    Journal,
    Median,
    Population,
    Remembering,
    Synchronised,
)


def trial_scheduler(
    sweep: Sweep,
    journal: Journal | None = None,
    met: Callable[[dict[str, Any]], bool] = lambda result: False,
) -> TrialScheduler:
    """The scheduler of a checked sweep.

    Args:
        sweep: the sweep.
        journal: where it remembers what it has seen, if it can.
        met: whether a result ends a trial, whatever the scheduler says.
    """
    scheduler = _scheduler(sweep)
    if isinstance(scheduler, Remembering):
        scheduler.journal, scheduler.met = journal, met
    return scheduler


def _scheduler(sweep: Sweep) -> TrialScheduler:
    compared = {"metric": sweep.metric, "mode": sweep.mode}
    settings = dict(sweep.settings)
    if sweep.scheduler == "asha":
        return Asha(**compared, **settings)
    if sweep.scheduler == "hyperband":
        settings["max_t"] = math.ceil(settings["max_t"])
        return Brackets(**compared, **settings)
    if sweep.scheduler == "median":
        return Median(**compared, **settings)
    if sweep.in_population:
        return _population(sweep, compared | settings)
    return FIFOScheduler()


def _population(sweep: Sweep, settings: dict[str, Any]) -> TrialScheduler:
    parameters = mutable(sweep.space)
    # A result may come without the metric: evaluations are further apart than iterations.
    settings |= {"require_attrs": False, "custom_explore_fn": Bounded(parameters)}
    if sweep.scheduler == "pb2":
        from ray.tune.schedulers.pb2 import PB2

        kind = type("PB2", (Synchronised, PB2), {})
        return kind(hyperparam_bounds={p.name: [p.low, p.high] for p in parameters}, **settings)
    factors = tuple(settings.pop("perturbation_factors", (1.2, 0.8)))
    mutations = {one.name: _mutation(one) for one in parameters}
    return Population(hyperparam_mutations=mutations, perturbation_factors=factors, **settings)


def _mutation(one: Parameter) -> Any:
    """What PBT draws a new value from: a list, to whose neighbours it steps too, or a range."""
    if one.kind == CHOICE:
        return list(one.values)
    numbers = [one.low, one.high] if one.step is None else [one.low, one.high, one.step]
    if one.integer:
        numbers = [int(number) for number in numbers]
    return getattr(tune, one.kind)(*numbers)


class Bounded:
    """Brings what a scheduler has perturbed back into the range that was written."""

    def __init__(self, parameters: list[Parameter]) -> None:
        self._parameters = parameters

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        for one in self._parameters:
            config[one.name] = one.bounded(config[one.name])
        return config
