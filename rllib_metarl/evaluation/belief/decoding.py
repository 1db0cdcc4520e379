"""What of the context can be decoded from the belief, beside what the exact filter knows of it.

The policy sees observation and belief together, and so does the probe: what a belief says may have
a meaning only in what is seen ("the goal over there pays"). What the observation tells alone, and
the belief alone, is measured with probes of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rllib_metarl.envs.core.bayes import Density, ExactFilter, FiniteFilter, Posterior
from rllib_metarl.evaluation.belief import calibration
from rllib_metarl.evaluation.belief.behaviour import standard_error
from rllib_metarl.evaluation.belief.probe import (
    CannotDecodeError,
    fit_classes,
    fit_numbers,
    number_scores,
)
from rllib_metarl.evaluation.knowledge import run_filter
from rllib_metarl.recording import Recording

Array = NDArray[np.float64]
Section = dict[str, Any]
T = TypeVar("T", bound=np.generic)
MOST_CLASSES = 32
MOST_POINTS = 8
"""Values of a context, at most, that count as classes although they are not whole numbers."""
MOST_NUMBERS = 64
LEVELS = (0.5, 0.9)


def features(played: Recording) -> Array:
    """What the policy sees, `[B, T + 1, D + O]`."""
    return np.concatenate([played.belief, played.observations], -1, dtype=np.float64)


VIEWS: dict[str, Callable[[Recording], Array]] = {
    "observation_alone": lambda played: played.observations.astype(np.float64),
    "belief_alone": lambda played: played.belief.astype(np.float64),
}


@dataclass(frozen=True)
class DecodedClasses:
    """A context with K values, on B meta-episodes that no probe was fitted on.

    Attributes:
        classes: their names; truth `[B, T + 1]`; valid `[B, T]`.
        probabilities: `[B, T + 1, K]`, decoded from observation and belief.
        views: the same from each of `VIEWS`.
        exact: the exact filter's posterior, where there is one.
        probe: decodes features of other meta-episodes.
    """

    classes: tuple[str, ...]
    truth: NDArray[np.int64]
    valid: NDArray[np.bool_]
    probabilities: Array
    views: dict[str, Array]
    exact: Posterior | None
    probe: Callable[[Array], Array]

    def flat(self, values: NDArray[T]) -> NDArray[T]:
        """`[B, T + 1, ...]` -> `[N, ...]`, the steps that a transition follows."""
        return values[:, :-1][self.valid]

    def entropy(self, played: Recording) -> Array:
        """Entropy of what is decoded from a recording, `[B, T + 1]` nats."""
        return calibration.entropies(self.probe(features(played)))

    @property
    def entropy_exact(self) -> Array | None:
        """Entropy of the exact posterior, `[B, T + 1]` nats."""
        return None if self.exact is None else calibration.entropies(self.exact.probabilities)

    def belief(self) -> Section:
        """Scores of what is decoded, and of the exact filter."""
        truth, predicted = self.flat(self.truth), self.flat(self.probabilities)
        section: Section = {"classes": list(self.classes), "probe": _scores(predicted, truth)}
        section |= {name: _scores(self.flat(p), truth) for name, p in self.views.items()}
        if self.exact is not None:
            exact = self.flat(self.exact.probabilities)
            gap = calibration.log_losses(predicted, truth) - calibration.log_losses(exact, truth)
            section |= {
                "exact": _scores(exact, truth),
                "kl_exact_to_decoded": calibration.kl_divergence(exact, predicted),
                "nats_from_exact": float(gap.mean()),
                "nats_from_exact_standard_error": self._standard_error(gap),
            }
        return section

    def calibration(self) -> Section:
        """Expected calibration error and reliability curves."""
        truth = self.flat(self.truth)
        curve = calibration.reliability(self.flat(self.probabilities), truth)
        section: Section = {"ece": calibration.ece(curve), "reliability": curve}
        if self.exact is not None:
            curve = calibration.reliability(self.flat(self.exact.probabilities), truth)
            section |= {"ece_exact": calibration.ece(curve), "reliability_exact": curve}
        return section

    def _standard_error(self, values: Array) -> float:
        """Of a mean over steps: steps of one meta-episode are no independent samples."""
        lengths = self.valid.sum(1)
        sums = np.add.reduceat(values, np.concatenate([[0], np.cumsum(lengths)[:-1]]))
        deviation = (sums - values.mean() * lengths) / lengths.mean()
        return standard_error(deviation)


@dataclass(frozen=True)
class DecodedNumbers:
    """A context of C numbers, on B meta-episodes that no probe was fitted on.

    Attributes:
        truth: `[B, T + 1, C]`; valid `[B, T]`.
        mean, std: `[B, T + 1, C]`, decoded from observation and belief.
        views: mean and std from each of `VIEWS`.
        exact: the exact filter's posterior at the truth, where there is one.
        probe: decodes features of other meta-episodes.
    """

    truth: Array
    valid: NDArray[np.bool_]
    mean: Array
    std: Array
    views: dict[str, tuple[Array, Array]]
    exact: Density | None
    probe: Callable[[Array], tuple[Array, Array]]

    def flat(self, values: NDArray[T]) -> NDArray[T]:
        """`[B, T + 1, ...]` -> `[N, ...]`, the steps that a transition follows."""
        return values[:, :-1][self.valid]

    def entropy(self, played: Recording) -> Array:
        """Differential entropy of what is decoded, mean over the C numbers, `[B, T + 1]` nats."""
        return _gaussian_entropy(self.probe(features(played))[1])

    @property
    def entropy_exact(self) -> None:
        """A mixture's differential entropy is not computed."""
        return None

    def belief(self) -> Section:
        """Scores of what is decoded, and of the exact filter."""
        truth = self.flat(self.truth)
        section: Section = {
            "probe": number_scores(self.flat(self.mean), self.flat(self.std), truth)
        }
        for name, (mean, std) in self.views.items():
            section[name] = number_scores(self.flat(mean), self.flat(std), truth)
        if self.exact is not None:
            # of the mean alone; the posterior is no Gaussian, its own nll stands for it
            mean = self.flat(self.exact.mean)
            scores = number_scores(mean, np.ones_like(mean), truth)
            scores["nll"] = float(self.flat(self.exact.nll).mean())
            section["exact"] = scores
            section["nats_from_exact"] = section["probe"]["nll"] - scores["nll"]
        return section

    def calibration(self) -> Section:
        """Coverage of central intervals, negative log-likelihood and CRPS."""
        truth, mean, std = (self.flat(x) for x in (self.truth, self.mean, self.std))
        section = _interval_scores(mean, std, truth)
        if self.exact is not None:
            section |= _coverages(self.flat(self.exact.cdf), "_exact")
            section["nll_exact"] = float(self.flat(self.exact.nll).mean())
            if self.exact.crps is not None:
                section["crps_exact"] = float(self.flat(self.exact.crps).mean())
        return section

    def elsewhere(self, played: Recording) -> Section | None:
        """Error and calibration in another world, as decoded by the probe of this one."""
        if played.context is None or played.context.shape[-1] != self.truth.shape[-1]:
            return None
        predicted = self.probe(features(played))
        truth, mean, std = (x[:, :-1][played.valid] for x in (played.context, *predicted))
        return _interval_scores(mean, std, truth) | {"rmse": _rmse(mean, truth)}


