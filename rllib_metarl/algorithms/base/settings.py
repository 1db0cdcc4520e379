"""What a setting takes and what it means, declared once: checked, documented and printed from here.

A config class declares its own settings in ``SETTINGS`` and what it does with RLlib's in
``RLLIB_SETTINGS``; a subclass adds to both, or replaces an entry. ``RETIRED`` names what older
checkpoints still have, with the value it may have. Nothing here knows an algorithm.
"""

from __future__ import annotations

import enum
import functools
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rllib_metarl.errors import UserError
from rllib_metarl.spelling import suggestion

SHOWN = 100
"""How many letters of a value a message shows."""


class Kind(Protocol):
    """What values a setting takes."""

    @property
    def words(self) -> str:
        """The end of the sentence "use ..."."""

    def fault(self, value: Any) -> str | None:
        """What is wrong with a value, as a whole sentence's end; None for a right one."""


@dataclass(frozen=True)
class Number:
    """A finite number in a range; `above` and `below` leave its ends out."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    @property
    def words(self) -> str:
        """A number and its range, in words."""
        return f"a number{self._range()}"

    def fault(self, value: Any) -> str | None:
        """As `Kind.fault`."""
        right = is_number(value) and math.isfinite(value) and self._holds(value)
        return None if right else f"use {self.words}"

    def _holds(self, value: Any) -> bool:
        if value == self.low or value == self.high:
            return not (value == self.low and self.above or value == self.high and self.below)
        return bool(self.low < value < self.high)

    def _range(self) -> str:
        low, high = _figure(self.low), _figure(self.high)
        if math.isinf(self.low) and math.isinf(self.high):
            return ""
        least = f" above {low}" if self.above else f" of at least {low}"
        if math.isinf(self.high):
            return least
        if self.above and self.below:
            return f" between {low} and {high}, without these"
        if not self.above and not self.below:
            return f" from {low} to {high}"
        return least + (f" and below {high}" if self.below else f" and at most {high}")


@dataclass(frozen=True)
class Whole(Number):
    """A whole number in a range."""

    @property
    def words(self) -> str:
        return f"a whole number{self._range()}"

    def fault(self, value: Any) -> str | None:
        right = isinstance(value, numbers.Integral) and is_number(value) and self._holds(value)
        return None if right else f"use {self.words}"


@dataclass(frozen=True)
class Schedule:
    """A number, or ``[[0, value], [env steps, value], ...]``, interpolated linearly."""

    number: Number

    @property
    def words(self) -> str:
        """A number or a schedule of it, in words."""
        return f"{self.number.words}, or a schedule [[0, value], [env steps, value], ...] of such"

    def fault(self, value: Any) -> str | None:
        """As `Kind.fault`."""
        if not isinstance(value, (list, tuple)):
            return self.number.fault(value) and f"use {self.words}"
        pairs = [pair for pair in value if isinstance(pair, (list, tuple)) and len(pair) == 2]
        if not value or len(pairs) < len(value) or any(self.number.fault(v) for _, v in pairs):
            return f"use {self.words}"
        steps = [step for step, _ in pairs]
        if not all(is_number(step) and math.isfinite(step) for step in steps) or steps[0] != 0:
            return "the schedule's first timestep must be 0"
        if any(after <= before for before, after in zip(steps, steps[1:], strict=False)):
            return "the schedule's timesteps must rise"
        return None if len(pairs) > 1 else "a schedule has two points or more; else use the number"


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)

    @property
    def words(self) -> str:
        """The values, joined by "or"."""
        plain = [v.value if isinstance(v, enum.Enum) else v for v in self.values]
        names = [str(v).lower() if isinstance(v, bool) else str(v) for v in plain]
        return " or ".join(dict.fromkeys(names))

    def fault(self, value: Any) -> str | None:
        """As `Kind.fault`."""
        known = any(type(value) is type(one) and value == one for one in self.values)
        return None if known else f"use {self.words}"


@dataclass(frozen=True)
class Some:
    """A list of one or more of a few values, none twice."""

    values: tuple[str, ...]

    @property
    def words(self) -> str:
        """The list and its values, in words."""
        return f"a list of one or more of {', '.join(self.values)}"

    def fault(self, value: Any) -> str | None:
        """As `Kind.fault`."""
        right = isinstance(value, (list, tuple)) and 0 < len(value) <= len(self.values)
        right = right and all(isinstance(v, str) and v in self.values for v in value)
        return None if right and len(set(value)) == len(value) else f"use {self.words}"


@dataclass(frozen=True)
class Widths:
    """Widths of layers: a list of whole numbers."""

    least: int = 0
    layers: int = 16
    width: int = 4096

    @property
    def words(self) -> str:
        """The list and its limits, in words."""
        number = f"at most {self.layers}" if not self.least else f"{self.least} to {self.layers}"
        return f"a list of {number} widths, each a whole number from 1 to {self.width:,}"

    def fault(self, value: Any) -> str | None:
        """As `Kind.fault`."""
        right = isinstance(value, (list, tuple)) and self.least <= len(value) <= self.layers
        right = right and all(Whole(1, self.width).fault(width) is None for width in value)
        return None if right else f"use {self.words}"


@dataclass(frozen=True)
class Of:
    """An object that passes a test, such as a function or a dict."""

    words: str
    test: Callable[[Any], bool]

    def fault(self, value: Any) -> str | None:
        """As `Kind.fault`."""
        return None if self.test(value) else f"use {self.words}"


@dataclass(frozen=True)
class Either:
    """What one of two kinds takes."""

    one: Kind
    other: Kind

    @property
    def words(self) -> str:
        """Both kinds, in words."""
        return f"{self.one.words}, or {self.other.words}"

    def fault(self, value: Any) -> str | None:
        """As `Kind.fault`."""
        if self.one.fault(value) is None or self.other.fault(value) is None:
            return None
        return f"use {self.words}"


NULL = Of("null", lambda value: value is None)
WEIGHT = Number(0, 10**6)
SWITCH = Choice(True, False)
BLOCK = Of("a block of keys and values", lambda value: isinstance(value, dict))
FUNCTION = Of("a function, or a list of such", lambda v: all(map(callable, _listed(v))))
CLASS = Of("a class", lambda value: isinstance(value, type))
TEXT = Of("a text", lambda value: isinstance(value, str) and bool(value))


def or_null(kind: Kind) -> Either:
    """What `kind` takes, and None."""
    return Either(kind, NULL)


@dataclass(frozen=True)
class Condition:
    """Something without which a setting does nothing: what a user must set, and whether it is."""

    words: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Setting:
    """A setting that does something.

    Attributes:
        takes: its values.
        meaning: what it does, for a reader of ``rllib config``.
        only_with: what else must be set for it to do anything.
        network: whether the networks are built from it: it reaches the RLModule.
    """

    takes: Kind
    meaning: str
    only_with: Condition | None = None
    network: bool = False


@dataclass(frozen=True)
class Refused:
    """A setting of RLlib's that would do nothing here: it is refused where it is changed."""

    why: str


