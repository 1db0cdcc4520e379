"""What an experiment file searches: which config values, from where, and under which condition.

lr: {loguniform: [1e-4, 1e-2]}
env_config: {size: {grid_search: [3, 5]}}
belief_embedding: {when: {belief_conditioning: film}, then: {choice: [16, 32]}, else: 32}
"""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from rllib_metarl.cli.experiment.source import KeyPath
from rllib_metarl.errors import UserError
from rllib_metarl.spelling import nearest, suggestion

ErrorAt = Callable[[KeyPath, str], UserError]
Point = dict[str, Any]
"""Parameter name -> value: one configuration of the search."""

GRID, CHOICE, SEED = "grid_search", "choice", "seed"
LISTED = (GRID, CHOICE)
RANGES = {
    "uniform": 2,
    "quniform": 3,
    "loguniform": 2,
    "qloguniform": 3,
    "randint": 2,
    "qrandint": 3,
    "lograndint": 2,
}
"""Ranges by name, as in Tune, each with how many numbers it takes: low, high and perhaps a step."""

KINDS = (*LISTED, *RANGES)
CONDITION = {"when", "then", "else"}
MAX_TRIALS = 100_000
LARGEST = 1e15


@dataclass(frozen=True)
class Parameter:
    """One searched value.

    Attributes:
        path: its place below ``config``.
        kind: one of `KINDS`.
        values: what `LISTED` kinds choose from.
        low, high, step: the range of the others; `randint` and `lograndint` leave ``high`` out.
        when: name of another parameter and the values of it under which this one is searched.
        otherwise: its value elsewhere.
    """

    path: KeyPath
    kind: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    otherwise: Any = None

    @property
    def name(self) -> str:
        """Its path with '/' between the levels."""
        return "/".join(map(str, self.path))

    @property
    def integer(self) -> bool:
        """Whether it is a whole number by its kind."""
        return self.kind.endswith("randint")

    @property
    def logarithmic(self) -> bool:
        """Whether equal steps of it are equal ratios."""
        return "log" in self.kind

    def at(self, unit: float) -> Any:
        """The value at a place in its range, 0 the lower end and 1 the upper one."""
        if self.kind in LISTED:
            return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]
        low, high = self.low, self.high
        if self.integer and self.step is None:
            high -= 1  # the last whole number
        if self.logarithmic:
            value = math.exp(math.log(low) + unit * (math.log(high) - math.log(low)))
        elif self.integer and self.step is None:
            value = min(math.floor(low + unit * (high - low + 1)), high)
        else:
            value = low + unit * (high - low)
        return self.bounded(value)

    def bounded(self, value: float) -> Any:
        """The nearest value that the search may give; `LISTED` kinds are left as they are."""
        if self.kind in LISTED:
            return value
        if self.step:
            value = round(value / self.step) * self.step
            value = float(f"{value:.12g}")  # 0.30000000000000004 is not what was written
        high = self.high - 1 if self.integer and self.step is None else self.high
        value = min(max(value, self.low), high)
        return int(round(value)) if self.integer else float(value)

    def extremes(self) -> list[Any]:
        """Values that stand for all of it: each one that is listed, or both ends."""
        if self.kind in LISTED:
            return list(self.values)
        return list(dict.fromkeys((self.at(0.0), self.at(1.0))))

    def describe(self) -> str:
        """As it is written in a file, in one line."""
        if self.kind in LISTED:
            return f"{self.kind} {json.dumps(self.values, default=str)}"
        numbers = [self.low, self.high] + ([self.step] if self.step is not None else [])
        return f"{self.kind} [{', '.join(f'{number:g}' for number in numbers)}]"


