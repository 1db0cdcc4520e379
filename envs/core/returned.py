"""What an environment returns, as plain values; whatever cannot be taken so is a fault of its own.

Everything that steps environments reads what they return through this module: batches of them,
RLlib's own vector environments (through `Plain`) and anyone who looks at the labels in `info`.
"""

from __future__ import annotations

import math
import numbers
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from .calling import call_env, interruptible
from .faults import EnvFault, WrongForm
from .nested import values_of

Infos = dict[str, Any]

VECTORS = ("context", "posterior")
"""Labels that are vectors of numbers, float32 [C]."""
WHOLE_NUMBERS: dict[str, Any] = {"session": np.int64, "switched": np.int8, "inner_done": np.int8}
"""Labels that are one whole number, and the type that they are kept in."""

LARGEST = float(np.finfo(np.float32).max)
"""Networks compute in single precision: a larger number is infinite to them."""

_SMALL = 16  # numbers that Python looks through sooner than numpy


def plain_reset(space: gym.Space, result: Any) -> tuple[Any, Infos]:
    """What ``reset()`` returned, as an observation and a dict.

    Raises:
        EnvFault: it is something else, or the observation is not of the space's shape or finite.
    """
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise WrongForm(f"returned {_count(result)} from reset(): observation, info are needed")
    observation, info = result
    check_observation(space, observation)
    return observation, plain_info(info)


def plain_step(space: gym.Space, result: Any) -> tuple[Any, float, bool, bool, Infos]:
    """What ``step()`` returned, as an observation, a number, two truth values and a dict.

    NaN and infinite numbers in a floating-point observation or a reward pass: `not_finite` finds
    them in a whole batch at once.

    Raises:
        EnvFault: it is something else.
    """
    if not isinstance(result, (tuple, list)) or len(result) != 5:
        raise WrongForm(
            f"returned {_count(result)} from step(): observation, reward, terminated, truncated, "
            "info are needed. For an environment of the old gym API see "
            "shimmy.GymV21CompatibilityV0"
        )
    observation, reward, terminated, truncated, info = result
    usual = isinstance(space, gym.spaces.Box) and isinstance(observation, np.ndarray)
    if not (usual and observation.dtype.kind in "fiub" and observation.shape == space.shape):
        check_observation(space, observation)
    ends = plain_truth("terminated", terminated), plain_truth("truncated", truncated)
    return observation, plain_number(reward), *ends, plain_info(info)


def plain_number(reward: Any) -> float:
    """A reward as a float: a number of any type, or an array or tensor that holds just one.

    Raises:
        EnvFault: it is not one number.
    """
    if isinstance(reward, float):  # np.float64 is one
        return reward
    number = _one(reward)
    if number is None:
        raise EnvFault(f"gave a reward that is not a finite number ({_short(reward)})")
    return number


def plain_truth(name: str, value: Any) -> bool:
    """`terminated` or `truncated` as a bool.

    Raises:
        EnvFault: it is not one truth value.
    """
    if value is True or value is False:
        return value
    number = _one(value)
    if number is None or math.isnan(number):
        raise EnvFault(f"gave {name} = {_short(value)}, which is not a truth value")
    return bool(number)


def plain_info(info: Any) -> Infos:
    """An info as a dict; None is an empty one.

    Raises:
        EnvFault: it is something else.
    """
    if isinstance(info, dict):
        return info
    if info is None:
        return {}
    if not isinstance(info, Mapping):
        raise EnvFault(f"gave an info that is not a dict ({_short(info)})")
    return dict(info)


def check_observation(space: gym.Space, observation: Any) -> None:
    """Raises EnvFault unless an observation has the space's form, is finite, and one of the values
    that a Discrete or MultiDiscrete space has.
    """
    if isinstance(space, (gym.spaces.Dict, gym.spaces.Tuple)):
        for part, value in _parts(space, observation):
            check_observation(part, value)
    elif isinstance(space, (gym.spaces.Discrete, gym.spaces.MultiDiscrete)):
        if not _is_among(space, observation):
            raise EnvFault(f"gave an observation that is not in {space} ({_short(observation)})")
    elif space.shape is not None:
        _check_numbers(space, observation)