@dataclass(frozen=True)
class Internal:
    """An internal attribute of RLlib's config that users do not set."""

    why: str


Entry = Setting | Refused | Internal

_WRITTEN = {
    "lambda_": "lambda",
    "framework_str": "framework",
    "callbacks_class": "callbacks",
    "input_": "input",
    "_train_batch_size_per_learner": "train_batch_size_per_learner",
    "_learner_class": "learner_class",
    "_model_config": "model_config",
    "_rl_module_spec": "rl_module_spec",
    "_learner_connector": "learner_connector",
    "_env_to_module_connector": "env_to_module_connector",
    "_module_to_env_connector": "module_to_env_connector",
}


def written(name: str) -> str:
    """An attribute's name as a user writes it."""
    return _WRITTEN.get(name, name)


def own_settings(config_class: type) -> dict[str, Setting]:
    """The settings that a config class and its ancestors declare as their own."""
    return gathered(config_class, "SETTINGS")


def rllib_settings(config_class: type) -> dict[str, Entry]:
    """What a config class does with each of RLlib's attributes."""
    return gathered(config_class, "RLLIB_SETTINGS")


def all_settings(config_class: type) -> dict[str, Entry]:
    """Both: RLlib's first."""
    return rllib_settings(config_class) | own_settings(config_class)