@dataclass(frozen=True)
class Space:
    """All searched values of an experiment, those that others depend on first.

    Attributes:
        parameters: without the seed.
        seeds: the seeds that each configuration is run with; empty where it is not searched.
    """

    parameters: tuple[Parameter, ...] = ()
    seeds: tuple[int, ...] = ()
    named: dict[str, Parameter] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "named", {one.name: one for one in self.parameters})

    @property
    def grid(self) -> list[Parameter]:
        """The parameters whose every value is tried."""
        return [one for one in self.parameters if one.kind == GRID]

    @property
    def names(self) -> list[str]:
        """What tells trials apart: the parameters, and the seed where there are several."""
        return [*self.named, *([SEED] if self.seeds else [])]

    def resolved(self, draw: Callable[[Parameter], Any]) -> Point:
        """One point; ``draw`` is asked for those parameters whose condition holds."""
        point: Point = {}
        for one in self.parameters:
            holds = all(point[other] in values for other, values in one.when)
            point[one.name] = draw(one) if holds else copy.deepcopy(one.otherwise)
        return point

    def grid_points(self) -> Iterator[dict[str, Any]]:
        """Every combination of the grid's values; one empty one where there is no grid."""
        grid = self.grid
        for values in itertools.product(*(one.values for one in grid)):
            yield {one.name: value for one, value in zip(grid, values, strict=True)}

    def count(self, samples: int) -> int:
        """How many trials ``num_samples`` makes."""
        points = math.prod(len(one.values) for one in self.grid)
        return points * samples * max(1, len(self.seeds))

    def points(self, samples: int, uniform: Callable[[], float]) -> Iterator[Point]:
        """``samples`` random points for each grid point, without seeds.

        Args:
            samples: how many of each.
            uniform: draws from [0, 1).
        """
        for _ in range(samples):
            for fixed in self.grid_points():
                yield self.resolved(partial(_drawn, fixed, uniform))

    def probes(self, limit: int) -> list[Point]:
        """Points that meet every listed value and every end, the grid's own ones first."""
        base = {one.name: one.extremes()[0] for one in self.parameters}
        probes = [base | fixed for fixed in itertools.islice(self.grid_points(), limit)]
        for one in self.parameters:
            others = one.extremes()[1:] if one.kind != GRID else []
            probes += [base | {one.name: value} for value in others]
        return [self.resolved(partial(_drawn, values, float)) for values in probes[:limit]]

    def each_env(self) -> list[Point]:
        """Points that meet every listed value and every end of what is searched of the env."""
        base = {one.name: one.extremes()[0] for one in self.parameters}
        points = []
        for one in self.parameters:
            if one.path[0] in ("env", "env_config"):
                holding = base | {other: values[0] for other, values in one.when}
                points += [holding | {one.name: value} for value in one.extremes()]
        return [self.resolved(partial(_drawn, values, float)) for values in points]

    def config(self, config: Mapping[str, Any], point: Point) -> dict[str, Any]:
        """``config`` with the values of a point in place of what is searched."""
        filled = copy.deepcopy(dict(config))
        for one in self.parameters:
            place(filled, one.path, copy.deepcopy(point[one.name]))
        if SEED in point and SEED not in self.named:
            filled[SEED] = point[SEED]
        return filled


def _drawn(fixed: dict[str, Any], uniform: Callable[[], float], one: Parameter) -> Any:
    """A parameter's fixed value, or one drawn from its range."""
    return fixed[one.name] if one.name in fixed else one.at(uniform())


def place(config: Any, path: KeyPath, value: Any) -> None:
    """Puts a value at a path of nested dicts and lists."""
    for key in path[:-1]:
        config = config[key]
    config[path[-1]] = value


def is_search(value: Any) -> bool:
    """Whether a value says what to search rather than what to use."""
    if not isinstance(value, dict) or not value:
        return False
    return set(value) <= CONDITION and "when" in value or len(value) == 1 and set(value) <= {*KINDS}


def contains_search(value: Any) -> bool:
    """Whether something below a value is searched."""
    return next(_found(value, ()), None) is not None


def parse(config: dict[str, Any], error_at: ErrorAt, default: Callable[[KeyPath], Any]) -> Space:
    """The search space of a config.

    Args:
        config: as written.
        error_at: builds the error for a path below the experiment's name.
        default: the value that a key has where nothing is written; raises KeyError for none.

    Raises:
        UserError: an expression that cannot be searched; the message says the fix.
    """
    found = list(_found(config, ()))
    parameters = [_parameter(path, written, error_at, default) for path, written in found]
    return Space(tuple(_ordered(parameters, error_at)))