def _parts(space: gym.Space, observation: Any) -> Iterator[tuple[gym.Space, Any]]:
    """The parts of a Dict or Tuple space, each with its value."""
    if isinstance(space, gym.spaces.Dict):
        if not isinstance(observation, Mapping) or not space.spaces.keys() <= observation.keys():
            raise EnvFault(f"gave an observation that has not all of {list(space.spaces)}")
        yield from ((part, observation[key]) for key, part in space.spaces.items())
        return
    assert isinstance(space, gym.spaces.Tuple)
    if not isinstance(observation, (tuple, list)) or len(observation) != len(space.spaces):
        raise EnvFault(f"gave an observation that is no tuple of {len(space.spaces)}")
    yield from zip(space.spaces, observation, strict=True)


def _is_among(space: gym.spaces.Discrete | gym.spaces.MultiDiscrete, observation: Any) -> bool:
    try:
        value: Any = np.asarray(observation)
    except ValueError:  # ragged
        return False
    if value.shape != space.shape or value.dtype.kind not in "iub":
        return False
    sizes: Any = space.n if isinstance(space, gym.spaces.Discrete) else space.nvec
    index = value - space.start
    return bool(((index >= 0) & (index < sizes)).all())


def _check_numbers(space: gym.Space, value: Any) -> None:
    try:
        shape, finite = np.shape(value), bool(np.isfinite(value).all())
    except (TypeError, ValueError):  # ragged, or of what is no number
        raise EnvFault(f"gave an observation that is not numbers ({_short(value)})") from None
    if shape != space.shape:
        raise EnvFault(f"gave an observation of shape {shape}, where its space has {space.shape}")
    if not finite:
        raise EnvFault(f"gave an observation that is NaN or infinite ({_short(value)})")


def not_finite(
    space: gym.Space, observations: Any, rewards: NDArray[np.float64]
) -> dict[int, EnvFault]:
    """The rows of a batch of observations and of rewards [N] that hold something NaN or infinite.

    Each with what to tell.
    """
    paid = np.abs(rewards) <= LARGEST
    faults = {
        i: EnvFault(f"gave a reward that is not a finite number ({rewards[i]})")
        for i in np.flatnonzero(~paid).tolist()
    }
    for values in values_of(space, observations):
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
            continue
        if np.isfinite(values).all():
            continue
        for i in np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1)).tolist():
            said = f"gave an observation that is NaN or infinite ({_short(values[i])})"
            faults.setdefault(i, EnvFault(said))
    return faults


# --- labels ---------------------------------------------------------------------------------------


def plain_label(key: str, value: Any) -> Any:
    """A label in `info` as an array: float32 [C], or [] where it is one whole number.

    A vector may be given as a number, an array or tensor of any shape, a list, or a dict of such,
    which is taken by its sorted keys.

    Raises:
        EnvFault: it cannot be used.
    """
    if key in WHOLE_NUMBERS:
        number, kind = _one(value), WHOLE_NUMBERS[key]
        if number is None or not number.is_integer() or abs(number) > np.iinfo(kind).max:
            raise EnvFault(f"gave info[{key!r}] = {_short(value)}: it is not one whole number")
        return kind(int(number))
    flat = _vector(key, value)
    if not flat.size or not _is_finite(flat):
        what = "NaN or infinite" if flat.size else "empty"
        raise EnvFault(f"gave info[{key!r}] = {_short(value)}: it is {what}")
    return flat


def is_usable(key: str, info: Infos) -> bool:
    """Whether an info has a label that can be used."""
    if key not in info:
        return False
    try:
        plain_label(key, info[key])
    except EnvFault:
        return False
    return True


def read_label(key: str, infos: Sequence[Infos]) -> NDArray[Any]:
    """A label [T, ...] of consecutive infos.

    Raises:
        EnvFault: one of them does not have it, has it in another shape or as what it cannot be.
    """
    missing = next((t for t, info in enumerate(infos) if key not in info), None)
    if missing is not None:
        raise EnvFault(f"gave no info[{key!r}] at step {missing}")
    values = [plain_label(key, info[key]) for info in infos]
    if any(value.shape != values[0].shape for value in values):
        raise EnvFault(f"gave info[{key!r}] of differing widths")
    return np.stack(values)