def own_groups(config_class: type) -> dict[type, list[str]]:
    """The own settings by the class that declared each first; the class's own come first."""
    groups: dict[type, list[str]] = {}
    for name in own_settings(config_class):
        line = [cls for cls in config_class.__mro__ if name in vars(cls).get("SETTINGS", {})]
        groups.setdefault(line[-1], []).append(name)
    return {cls: groups[cls] for cls in config_class.__mro__ if cls in groups}


def network_settings(config: Any) -> dict[str, Any]:
    """The settings that the networks are built from, with their values."""
    entries = all_settings(type(config)).items()
    names = [name for name, one in entries if isinstance(one, Setting) and one.network]
    return {name: getattr(config, name) for name in names if hasattr(config, name)}


def problem(entry: Entry, name: str, value: Any, default: Any) -> str | None:
    """What is wrong with a setting's value, in a sentence with the fix; None for a right one.

    Whether `Setting.only_with` holds is not looked at.
    """
    if isinstance(entry, Setting):
        fault = entry.takes.fault(value)
        return fault and f"{written(name)} is {shown(value)}: {fault}."
    if isinstance(entry, Refused) and not _same(value, default):
        return f"{written(name)} is set, but {entry.why}: leave it out."
    return None


def check_settings(config: Any) -> None:
    """Hold every attribute of a config to its declaration.

    Raises:
        UserError: a value is out of range, or does nothing here; one message with the fix.
    """
    kind: Any = type(config)
    default = defaults(kind)
    entries = all_settings(type(config))
    for name, entry in entries.items():
        value = getattr(config, name, default.get(name))
        wrong = problem(entry, name, value, default.get(name))
        if wrong is not None:
            raise UserError(wrong)
    _check_names(config, [*entries, *default])


def _check_names(config: Any, known: list[str]) -> None:
    """What a dict brought into a config, as Tune's search spaces do, must be settings too."""
    retired = gathered(type(config), "RETIRED")
    known = [*known, "class"]  # RLlib writes the config's class into it
    for name, value in vars(config).items():
        if name not in known and not _same(value, retired.get(name)):
            hint = suggestion(name, map(written, known)) or "."
            raise UserError(f"{type(config).__name__} has no setting {shown(name)}{hint}")


def check_conditions(config: Any) -> None:
    """Refuse settings that do nothing because of what else is set, or is not.

    Raises:
        UserError: there is one.
    """
    kind: Any = type(config)
    default = defaults(kind)
    for name, entry in all_settings(type(config)).items():
        condition = entry.only_with if isinstance(entry, Setting) else None
        if condition is None or condition.holds(config):
            continue
        if not _same(getattr(config, name, default.get(name)), default.get(name)):
            raise UserError(
                f"{written(name)} is set, but it does nothing without {condition.words}: set "
                "that too, or leave it out."
            )


@functools.cache
def defaults(config_class: type) -> Mapping[str, Any]:
    """The attributes of a new config; not to be written into."""
    return vars(config_class())


def is_number(value: Any) -> bool:
    """Whether a setting is a real number and no truth value, which Python takes for one."""
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def shown(value: Any) -> str:
    """A value for a message, not too long."""
    try:
        text = repr(value)
    except ValueError:  # whole numbers of thousands of digits
        text = f"a {type(value).__name__} too long to show"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def gathered(config_class: type, attribute: str) -> dict[str, Any]:
    """What a class and its ancestors declare in dicts of that name, the class's own above all."""
    gathered: dict[str, Any] = {}
    for cls in reversed(config_class.__mro__):
        gathered |= vars(cls).get(attribute, {})
    return gathered


def _same(value: Any, default: Any) -> bool:
    """Whether an attribute is as it was; functions come back from a pickle as other objects."""
    if callable(value) and callable(default):
        return getattr(value, "__qualname__", value) == getattr(default, "__qualname__", default)
    try:
        return value is default or type(value) is type(default) and bool(value == default)
    except (ValueError, AttributeError):  # arrays have no one truth value
        return False


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _figure(number: float) -> str:
    whole = float(number).is_integer() if math.isfinite(number) else False
    return f"{int(number):,}" if whole and abs(number) < 1e15 else f"{number:g}"