Decoded = DecodedClasses | DecodedNumbers


def decode(fit: Recording, scored: Recording, exact: ExactFilter | None) -> Decoded:
    """Fits probes on one recording and reads them on another, beside the exact filter.

    Raises:
        CannotDecodeError: if the context is not given, is the same everywhere or has too many
            entries, or there is too little to fit on.
    """
    if fit.context is None or scored.context is None:
        raise CannotDecodeError("the env gives no info['context']; rllib_metarl.envs.Sessions does")
    if isinstance(exact, FiniteFilter):
        return _classes(fit, scored, exact.classes, exact.class_of, run_filter(exact, scored))
    values = np.unique(fit.context.reshape(-1, fit.context.shape[-1]), axis=0)
    if exact is None and _are_classes(values):
        names = tuple(", ".join(f"{x:g}" for x in value) for value in values)
        return _classes(fit, scored, names, _nearest(values), None)
    if values.shape[1] > MOST_NUMBERS:
        raise CannotDecodeError(
            f"the context has {values.shape[1]} entries, more than the {MOST_NUMBERS} that a probe "
            "is fitted for"
        )
    filtered = None if exact is None else run_filter(exact, scored)
    return _numbers(fit, scored, filtered if isinstance(filtered, Density) else None)


def _are_classes(values: Array) -> bool:
    """Whether contexts `[K, C]` are kinds; a grid of masses is not, between its points are more."""
    whole = bool((values == np.round(values)).all())
    return len(values) <= (MOST_CLASSES if whole else MOST_POINTS)


