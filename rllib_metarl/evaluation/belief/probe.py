"""Probes: what can be decoded of the context from what the policy sees, by unseen data's standard.

A probe is fitted on some meta-episodes and read on others. Its inputs are standardised. Two kinds
compete on meta-episodes that are set aside among those for fitting: a linear one and a small
network; the better is kept. What the probe itself is too sure of is fixed there as well, by one
number (a temperature, or a factor on the spread), so that it is not charged to the belief.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rllib_metarl.evaluation.belief.calibration import SMALLEST, gaussian_nll, log_losses

Array = NDArray[np.float64]
HIDDEN = (64, 64)
UPDATES = 1_000
"""Gradient steps of a network, on minibatches of 500 at most."""
SET_ASIDE = 0.2
"""Share of the meta-episodes for fitting that choose between probes and fix the spread."""


class CannotDecodeError(Exception):
    """Says why nothing of the context can be decoded."""


@dataclass(frozen=True)
class ClassProbe:
    """Probabilities over K classes from features; see the module."""

    model: Any
    present: NDArray[np.int64]
    count: int
    temperature: float

    def __call__(self, features: Array) -> Array:
        """Features `[..., F]` -> probabilities `[..., K]`."""
        flat = features.reshape(-1, features.shape[-1])
        p = _probabilities(self.model, flat, self.present, self.count)
        cooled = softmax(_log(p) / self.temperature, 1)
        return np.asarray(cooled).reshape(*features.shape[:-1], self.count)


@dataclass(frozen=True)
class NumberProbe:
    """A Gaussian for each of C numbers from features; see the module."""

    model: Any
    spread: Any
    factor: Array

    def __call__(self, features: Array) -> tuple[Array, Array]:
        """Features `[..., F]` -> means and standard deviations `[..., C]`."""
        flat = features.reshape(-1, features.shape[-1])
        mean, std = _columns(self.model, flat), np.exp(_columns(self.spread, flat)) * self.factor
        shape = (*features.shape[:-1], mean.shape[1])
        return mean.reshape(shape), std.reshape(shape)


def fit_classes(
    features: Array, classes: NDArray[np.int64], valid: Array, count: int
) -> ClassProbe:
    """Fits a probe of a context with finitely many values.

    Args:
        features: `[B, T, F]`; classes `[B, T]`; valid `[B, T]` bool, the steps that count.
        count: K, how many classes there are; some may be missing here.

    Raises:
        CannotDecodeError: if there are fewer than 5 meta-episodes or not two classes.
    """
    first, second = _split(features, valid)
    x, y = first(features), first(classes)
    present = np.unique(y)
    if len(present) < 2:
        raise CannotDecodeError(f"the context is the same in all of {len(features)} meta-episodes")
    x_aside, y_aside = second(features), second(classes)
    best: tuple[float, Any] = (np.inf, None)
    for model in (LogisticRegression(max_iter=300), MLPClassifier(**_network(len(x)))):
        with _quiet():
            fitted = make_pipeline(StandardScaler(), model).fit(x, y)
        p = _probabilities(fitted, x_aside, present, count)
        best = min(best, (log_losses(p, y_aside).mean(), (fitted, p)), key=lambda pair: pair[0])
    model, p = best[1]
    return ClassProbe(model, present, count, _temperature(_log(p), y_aside))


def fit_numbers(features: Array, numbers: Array, valid: Array) -> NumberProbe:
    """Fits a probe of a context that is a vector of numbers: a mean, and a spread that may vary.

    The logarithm of the absolute residual is fitted in the same way as the mean.

    Args:
        features: `[B, T, F]`; numbers `[B, T, C]`; valid `[B, T]` bool, the steps that count.

    Raises:
        CannotDecodeError: if there are fewer than 5 meta-episodes.
    """
    first, second = _split(features, valid)
    x, y, x_aside, y_aside = first(features), first(numbers), second(features), second(numbers)
    mean = _better(x, y, x_aside, y_aside)
    floor = 1e-3 * (y.std(0) + 1e-6)
    residual, residual_aside = (
        np.log(abs(target - _columns(mean, inputs)) + floor)
        for inputs, target in ((x, y), (x_aside, y_aside))
    )
    spread = _better(x, residual, x_aside, residual_aside)
    std = np.exp(_columns(spread, x_aside))
    error = (y_aside - _columns(mean, x_aside)) / std
    return NumberProbe(mean, spread, np.sqrt(np.square(error).mean(0)) + 1e-9)


def number_scores(mean: Array, std: Array, truth: Array) -> dict[str, float]:
    """``nll``, ``rmse`` and ``r2`` of Gaussian predictions `[N, C]`, means over the C numbers.

    R^2 = 1 - residual / variance, mean over the numbers that vary.
    """
    residual = np.square(truth - mean).mean(0)
    variance = truth.var(0)
    varies = variance > 1e-12
    r2 = 1 - residual[varies] / variance[varies]
    return {
        "nll": float(gaussian_nll(mean, std, truth).mean()),
        "rmse": float(np.sqrt(residual.mean())),
        "r2": float(r2.mean()) if varies.any() else float("nan"),
    }


# --- parts --------------------------------------------------------------------------------------


def _split(features: Array, valid: Array) -> tuple[Any, Any]:
    """Two functions that pick the valid steps of one and of the other part of meta-episodes."""
    count = len(features)
    aside = max(1, round(SET_ASIDE * count))
    if count < 5:
        raise CannotDecodeError(f"a probe needs 5 meta-episodes or more for fitting, not {count}")
    return (
        lambda x: x[:-aside][valid[:-aside]],
        lambda x: x[-aside:][valid[-aside:]],
    )


def _network(samples: int) -> dict[str, Any]:
    """Settings of a network: about `UPDATES` steps, but 5 to 200 passes over the data."""
    batch = min(500, samples)
    epochs = int(np.clip(UPDATES * batch / samples, 5, 200))
    return {
        "hidden_layer_sizes": HIDDEN,
        "max_iter": epochs,
        "batch_size": batch,
        "learning_rate_init": 2e-3,
        "alpha": 1e-4,
        "random_state": 0,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Training ends after a fixed number of steps; that it might go on is no news."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _better(x: Array, y: Array, x_aside: Array, y_aside: Array) -> Any:
    """The linear or the small network's regression, whichever errs less on what is set aside."""
    scale = y.std(0) + 1e-9
    fitted = []
    for model in (Ridge(), MLPRegressor(**_network(len(x)))):
        with _quiet():
            fitted.append(
                _Scaled(make_pipeline(StandardScaler(), model), y.mean(0), scale).fit(x, y)
            )
    errors = [np.square((_columns(m, x_aside) - y_aside) / scale).mean() for m in fitted]
    return fitted[int(np.argmin(errors))]