class Labels:
    """The labels that environments give at their first reset, which they must go on giving.

    Attributes:
        unusable: key -> why a label that some environment gave, or gives later, is left out.
    """

    def __init__(self) -> None:
        self._shapes: dict[str, tuple[int, ...]] | None = None
        self.unusable: dict[str, str] = {}

    @property
    def known(self) -> bool:
        """Whether there has been a first reset."""
        return self._shapes is not None

    def learn(self, infos: Sequence[Infos]) -> None:
        """Takes the infos of the first reset of each environment; later ones change nothing."""
        if self._shapes is not None:
            return
        self._shapes = {}
        for key in (*VECTORS, *WHOLE_NUMBERS):
            if not any(key in info for info in infos):
                continue
            try:
                self._shapes[key] = read_label(key, infos).shape[1:]
            except EnvFault as fault:
                message = str(fault).replace("at step", "at its reset in sub-env")
                self.unusable[key] = f"the env {message}"

    def read(self, info: Infos) -> Infos:
        """The info with its labels as arrays, and without those that were not given at first.

        As long as the first reset is not over, the info as it is.

        Raises:
            EnvFault: one that was given is missing, has another shape or cannot be used.
        """
        if self._shapes is None:
            return info
        kept = {key: value for key, value in info.items() if key not in _LABELS}
        for key, shape in self._shapes.items():
            if key not in info:
                raise EnvFault(f"gave no info[{key!r}], which it gave before")
            label = kept[key] = plain_label(key, info[key])
            if label.shape != shape:
                raise EnvFault(f"gave info[{key!r}] of width {label.size}, and {shape[0]} before")
        if len(kept) < len(info):
            self._look_at_the_rest(info, kept)
        return kept

    def _look_at_the_rest(self, info: Infos, kept: Infos) -> None:
        for key in info.keys() - kept.keys() - self.unusable.keys():
            self.unusable[key] = f"the env gives info[{key!r}] in step() and not in reset()"


_LABELS = frozenset((*VECTORS, *WHOLE_NUMBERS))


class Plain(gym.Wrapper):
    """An environment whose returned values are plain ones, for vector envs of others.

    Raises `EnvFault` where it returns what cannot be used, and where it raises what would end the
    process (see `call_env`).
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self._labels = Labels()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Infos]:
        """Reset the environment and return a plain observation and info.

        Raises:
            EnvFault: if it fails, or returns something unusable.
        """
        with interruptible():
            result = call_env(self.env.reset, seed=seed, options=options)
        observation, info = plain_reset(self.observation_space, result)
        self._labels.learn([info])
        return observation, self._checked_info(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, Infos]:
        """Act, and return five plain values as gymnasium has them.

        Raises:
            EnvFault: if the environment fails, or returns something unusable.
        """
        with interruptible():
            result = call_env(self.env.step, action)
        observation, reward, *ends, info = plain_step(self.observation_space, result)
        check_observation(self.observation_space, observation)
        if not abs(reward) <= LARGEST:
            raise EnvFault(f"gave a reward that is not a finite number ({reward})")
        return observation, reward, *ends, self._checked_info(info)

    def _checked_info(self, info: Infos) -> Infos:
        """Labels that cannot be used stay as they are: somebody else may want to see them."""
        return {**info, **self._labels.read(info)}


# --- single values --------------------------------------------------------------------------------


def _one(value: Any) -> float | None:
    """The one real number that a value is or holds; None where there is no such."""
    try:
        item = value.item() if hasattr(value, "item") else np.asarray(value).item()
        real = isinstance(item, numbers.Number) and not isinstance(item, complex)
        return float(item) if real else None  # type: ignore[arg-type]
    except Exception:  # several numbers, a huge one, or whatever a foreign type raises
        return None


def numbers_in(value: Any) -> NDArray[Any] | None:
    """Numbers or truth values as an array, from tensors too; None where a value is neither."""
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except Exception:  # ragged, or whatever a foreign type raises
        return None
    return array if array.dtype.kind in "biuf" else None


def _vector(key: str, value: Any) -> NDArray[np.float32]:
    if isinstance(value, Mapping):
        parts = [_vector(f"{key}.{name}", value[name]) for name in sorted(value, key=str)]
        return np.concatenate([np.empty(0, np.float32), *parts])
    array = numbers_in(value)
    if array is None:
        raise EnvFault(f"gave info[{key!r}] = {_short(value)}: it is not numbers")
    with np.errstate(over="ignore"):
        return array.astype(np.float32).ravel()


def _is_finite(flat: NDArray[np.float32]) -> bool:
    if flat.size <= _SMALL:
        return all(map(math.isfinite, flat.tolist()))
    return bool(np.isfinite(flat).all())


def _count(result: Any) -> str:
    if isinstance(result, (tuple, list)):
        return f"{len(result)} value{'s' * (len(result) != 1)}"
    return f"one {type(result).__name__}"


def _short(value: Any) -> str:
    try:
        return reprlib.repr(value) if not isinstance(value, np.ndarray) else str(value)[:200]
    except Exception:  # the repr of a foreign type
        return f"a {type(value).__name__}"