def _classes(
    fit: Recording, scored: Recording, names: tuple[str, ...], class_of: Any, exact: Any
) -> DecodedClasses:
    truth = class_of(fit.context)

    def probe_of(view: Callable[[Recording], Array]) -> Any:
        return fit_classes(view(fit)[:, :-1], truth[:, :-1], fit.valid, len(names))

    probe = probe_of(features)
    views = {name: probe_of(view)(view(scored)) for name, view in VIEWS.items()}
    truth, predicted = class_of(scored.context), probe(features(scored))
    return DecodedClasses(names, truth, scored.valid, predicted, views, exact, probe)


def _numbers(fit: Recording, scored: Recording, exact: Density | None) -> DecodedNumbers:
    assert fit.context is not None and scored.context is not None
    truth = fit.context.astype(np.float64)

    def probe_of(view: Callable[[Recording], Array]) -> Any:
        return fit_numbers(view(fit)[:, :-1], truth[:, :-1], fit.valid)

    probe = probe_of(features)
    views = {name: probe_of(view)(view(scored)) for name, view in VIEWS.items()}
    mean, std = probe(features(scored))
    unseen = scored.context.astype(np.float64)
    return DecodedNumbers(unseen, scored.valid, mean, std, views, exact, probe)


def _nearest(values: Array) -> Callable[[Array], NDArray[np.int64]]:
    """The number of the nearest of `values [K, C]`, for contexts `[..., C]`."""

    def class_of(context: Array) -> NDArray[np.int64]:
        distance = abs(context[..., None, :] - values).sum(-1)
        return np.asarray(distance.argmin(-1))

    return class_of


def _scores(probabilities: Array, truth: NDArray[np.int64]) -> dict[str, float]:
    return calibration.class_scores(probabilities, truth)


def _interval_scores(mean: Array, std: Array, truth: Array) -> Section:
    section = _coverages(calibration.gaussian_cdf(mean, std, truth), "")
    section["nll"] = float(calibration.gaussian_nll(mean, std, truth).mean())
    section["crps"] = float(calibration.gaussian_crps(mean, std, truth).mean())
    return section


def _rmse(mean: Array, truth: Array) -> list[float]:
    """Of each of the context's numbers, in its unit."""
    squares = np.square(mean - truth).reshape(-1, truth.shape[-1])
    return [float(x) for x in np.sqrt(squares.mean(0))]


def _coverages(cdf: Array, suffix: str) -> Section:
    return {f"coverage_{100 * p:.0f}{suffix}": calibration.coverage(cdf, p) for p in LEVELS}


def _gaussian_entropy(std: Array) -> Array:
    return np.asarray((np.log(std) + 0.5 * np.log(2 * np.pi * np.e)).mean(-1))
