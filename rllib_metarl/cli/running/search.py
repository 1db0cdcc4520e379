"""Where the configurations of a sweep come from: drawn in advance, or chosen by earlier results."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from ray import tune
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, Searcher

from rllib_metarl.cli.experiment.space import SEED, Parameter, Point, Space
from rllib_metarl.cli.experiment.sweep import Sweep


def drawn_points(sweep: Sweep) -> list[Point]:
    """All points of a search that does not look at results, each with its seed, in order."""
    rng = np.random.default_rng(sweep.search_seed)
    points = sweep.space.points(sweep.samples, rng.random)
    return [one for point in points for one in _seeded(point, sweep.space)]


def search_algorithm(
    sweep: Sweep, config: dict[str, Any]
) -> tuple[SearchAlgorithm | Searcher, dict[str, Any], int]:
    """What Tune needs: the search algorithm, the experiment's config, and ``num_samples``.

    Args:
        sweep: the sweep.
        config: config values, what is searched still written as such.
    """
    keys = searched_keys(sweep.space)
    fixed = {key: value for key, value in config.items() if key not in keys}
    if sweep.adaptive:
        return SpaceSearch(sweep, {key: config.get(key) for key in keys}), fixed, sweep.trials
    filled = [sweep.space.config(config, point) for point in drawn_points(sweep)]
    columns = {key: tune.sample_from(Column([one[key] for one in filled])) for key in keys}
    generator = BasicVariantGenerator(max_concurrent=sweep.max_concurrent or 0)
    return generator, fixed | columns, len(filled)


def searched_keys(space: Space) -> list[str]:
    """The config keys with something searched in them, and the seed where there are several."""
    keys = [str(one.path[0]) for one in space.parameters]
    return list(dict.fromkeys(keys + ([SEED] if space.seeds else [])))


def _seeded(point: Point, space: Space) -> Iterator[Point]:
    for seed in space.seeds:
        yield point | {SEED: seed}
    if not space.seeds:
        yield point


class Column:
    """One config key of all trials, handed out in order.

    Tune resolves each key once for each trial and saves where it stands with the experiment, so a
    resumed sweep goes on with the next one.
    """

    def __init__(self, values: list[Any]) -> None:
        self._values = values
        self._next = 0

    def __call__(self) -> Any:
        value = self._values[self._next]
        self._next += 1
        return value

    def __deepcopy__(self, memo: dict[int, Any]) -> Column:
        # Tune copies the whole experiment for each trial; all copies hand out one sequence.
        return self


class Sampler(Protocol):
    """Chooses points by the values of earlier ones; larger is better if `mode` says max."""

    def ask(self) -> tuple[Any, Point]:
        """A handle and a point."""

    def tell(self, handle: Any, value: float | None) -> None:
        """What became of a point; None where it failed."""


class SpaceSearch(Searcher):
    """Runs each point of a sampler once for each seed, and tells it their mean.

    A trial's value is the last one that it reported, also where a scheduler ended it early.
    """

    def __init__(self, sweep: Sweep, template: dict[str, Any]) -> None:
        super().__init__(metric=sweep.metric, mode=sweep.mode)
        self._space, self._template = sweep.space, template
        make = OptunaSampler if sweep.search == "optuna" else BayesSampler
        self._sampler: Sampler = make(sweep)
        self._waiting: list[tuple[int, Point]] = []
        self._handles: list[Any] = []
        self._left: list[int] = []
        self._values: list[list[float]] = []
        self._trials: dict[str, int] = {}
        self._latest: dict[str, float] = {}
        # Not Tune's ConcurrencyLimiter: after a resumption it forgets the trials that were running
        # and keeps their results to itself.
        self._limit = sweep.max_concurrent or sweep.trials
        self._running: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The config keys of the next trial, or None while enough of them run."""
        if len(self._running) >= self._limit:
            return None
        if not self._waiting:
            handle, point = self._sampler.ask()
            seeded = list(_seeded(point, self._space))
            self._waiting = [(len(self._handles), one) for one in seeded]
            self._handles.append(handle)
            self._left.append(len(seeded))
            self._values.append([])
        number, point = self._waiting.pop(0)
        self._trials[trial_id] = number
        self._running.add(trial_id)
        return self._space.config(self._template, point)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Remember the newest value: not every result need hold it."""
        value = result.get(str(self.metric))
        if isinstance(value, (int, float)) and math.isfinite(value):
            self._latest[trial_id] = float(value)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the sampler once all seeds of a point are done."""
        if trial_id not in self._running:
            return
        self._running.remove(trial_id)
        number = self._trials[trial_id]
        self.on_trial_result(trial_id, result or {})
        value = self._latest.pop(trial_id, None)
        if value is not None and not error:
            self._values[number].append(value)
        self._left[number] -= 1
        if self._left[number] == 0:
            values = self._values[number]
            self._sampler.tell(self._handles[number], float(np.mean(values)) if values else None)

    def save(self, checkpoint_path: str) -> None:
        """Keep the search with the experiment, for resumption."""
        with open(checkpoint_path, "wb") as file:
            pickle.dump(self.__dict__, file)

    def restore(self, checkpoint_path: str) -> None:
        """Go on where `save` was."""
        with open(checkpoint_path, "rb") as file:
            self.__dict__.update(pickle.load(file))