@dataclass
class _Scaled:
    """A regression on standardised targets, which a network's step size is made for."""

    model: Any
    mean: Array
    scale: Array

    def fit(self, x: Array, y: Array) -> _Scaled:
        target = (y - self.mean) / self.scale
        self.model.fit(x, target[:, 0] if target.shape[1] == 1 else target)
        return self

    def predict(self, x: Array) -> Array:
        predicted = np.asarray(self.model.predict(x))
        return predicted.reshape(len(x), -1) * self.scale + self.mean


def _columns(model: _Scaled, x: Array) -> Array:
    return np.concatenate([model.predict(part) for part in _chunks(x)])


def _probabilities(model: Any, x: Array, present: NDArray[np.int64], count: int) -> Array:
    """`[N, K]`; a class that was missing in fitting keeps the smallest probability there is."""
    predicted = np.concatenate([model.predict_proba(part) for part in _chunks(x)])
    p = np.full((len(x), count), SMALLEST)
    p[:, present] = predicted
    return p / p.sum(1, keepdims=True)


def _chunks(x: Array, size: int = 100_000) -> list[Array]:
    return np.array_split(x, max(1, -(-len(x) // size)))


def _temperature(logits: Array, truth: NDArray[np.int64]) -> float:
    """What logits are to be divided by for the lowest log-loss (Guo et al. 2017, section 4.2)."""

    def loss(log_temperature: float) -> float:
        return float(log_losses(softmax(logits / np.exp(log_temperature), 1), truth).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 3), method="bounded").x))


def _log(p: Array) -> Array:
    return np.log(np.maximum(p, SMALLEST))