def _found(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    if is_search(value):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _found(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _found(inner, (*path, index))


def _parameter(
    path: KeyPath, written: dict[str, Any], error_at: ErrorAt, default: Callable[[KeyPath], Any]
) -> Parameter:
    name = "/".join(map(str, path))

    def refuse(message: str) -> UserError:
        return error_at(("config", *path), f"'{name}': {message}")

    if "when" not in written:
        ((kind, content),) = written.items()
        return _plain(path, kind, content, refuse)
    if "then" not in written:
        raise refuse("`when` needs `then`: what to search where the condition holds")
    then = written["then"]
    if is_search(then) and "when" in then:
        raise refuse("`then` cannot hold another `when`; write all conditions into one")
    if is_search(then):
        ((kind, content),) = then.items()
    else:
        kind, content = CHOICE, [then]
    if kind == GRID:
        raise refuse("grid_search has no condition; use choice in `then`")
    inner = _plain(path, kind, content, refuse)
    if "else" in written:
        otherwise = written["else"]
    else:
        try:
            otherwise = default(path)
        except KeyError:
            raise refuse("needs `else`: its value where the condition does not hold") from None
    if contains_search(otherwise):
        raise refuse("`else` must be a plain value")
    return replace(inner, when=_conditions(written["when"], refuse), otherwise=otherwise)


def _conditions(
    written: Any, refuse: Callable[[str], UserError]
) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    if not isinstance(written, dict) or not written:
        raise refuse("`when` needs keys and values, for example `when: {decode_state: true}`")
    return tuple(
        (str(key), tuple(value) if isinstance(value, list) else (value,))
        for key, value in written.items()
    )


def _plain(path: KeyPath, kind: str, content: Any, refuse: Callable[[str], UserError]) -> Parameter:
    if not isinstance(content, list):
        raise refuse(f"{kind} needs a list, got {content!r}")
    if kind in LISTED:
        if not content:
            raise refuse(f"{kind} needs a list with at least one value")
        if contains_search(content):
            raise refuse(f"{kind} takes plain values, no search inside it")
        return Parameter(path, kind, values=tuple(content))
    needed = RANGES[kind]
    shape = "[low, high, step]" if needed == 3 else "[low, high]"
    if len(content) != needed or not all(map(_is_number, content)):
        raise refuse(f"{kind} needs {needed} numbers, {shape}, got {content!r}")
    low, high = content[0], content[1]
    step = content[2] if needed == 3 else None
    _check_range(kind, low, high, step, refuse)
    return Parameter(path, kind, low=low, high=high, step=step)


def _check_range(
    kind: str, low: float, high: float, step: float | None, refuse: Callable[[str], UserError]
) -> None:
    if not low < high:
        raise refuse(f"{kind}: low must be below high, got [{low}, {high}]")
    if "log" in kind and low <= 0:
        raise refuse(
            f"{kind}: low must be above 0, got {low}; use uniform for a range that includes 0"
        )
    if abs(low) > LARGEST or abs(high) > LARGEST:
        raise refuse(f"{kind}: at most {LARGEST:g} either way, got [{low}, {high}]")
    if step is not None and not (high - low) / LARGEST < step <= high - low:
        raise refuse(f"{kind}: the step must be above 0 and no larger than the range, got {step}")
    whole = all(float(x).is_integer() for x in (low, high, step or 1))
    if kind.endswith("randint") and not whole:
        raise refuse(f"{kind} takes whole numbers; use uniform for others")


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and (isinstance(value, int) or math.isfinite(value))


def _ordered(parameters: list[Parameter], error_at: ErrorAt) -> list[Parameter]:
    """Those that conditions speak of before those that have the conditions."""
    known = {one.name: one for one in parameters}
    for one in parameters:
        for other, values in one.when:
            _check_condition(one, other, values, known, error_at)
    ordered: dict[str, Parameter] = {}
    while len(ordered) < len(parameters):
        ready = [
            one
            for one in parameters
            if one.name not in ordered and all(other in ordered for other, _ in one.when)
        ]
        if not ready:
            (first, *_) = [one for one in parameters if one.name not in ordered]
            raise error_at(
                ("config", *first.path),
                f"'{first.name}': its condition depends on itself, through "
                f"{', '.join(other for other, _ in first.when)}; remove one of the conditions",
            )
        ordered.update({one.name: one for one in ready})
    return list(ordered.values())


def _check_condition(
    one: Parameter,
    other: str,
    values: tuple[Any, ...],
    known: dict[str, Parameter],
    error_at: ErrorAt,
) -> None:
    where = ("config", *one.path, "when")
    theirs = known.get(other)
    if theirs is None:
        raise error_at(
            where,
            f"'{one.name}': `when` refers to '{other}', which is not searched"
            f"{suggestion(other, known)}",
        )
    if theirs.kind not in LISTED:
        raise error_at(
            where,
            f"'{one.name}': `when` needs a key searched by choice or grid_search; '{other}' is "
            f"searched by {theirs.kind}",
        )
    possible = [*theirs.values, *([theirs.otherwise] if theirs.when else [])]
    for value in values:
        if value not in possible:
            raise error_at(
                where, f"'{one.name}': '{other}' is never {value!r}; it is one of {possible}"
            )


def misspelt(value: Any) -> str:
    """A hint where a dict looks like a search whose name is misspelt, or an empty string."""
    if not isinstance(value, dict) or len(value) != 1:
        return ""
    (key,) = value
    best = nearest(str(key), KINDS)
    return f"; did you mean '{best}'?" if best else ""