class OptunaSampler:
    """Optuna's tree-structured Parzen estimator, after a third of the sweep drawn at random."""

    def __init__(self, sweep: Sweep) -> None:
        import optuna

        optuna.logging.disable_default_handler()
        self._space = sweep.space
        sampler = optuna.samplers.TPESampler(
            seed=sweep.search_seed,
            n_startup_trials=start_points(sweep),
            constant_liar=True,  # trials that run at once should differ
        )
        directions = optuna.study.StudyDirection
        direction = directions.MAXIMIZE if sweep.mode == "max" else directions.MINIMIZE
        self._study = optuna.create_study(sampler=sampler, direction=direction)

    def ask(self) -> tuple[Any, Point]:
        """As `Sampler.ask`."""
        trial = self._study.ask()
        return trial.number, self._space.resolved(lambda one: _suggested(one, trial))

    def tell(self, handle: Any, value: float | None) -> None:
        """As `Sampler.tell`."""
        from optuna.trial import TrialState

        if value is None:
            self._study.tell(handle, state=TrialState.FAIL)
        else:
            self._study.tell(handle, value)


def _suggested(one: Parameter, trial: Any) -> Any:
    """A parameter's value, as Optuna's trial chooses it."""
    if one.values:  # Optuna knows plain values only: lists and dicts go by their text
        texts = [json.dumps(value, default=str) for value in one.values]
        return one.values[texts.index(trial.suggest_categorical(one.name, texts))]
    if one.integer:
        high = int(one.high) - (one.step is None)
        return one.bounded(trial.suggest_int(one.name, int(one.low), high, log=one.logarithmic))
    return one.bounded(trial.suggest_float(one.name, one.low, one.high, log=one.logarithmic))


class BayesSampler:
    """A Gaussian process with upper confidence bounds (the package bayesian-optimization)."""

    def __init__(self, sweep: Sweep) -> None:
        from bayes_opt import BayesianOptimization, acquisition

        self._space, self._sign = sweep.space, 1.0 if sweep.mode == "max" else -1.0
        rule = acquisition.ConstantLiar(acquisition.UpperConfidenceBound(), strategy="min")
        self._optimiser = BayesianOptimization(
            f=None,
            pbounds={one.name: (0.0, 1.0) for one in sweep.space.parameters},
            acquisition_function=rule,
            random_state=sweep.search_seed,
            verbose=0,
            allow_duplicate_points=True,
        )
        self._random = np.random.default_rng(sweep.search_seed)
        self._left_at_random = start_points(sweep)
        self._results = 0

    def ask(self) -> tuple[Any, Point]:
        """As `Sampler.ask`."""
        if self._left_at_random > 0 or not self._results:
            self._left_at_random -= 1
            units = {name: float(self._random.random()) for name in self._space.named}
        else:
            units = {name: float(unit) for name, unit in self._optimiser.suggest().items()}
        return units, self._space.resolved(lambda one: one.at(units[one.name]))

    def tell(self, handle: Any, value: float | None) -> None:
        """As `Sampler.tell`."""
        if value is not None:
            self._optimiser.register(params=handle, target=self._sign * value)
            self._results += 1


def start_points(sweep: Sweep) -> int:
    """How many points are drawn at random before results are looked at: a third, 3 to 10."""
    return min(10, max(3, sweep.samples // 3))
